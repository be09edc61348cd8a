"""Image files of a data set: all faults in one pass, and boxes of images that EXIF turns."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from minicnn.data.annotated import AnnotatedImage, AnnotatedImages, box_areas, read_annotated
from minicnn.data.check_images import TURNED, UNREADABLE, check_image_files, size_of, turn_upright
from minicnn.data.images import read_reduced
from minicnn.errors import InputError

HEIGHT, WIDTH = 40, 64
BOX = (8, 16, 40, 24)                   # of the white rectangle in the stored image; all sides multiples of 8, JPEG's blocks


def pixels():
    values = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    x1, y1, x2, y2 = BOX
    values[y1:y2, x1:x2] = 255
    return values


def save(path, turn=None, **options):
    exif = Image.Exif()
    if turn:
        exif[0x0112] = turn
    Image.fromarray(pixels()).save(path, exif=exif, **options)
    return path


def annotated(path, height=HEIGHT, width=WIDTH, box=BOX):
    boxes = np.array([box], np.float32)
    return AnnotatedImage(path.stem, path, height, width, boxes, np.array([1]), np.zeros(1, bool), np.zeros(1, bool), box_areas(boxes))


def data_of(*images):
    return AnnotatedImages(["__background__", "white"], list(images))


def test_all_faults_are_found_in_one_pass(tmp_path):
    good, small = save(tmp_path / "good.jpg"), save(tmp_path / "small.png")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:-300])
    data = data_of(*(annotated(tmp_path / name) for name in ("text.jpg", "good.jpg", "none.jpg", "empty.png", "cut.jpg")),
                   annotated(small, width=65))
    data.skip_image("w: no XML", "annotation cannot be read")
    checked = check_image_files(data)
    assert [image.name for image in checked.images] == ["good"] and checked.checked and checked.normalised == {}
    assert checked.images[0] is data.images[1]
    assert [path in problem for path, problem in zip(("w", "text.jpg", "none.jpg", "empty.png", "cut.jpg", "small.png"),
                                                     checked.problems)] == [True] * 6 and len(checked.problems) == 6
    assert "of 64 x 40 pixels, expected 65 x 40 as in its annotation" in checked.problems[-1]
    assert checked.skipped.document() == {"images": 6, "objects": 0, "reasons": {"annotation cannot be read": 1, UNREADABLE: 5}}
    assert len(data.images) == 6 and data.problems == ["w: no XML"] and data.skipped.images == 1 and not data.checked


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100, "subsampling": 0}, {"format": "PNG"}, {"format": "BMP"}],
                         ids=str)
def test_a_cut_file_is_found_wherever_reading_it_whole_would(tmp_path, options):
    path = tmp_path / "x.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    Image.fromarray(noise).save(path, **{"format": "JPEG", **options})
    whole, found = path.read_bytes(), set()
    assert size_of(path) == (90, 70)
    for share in np.linspace(0.01, 1, 40):
        path.write_bytes(whole[:int(share * len(whole))])
        try:
            expected = read_reduced(path)[1:3]
        except InputError:
            with pytest.raises(InputError, match="x.jpg"):
                size_of(path)
            found.add("cut")
        else:
            assert size_of(path) == expected
            found.add("whole")
    assert found == {"cut", "whole"}


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_boxes_drawn_on_the_stored_pixels_turn_with_the_image(tmp_path, turn, suffix):
    data = data_of(annotated(save(tmp_path / f"x{suffix}", turn)))
    for turned in (check_image_files(data), turn_upright(data)):
        image, = turned.images
        assert (image.height, image.width) == (WIDTH, HEIGHT) and turned.normalised == {TURNED: 1} and turned.problems == []
        x1, y1, x2, y2 = image.boxes[0].astype(int)
        bright = read_annotated(image).mean(axis=2) > 128
        assert bright[y1:y2, x1:x2].all() and bright.sum() == (y2 - y1) * (x2 - x1) == 256
    assert data.images[0].width == WIDTH


@pytest.mark.parametrize("turn", [None, 1, 2, 3, 4, 6, 9])
def test_boxes_drawn_on_the_upright_pixels_stay(tmp_path, turn):
    """Also of images that are mirrored or turned by 180 degrees, of which the sizes do not tell."""
    height, width = (WIDTH, HEIGHT) if turn == 6 else (HEIGHT, WIDTH)
    data = data_of(annotated(save(tmp_path / "x.jpg", turn), height, width, (0, 0, 10, 10)))
    for same in (check_image_files(data), turn_upright(data)):
        assert same.images[0] is data.images[0] and same.normalised == {} and same.problems == []


def test_a_square_image_is_taken_as_drawn_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 30)).save(tmp_path / "x.jpg", exif=exif)
    data = data_of(annotated(tmp_path / "x.jpg", 30, 30, (0, 0, 10, 10)))
    assert check_image_files(data).images[0] is data.images[0] and turn_upright(data).images[0] is data.images[0]


def test_another_size_says_that_exif_turns_the_image(tmp_path):
    checked = check_image_files(data_of(annotated(save(tmp_path / "x.jpg", 6), height=41)))
    assert "of 40 x 64 pixels, as its EXIF orientation 6 turns them, expected 64 x 41" in checked.problems[0]


def test_an_image_without_objects_turns_too(tmp_path):
    image = annotated(save(tmp_path / "x.jpg", 6))
    none = image.labels[:0]
    image = replace(image, boxes=image.boxes[:0], labels=none, difficult=none.astype(bool), crowd=none.astype(bool), areas=image.areas[:0])
    turned, = check_image_files(data_of(image)).images
    assert turned.boxes.shape == (0, 4) and turned.boxes.dtype == np.float32 and (turned.height, turned.width) == (WIDTH, HEIGHT)


def test_without_pillow_each_image_says_so(tmp_path, monkeypatch):
    save(tmp_path / "x.jpg"), np.save(tmp_path / "y.npy", pixels())
    data = data_of(annotated(tmp_path / "x.jpg"), annotated(tmp_path / "y.npy"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PIL", None)
    checked = check_image_files(data)
    assert [image.name for image in checked.images] == ["y"] and "got no Pillow" in checked.problems[0]
    assert turn_upright(data).images == data.images


def test_images_that_are_not_there_do_not_hinder_turning(tmp_path):
    (tmp_path / "bad.jpg").write_text("no image")
    data = data_of(annotated(tmp_path / "none.jpg"), annotated(tmp_path / "bad.jpg"))
    turned = turn_upright(data)
    assert turned.images == data.images and turned.problems == []
    assert_array_equal(turned.images[0].boxes, [BOX])

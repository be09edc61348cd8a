"""Images without labels, from folders, patterns, files and data sets whose boxes are left out."""

import numpy as np
import pytest
from small_detector import scene

from minicnn.data import load_unlabelled
from minicnn.data.images import write_image
from minicnn.errors import InputError


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("b.ppm", "a.ppm"):
        write_image(tmp_path / "photos" / name, scene(20, 30))
    return tmp_path / "photos"


def names(data):
    return [image.name for image in data.images]


def test_a_folder_a_pattern_and_a_file(photos):
    notes = []
    (photos / "readme.txt").write_text("x")
    data = load_unlabelled("photos", on_others=notes.append)
    assert names(data) == ["a.ppm", "b.ppm"] and not data.skipped and "1 .txt" in notes[0]
    assert (data.images[0].height, data.images[0].width, data.images[0].boxes.shape) == (20, 30, (0, 4))
    assert names(load_unlabelled("photos/b*.ppm")) == ["b.ppm"] and names(load_unlabelled(photos / "a.ppm")) == ["a.ppm"]


def test_what_cannot_be_read_is_named_and_counted(photos):
    (photos / "c.png").write_bytes(b"no image")
    data = load_unlabelled("photos")
    assert names(data) == ["a.ppm", "b.ppm"] and data.skipped.images == 1
    assert len(data.problems) == 1 and "c.png" in data.problems[0]
    with pytest.raises(InputError, match="of whose 3 images 1 cannot be used"):
        data.check_skipped("photos")


def voc(folder, boxes):
    """A data set in VOC's form with these boxes in a.ppm."""
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    write_image(folder / "JPEGImages/a.png", np.zeros((20, 30, 3), np.uint8))
    (folder / "ImageSets/Main/val.txt").write_text("a\n")
    objects = "".join("<object><name>cat</name><bndbox>" + "".join(
        f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box)) + "</bndbox></object>" for box in boxes)
    (folder / "Annotations/a.xml").write_text(
        f"<annotation><filename>a.png</filename><size><width>30</width><height>20</height></size>{objects}</annotation>")


def test_the_labels_of_a_data_set_are_left_out_bad_ones_too(tmp_path):
    voc(tmp_path / "voc", [(1, 1, 9, 9), (1, 1, 900, 900)])
    data = load_unlabelled(tmp_path / "voc", "val")
    assert len(data.images) == 1 and len(data.images[0].labels) == 0 and data.problems == [] and not data.skipped
    (tmp_path / "voc/ImageSets/Main/val.txt").write_text("a\nb\n")
    data = load_unlabelled(tmp_path / "voc", "val")
    assert len(data.images) == 1 and (data.skipped.images, data.skipped.objects) == (1, 0) and len(data.problems) >= 1


@pytest.mark.parametrize("source, split, expected", [
    ("none", None, "which does not exist"), ("photos", "val", "the split val for photos"), ("empty", None, "no images"),
    ("photos/*.gif", None, "no images"),
])
def test_what_has_no_images(photos, source, split, expected):
    (photos.parent / "empty").mkdir()
    with pytest.raises(InputError, match=expected):
        load_unlabelled(source, split)

"""Generated scenes: exact boxes, reproducible images, and folders that are written whole or not at all."""

import functools
import hashlib

import numpy as np
import PIL
import pytest
from numpy.testing import assert_array_equal
from PIL import features

from minicnn.data import load_annotated, scenes
from minicnn.data.annotated import BACKGROUND, read_annotated
from minicnn.data.class_names import VOC
from minicnn.data.scenes import CLASS_NAMES, CONTRAST, LUMA, MOST, VERSION, draw_object, load_scenes, make_scene, write_scenes
from minicnn.errors import InputError

CLASSES = len(CLASS_NAMES) - 1
SIZES = [(160, 120), (64, 64), (333, 100), (90, 400)]
# versions of Pillow, FreeType and ours, and the SHA-256 of what they draw
RECORDED = "13.0.0", "2.14.3", 1, "1edbbcf1a1d67fcc0df61d47793657df501ab3b129e8cf2478fbd16a3701d1e5"


def scene(i, width=160, height=120):
    return make_scene(width, height, 1 + i % CLASSES, np.random.default_rng([0, i]))


def listing(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """27 scenes: 18 for training, 3 for validation, 6 for tests."""
    path = tmp_path_factory.mktemp("scenes") / "data"
    assert write_scenes(path, count=27) == {"train": 18, "val": 3, "trainval": 21, "test": 6}
    return path


@pytest.mark.parametrize("width, height", SIZES)
def test_boxes_are_tight_round_what_is_drawn(monkeypatch, width, height):
    """On a uniform background every pixel that differs belongs to an object."""
    monkeypatch.setattr(scenes, "background", lambda width, height, rng: np.full((height, width, 3), 128, np.uint8))
    for i in range(2 * CLASSES):
        image, boxes, _ = scene(i, width, height)
        drawn = (image != 128).any(axis=2)
        for x1, y1, x2, y2 in boxes.astype(int):
            inside = drawn[y1:y2, x1:x2]
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
            drawn[y1:y2, x1:x2] = False
        assert not drawn.any()


@pytest.mark.parametrize("width, height", SIZES)
def test_shapes_and_ranges(width, height):
    for i in range(2 * CLASSES):
        image, boxes, labels = scene(i, width, height)
        assert image.shape == (height, width, 3) and image.dtype == np.uint8
        assert boxes.shape == (len(labels), 4) and boxes.dtype == np.float32 and labels.dtype == np.int64
        assert 1 <= len(boxes) <= MOST and labels[0] == 1 + i % CLASSES and labels.min() >= 1 and labels.max() <= CLASSES
        assert_array_equal(boxes, np.rint(boxes))
        assert boxes.min() >= 0 and (boxes[:, 2:] <= (width, height)).all()
        sides = (boxes[:, 2:] - boxes[:, :2]) / min(width, height)
        assert sides.min() >= 3 / min(width, height) and sides.max(axis=1).min() > 0.15 and sides.max() < 0.46


def test_no_two_objects_overlap():
    for i in range(50):
        _, boxes, _ = scene(i)
        covered = np.zeros((120, 160), int)
        for x1, y1, x2, y2 in boxes.astype(int):
            covered[y1:y2, x1:x2] += 1
        assert covered.max() == 1


def test_objects_stand_out_from_their_ground():
    rng, contrasts = np.random.default_rng(0), []
    for _ in range(30):
        image = scenes.background(60, 60, rng)
        part = image[20:40, 20:40]
        under = part @ LUMA
        scenes.paint(part, np.full((20, 20), 255, np.uint8), rng)
        contrasts.append(abs((part @ LUMA).mean() - under.mean()))
        assert len(np.unique(part.reshape(-1, 3), axis=0)) == 1
    assert min(contrasts) >= CONTRAST


def test_what_covers_little_is_not_drawn():
    for label in range(1, CLASSES + 1):
        for side in (12, 30, 200):
            cover = draw_object(label, side, np.random.default_rng(side))
            assert max(cover.shape) in (side - 2, side - 1, side) and cover.max() > 200
            assert cover[cover > 0].min() >= scenes.FAINTEST
            assert all(edge.any() for edge in (cover[0], cover[-1], cover[:, 0], cover[:, -1]))


def test_an_object_is_never_drawn_twice_the_same():
    rng = np.random.default_rng(0)
    for label in range(1, CLASSES + 1):
        assert len({draw_object(label, 30, rng).tobytes() for _ in range(10)}) == 10


def test_grounds_differ():
    rng = np.random.default_rng(0)
    grounds = [scenes.background(160, 120, rng) for _ in range(20)]
    assert len({ground.tobytes() for ground in grounds}) == 20
    assert all(3 < ground.std(axis=(0, 1)).max() < 60 for ground in grounds)


# folders

def test_a_folder_has_what_was_drawn(folder):
    images = load_annotated(folder, "trainval")
    assert images.problems == [] and images.class_names == list(CLASS_NAMES)        # found in the files: each class is there
    for i, image in enumerate(images.images):
        drawn, boxes, labels = scene(i)
        assert image.name == f"{i + 1:06}" and not image.difficult.any()
        assert_array_equal(image.boxes, boxes)
        assert_array_equal(image.labels, labels)
        difference = (read_annotated(image).astype(int) - drawn) @ LUMA               # JPEG blurs colours
        assert np.abs(difference).mean() < 3


def test_splits_are_apart_and_hold_all(folder):
    names = {split: [image.name for image in load_annotated(folder, split).images] for split in ("train", "val", "trainval", "test")}
    assert names["trainval"] == names["train"] + names["val"]
    assert sorted(names["trainval"] + names["test"]) == [f"{i:06}" for i in range(1, 28)]
    assert len(listing(folder)) == 2 * 27 + 4


def test_the_seed_decides(tmp_path, folder):
    write_scenes(tmp_path / "same", count=27)
    write_scenes(tmp_path / "fewer", count=9)
    write_scenes(tmp_path / "other", count=9, seed=1)
    same, fewer, other = (listing(tmp_path / name) for name in ("same", "fewer", "other"))
    assert same == listing(folder)
    for name in fewer:
        if name.startswith(("JPEG", "Anno")):
            assert fewer[name] == same[name] and fewer[name] != other[name]


def test_what_is_drawn_changes_with_the_version_alone():
    """If the drawing changes, VERSION must, too; otherwise cached scenes would differ from new ones."""
    *drawn_by, version, expected = RECORDED
    if [PIL.__version__, features.version("freetype2")] != drawn_by:
        pytest.skip(f"recorded with Pillow {drawn_by[0]} and FreeType {drawn_by[1]}; others may draw otherwise")
    digest = hashlib.sha256()
    for i in range(CLASSES):
        for array in scene(i):
            digest.update(array.tobytes())
    assert (VERSION, digest.hexdigest()) == (version, expected)


def test_after_an_error_nothing_is_left(tmp_path, monkeypatch):
    drawn = []

    def interrupted(*args):
        drawn.append(args)
        if len(drawn) == 5:
            raise KeyboardInterrupt
        return make_scene(*args)
    monkeypatch.setattr(scenes, "make_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / "x", count=9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options, expected", [
    ({"size": (63, 100)}, "63 x 100"), ({"size": (100, 4097)}, "100 x 4097"), ({"size": (0, 100)}, "0 x 100"),
    ({"count": 8}, "got 8 images"), ({"count": 10**6}, "got 1000000 images")])
def test_what_cannot_be_made(tmp_path, options, expected):
    with pytest.raises(InputError, match=expected):
        write_scenes(tmp_path / "x", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_stays(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(InputError, match="not empty"):
        write_scenes(tmp_path, count=9)
    assert listing(tmp_path) == {"file": b"old"}


# the built-in set

@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a built-in set of only 18 scenes."""
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(scenes, "write_scenes", functools.partial(write_scenes, count=18))
    return tmp_path / "cache"


def test_the_built_in_set_is_made_once(cache, monkeypatch):
    images = load_annotated("scenes", "train")
    assert len(images.images) == 12 and images.class_names == list(CLASS_NAMES) and images.problems == []
    assert [path.name for path in cache.iterdir()] == [f"scenes-{VERSION}"]
    monkeypatch.setattr(scenes, "write_scenes", lambda folder: pytest.fail("it is there"))
    assert len(load_annotated("scenes", "test").images) == 4
    with pytest.raises(InputError, match=r"got the split 'validation', expected a list in .* \(test, train, trainval, val\)"):
        load_scenes("validation")


def test_classes_that_are_given(cache):
    classes = (*reversed(CLASS_NAMES[1:]), "dragon")
    images = load_annotated("scenes", "val", (BACKGROUND, *classes))
    assert classes[images.images[0].labels[0] - 1] == CLASS_NAMES[load_scenes("val").images[0].labels[0]]
    with pytest.raises(InputError, match="an object of the class"):
        load_annotated("scenes", "val", VOC)


def test_another_process_is_faster(cache, monkeypatch):
    def late(folder):
        write_scenes(folder, count=9)
        write_scenes(folder, count=9)
    monkeypatch.setattr(scenes, "write_scenes", late)
    assert len(load_scenes("train").images) == 6


def test_no_place_for_the_cache(cache):
    cache.write_text("a file")
    with pytest.raises(InputError, match="cannot write"):
        load_scenes("train")

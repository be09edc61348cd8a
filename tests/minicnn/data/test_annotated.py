"""Annotated images: pixels that fit their annotation, and classes by name."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from minicnn.data.annotated import (
    BACKGROUND,
    LONGEST_NAME,
    AnnotatedImage,
    box_areas,
    check_classes,
    is_class_name,
    label_of,
    label_table,
    read_annotated,
    shown,
)
from minicnn.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def annotated(path, height=20, width=30):
    nothing = np.zeros(0)
    return AnnotatedImage("p", path, height, width, np.zeros((0, 4), np.float32), nothing.astype(np.int64), nothing.astype(bool),
                            nothing.astype(bool), nothing)


def refused(image, *expected):
    with pytest.raises(InputError) as caught:
        read_annotated(image)
    message = str(caught.value)
    assert "\n" not in message and str(image.path) in message and "expected " in message
    for text in expected:
        assert text in message


@pytest.fixture
def path(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "p.png")
    return tmp_path / "p.png"


def test_a_image_as_its_annotation_says(path):
    assert_array_equal(read_annotated(annotated(path)), PIXELS)


def test_a_missing_image(tmp_path):
    refused(annotated(tmp_path / "none.jpg"), "which does not exist")


def test_a_truncated_image(tmp_path, path):
    (tmp_path / "short.png").write_bytes(path.read_bytes()[:1000])
    refused(annotated(tmp_path / "short.png"), "cannot be decoded")
    (tmp_path / "empty.jpg").write_bytes(b"")
    refused(annotated(tmp_path / "empty.jpg"), "empty file")


@pytest.mark.parametrize("height, width", [(30, 20), (20, 31), (19, 30)])
def test_a_image_of_another_size(path, height, width):
    refused(annotated(path, height, width), "of 30 x 20 pixels", f"expected {width} x {height}")


def test_a_image_that_its_file_turns_has_the_size_it_has_upright(tmp_path):
    """Boxes drawn in a viewer count upright pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "turned.jpg", exif=exif)
    assert read_annotated(annotated(tmp_path / "turned.jpg", 30, 20)).shape == (30, 20, 3)
    refused(annotated(tmp_path / "turned.jpg"), "of 20 x 30 pixels")


def test_labels_by_name():
    table = label_table([BACKGROUND, "cat", "N/A", "dog", "N/A"])
    assert [label_of(name, table, "x") for name in ("cat", "N/A", "dog")] == [1, 2, 3]
    with pytest.raises(InputError, match="class 'cow' in x.xml, expected one of 'cat', 'N/A', 'dog'. Use"):
        label_of("cow", table, "x.xml")
    with pytest.raises(InputError, match="'c19', 'c20', ..."):
        label_of("cow", label_table([BACKGROUND, *(f"c{i}" for i in range(1, 90))]), "x.xml")


@pytest.mark.parametrize("classes", [[], [BACKGROUND], ["cat", "dog"]])
def test_classes_begin_with_the_background(classes):
    assert check_classes((BACKGROUND, "cat")) == [BACKGROUND, "cat"]
    with pytest.raises(InputError, match=f"got {len(classes)} class names"):
        check_classes(classes)


def test_names_that_a_class_can_have():
    assert all(map(is_class_name, ("cat", "traffic light", "小狗", "N/A", "x" * LONGEST_NAME)))
    assert not any(map(is_class_name, ("", BACKGROUND, "x" * (LONGEST_NAME + 1), "a\tb", "a\x1bb", "a\u202eb")))


def test_a_strangers_text_is_escaped_and_cut():
    assert shown("a\x1b\n") == r"'a\x1b\n'" and len(shown("x" * 1000)) == LONGEST_NAME + 2 and shown(None) == "None"


def test_areas():
    assert_array_equal(box_areas(np.array([[0, 0, 2, 3], [1, 1, 1.5, 2]], np.float32)), [6, 0.5])
    assert box_areas(np.zeros((0, 4))).shape == (0,) and box_areas([]).dtype == np.float64

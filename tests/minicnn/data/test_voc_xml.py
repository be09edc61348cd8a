"""PASCAL VOC's XML: what is written is read again."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from voc_folders import Folder

from minicnn.data.annotated import BACKGROUND, AnnotatedImage, box_areas
from minicnn.data.voc import load_voc
from minicnn.data.voc_xml import read_xml, xml_text
from minicnn.errors import InputError


@st.composite
def annotated_images(draw):
    width, height = draw(st.integers(4, 5000)), draw(st.integers(4, 5000))
    count = draw(st.integers(0, 5))
    numbers = st.integers(0, 2**20) if draw(st.booleans()) else st.floats(0, 2**20)
    shares = np.array(draw(st.lists(numbers, min_size=4 * count, max_size=4 * count))).reshape(-1, 4) / 2**20
    lows = shares[:, :2] * (width - 2, height - 2)
    highs = lows + 1.5 + shares[:, 2:] * ((width, height) - lows - 1.5)
    boxes = np.hstack([lows, highs])
    boxes = np.rint(boxes + (0, 0, 0.5, 0.5)) if draw(st.booleans()) else boxes
    boxes = np.minimum(boxes, [width, height] * 2).astype(np.float32)
    flags = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), bool)
    labels = np.array(draw(st.lists(st.integers(1, 3), min_size=count, max_size=count)), np.int64)
    return AnnotatedImage("p", Path("p.jpg"), height, width, boxes, labels, flags, np.zeros(count, bool), box_areas(boxes))


@settings(deadline=None, derandomize=True, max_examples=150)
@given(annotated_images())
def test_boxes_to_xml_and_back(tmp_path_factory, image):
    folder = Folder(tmp_path_factory.mktemp("voc"), train=["p"])
    names = [BACKGROUND, "a & b", "<tag>", "naïve \"quotes\""]
    folder.annotate("p", xml_text(image, names))
    read = load_voc(folder.root, "train", names)
    one, = read.images
    assert read.problems == [] and (one.height, one.width) == (image.height, image.width)
    assert_array_equal(one.labels, image.labels)
    assert_array_equal(one.difficult, image.difficult)
    whole = (image.boxes == np.rint(image.boxes)).all(axis=1)
    assert_array_equal(one.boxes[whole], image.boxes[whole])
    assert_allclose(one.boxes, image.boxes, rtol=1e-6, atol=1e-7)
    assert_allclose(one.areas, image.areas, rtol=1e-5)


def test_what_the_reader_would_skip_is_not_written():
    box = np.array([[3, 3, 4, 9]], np.float32)
    image = AnnotatedImage("p", Path("p.jpg"), 20, 20, box, np.array([1]), np.array([False]), np.array([False]), box_areas(box))
    with pytest.raises(ValueError, match="p: its box 4, 4, 4, 9 is empty"):
        xml_text(image, [BACKGROUND, "cat"])


def test_read_xml_names_the_file_alone(tmp_path):
    """Problems do not contain the folder's path."""
    (tmp_path / "x.xml").write_text("<a/>")
    with pytest.raises(InputError, match="^got x.xml with the size None x None"):
        read_xml(tmp_path / "x.xml")

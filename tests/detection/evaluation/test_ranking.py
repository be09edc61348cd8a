"""Detections and objects sorted by class; what is no detection is refused."""

import numpy as np
import pytest
from annotated_sets import NOTHING, annotated, detections, image
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.detection.evaluation.ranking import as_written, overlaps, rank
from minicnn.errors import InputError

TRUTHS = annotated([image("a", [(1, (0, 0, 10, 10)), (2, (5, 5, 9, 9), "difficult"), (1, (20, 20, 30, 30), "crowd")]), image("b", []),
                    image("c", [(1, (1, 1, 2, 2))])])


def test_by_hand():
    found = [detections((1, 0.5, (0, 0, 1, 1)), (2, 0.9, (0, 0, 2, 2)), (1, 0.7, (0, 0, 3, 3))), NOTHING,
             detections((1, 0.7, (0, 0, 4, 4)), (1, 0.7, (0, 0, 5, 5)))]
    cat, dog = rank(TRUTHS, found)
    assert (cat.name, dog.name) == ("cat", "dog")
    assert_array_equal(cat.scores, [0.7, 0.7, 0.7, 0.5])
    assert_array_equal(cat.images, [0, 2, 2, 0])                      # equal scores: by image, then as given
    assert_array_equal(cat.boxes[:, 2], [3, 4, 5, 1])
    assert_array_equal(cat.ranks(), [0, 0, 1, 1])
    assert_array_equal(cat.objects, [1, 0, 1])
    assert_array_equal(dog.objects, [0, 0, 0])
    assert_array_equal(cat.ignored, [False, True, False])
    assert_array_equal(cat.gt_images, [0, 0, 2])
    groups = [(list(some), list(truths)) for some, truths in cat.by_image()]
    assert groups == [([0, 3], [0, 1]), ([1, 2], [2])]
    assert cat.boxes.dtype == cat.gt_boxes.dtype == np.float64


def test_nothing_found_anywhere():
    cat, dog = rank(TRUTHS, [NOTHING] * 3)
    assert len(cat.scores) == 0 and list(cat.by_image()) == [] and cat.objects.sum() == 2 and len(cat.ranks()) == 0


@pytest.mark.parametrize("rows, expected", [
    ([(1, np.nan, (0, 0, 1, 1))], "not finite"), ([(1, 0.5, (0, 0, np.inf, 1))], "not finite"),
    ([(1, 0.5, (5, 0, 1, 1))], "the box 5, 0, 1, 1 in a, which is inside out"),
    ([(0, 0.5, (0, 0, 1, 1))], "labels 0 to 0 in a, expected 1 to 2"),
    ([(1, 0.5, (0, 0, 1, 1)), (3, 0.5, (0, 0, 1, 1))], "labels 1 to 3"),
])
def test_what_is_no_detection_is_refused(rows, expected):
    with pytest.raises(InputError, match=expected):
        rank(TRUTHS, [detections(*rows), NOTHING, NOTHING])


def test_numbers_that_differ_are_refused():
    with pytest.raises(InputError, match="detections of 1 images, expected those of 3"):
        rank(TRUTHS, [NOTHING])
    boxes, scores, labels = detections((1, 0.5, (0, 0, 1, 1)))
    with pytest.raises(InputError, match="got 1 boxes, 0 scores and 1 labels in a"):
        rank(TRUTHS, [(boxes, scores[:0], labels), NOTHING, NOTHING])
    with pytest.raises(InputError, match="no images"):
        rank(annotated([]), [])


def test_overlaps_by_hand():
    """Half of a crowd's detection lies in it; a box without area overlaps nothing, not even itself."""
    boxes = np.array([[0, 0, 10, 10], [3, 3, 3, 8]], float)
    truths = np.array([[0, 0, 10, 5], [5, 0, 105, 100], [3, 3, 3, 8]], float)
    assert_allclose(overlaps(boxes, truths, np.array([False, True, False])), [[0.5, 0.5, 0], [0, 0, 0]])
    assert_allclose(overlaps(boxes, truths)[0, 1], 50 / (100 + 10000 - 50))
    assert_allclose(overlaps(boxes, truths, np.array([False, False, True])), overlaps(boxes, truths))


def test_boxes_are_what_the_file_had():
    """61.87 and a width of 296.42, which float32 spoils; whole pixels; what is no float32."""
    sides = np.array([[61.87, 276.25, 61.87 + 296.42, 276.25 + 103.18], [0, 1, 353, 500]])
    assert_array_equal(as_written(sides.astype(np.float32)), sides)
    assert (sides.astype(np.float32) != sides).any()
    thirds = np.array([[0, 0, 1 / 3, 2 / 3]])
    assert_array_equal(as_written(thirds), thirds)
    assert as_written(np.empty((0, 4), np.float32)).shape == (0, 4)

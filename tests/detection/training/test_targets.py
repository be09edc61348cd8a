"""Matching and sampling: by hand, and by torchvision's rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from minicnn.detection.training.targets import BELOW, BETWEEN, GroundTruth, assign, match, sample

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("iou, expected", [
    ([[0.2, 0.1, 0], [0.6, 0.05, 0]], [1, BELOW, BELOW]),           # the best anchor of object 0 is object 1's
    ([[0.4, 0.4, 0.35]], [0, 0, BETWEEN]),                          # equal best ones are both given back
    ([[0.8, 0, 0], [0, 0, 0]], [0, 0, 0]),                          # an object that overlaps nothing: all its anchors are its best
    ([[0.7, 0.69, 0.3, 0.29]], [0, BETWEEN, BETWEEN, BELOW]),       # from a threshold on, not above it
])
def test_objects_without_a_good_anchor_keep_their_best(iou, expected):
    assert_array_equal(match(np.array(iou, np.float32), 0.7, 0.3, low_quality=True), expected)


def test_proposals_are_matched_by_threshold_alone():
    iou = np.float32([[0.5, 0.49, 0.1, 0.6], [0.2, 0.3, 0.0, 0.6]])
    assert_array_equal(match(iou, 0.5, 0.5), [0, BELOW, BELOW, 0])                  # of equal objects the first
    assert_array_equal(match(np.zeros((0, 3), np.float32), 0.5, 0.5), [BELOW] * 3)
    assert_array_equal(match(np.zeros((2, 0), np.float32), 0.5, 0.5), [])


def test_labels_and_true_boxes():
    target = GroundTruth(np.float32([[0, 0, 10, 10], [20, 20, 30, 40]]), np.array([3, 7]))
    boxes = np.float32([[0, 0, 10, 9], [20, 20, 30, 30], [50, 50, 60, 60], [20, 21, 30, 40]])
    labels, true_boxes = assign(boxes, target, 0.7, 0.3)
    assert labels.tolist() == [3, -1, 0, 7] and labels.dtype == np.int64
    assert_array_equal(true_boxes, [[0, 0, 10, 10], *boxes[1:3], [20, 20, 30, 40]])
    labels, true_boxes = assign(boxes, GroundTruth(boxes[:0], np.zeros(0, np.int64)), 0.7, 0.3, low_quality=True)
    assert labels.tolist() == [0] * 4
    assert_array_equal(true_boxes, boxes)


@pytest.mark.parametrize("positives, negatives, expected", [
    (10, 2, (8, 2)),            # unused places of negatives are left empty
    (3, 40, (3, 13)),           # unused places of positives go to negatives
    (20, 40, (8, 8)), (0, 5, (0, 5)), (5, 0, (5, 0)), (0, 0, (0, 0)),
])
def test_how_many_are_drawn(positives, negatives, expected):
    labels = np.array([2] * positives + [-1] * 4 + [0] * negatives)
    rng = np.random.default_rng(0)
    positive, negative = sample(labels, 16, 0.5, rng.permutation)
    assert (len(positive), len(negative)) == expected
    assert len(set(positive.tolist())) == len(positive) and (labels[positive] > 0).all()
    assert len(set(negative.tolist())) == len(negative) and (labels[negative] == 0).all()


def test_the_first_ones_of_the_permutation_are_drawn_positive_before_negative():
    asked = []

    def backwards(n):
        asked.append(n)
        return np.arange(n)[::-1]
    positive, negative = sample(np.array([0, 1, 0, 1, -1, 1, 0]), 3, 0.4, backwards)
    assert asked == [3, 3] and positive.tolist() == [5] and negative.tolist() == [6, 2]


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 40))
def test_a_box_on_an_object_is_matched_to_it(seed, objects, count):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 100, (objects, 2))
    truths = np.concatenate([corner, corner + rng.uniform(5, 60, corner.shape)], axis=1).astype(np.float32)
    target, chosen = GroundTruth(truths, np.arange(1, objects + 1)), rng.integers(0, objects, count)
    labels, true_boxes = assign(truths[chosen], target, 0.5, 0.5)
    assert_array_equal(true_boxes, truths[chosen])
    assert_array_equal(labels, chosen + 1)


def test_thresholds_in_the_wrong_order_and_what_is_no_table_of_overlaps_are_refused():
    for iou, high, low, message in ((np.zeros((1, 2)), 0.3, 0.7, "high=0.3, low=0.7"), (np.zeros(2), 0.7, 0.3, r"got iou \(2,\)")):
        with pytest.raises(ValueError, match=message):
            match(iou, high, low)

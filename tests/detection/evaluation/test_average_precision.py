"""Average precision against the development kits' loops, and weights against images that stand there several times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.detection.evaluation import average_precision as module
from minicnn.detection.evaluation.average_precision import AREA, COCO_LEVELS, VOC07_LEVELS, average_precision, precision_recall
from minicnn.detection.evaluation.ranking import FALSE_POSITIVE as FP
from minicnn.detection.evaluation.ranking import IGNORED
from minicnn.detection.evaluation.ranking import TRUE_POSITIVE as TP

RULES = [VOC07_LEVELS, AREA, COCO_LEVELS]


def kits(outcomes, objects):
    """The three rules as VOCap.m of 2007, VOCap.m of 2010 and COCOeval.accumulate have them, on every rank."""
    outcomes = [hit for hit in outcomes if hit != IGNORED]
    true, recall, precision = 0, [], []
    for number, hit in enumerate(outcomes, start=1):
        true += hit == TP
        recall.append(true / objects)
        precision.append(true / number)
    eleven = 0
    for level in np.arange(0, 1.1, 0.1):
        eleven += max([p for r, p in zip(recall, precision) if r >= level], default=0) / 11
    r, p = [0, *recall, 1], [0, *precision, 0]
    for i in reversed(range(len(p) - 1)):
        p[i] = max(p[i], p[i + 1])
    area = sum((r[i + 1] - r[i]) * p[i + 1] for i in range(len(r) - 1) if r[i + 1] != r[i])
    levels = [next((max(precision[i:]) for i in range(len(recall)) if recall[i] >= level), 0) for level in np.linspace(0, 1, 101)]
    return eleven, area, np.mean(levels)


def ours(outcomes, objects):
    images = np.zeros(len(outcomes), np.int64)
    return average_precision(images, np.array([outcomes] * 3, np.int8).reshape(3, -1), RULES, np.array([objects]))[:, 0]


def test_by_hand():
    """Right, wrong, right of two objects: precision 1 up to recall 1/2, then 2/3."""
    outcomes = [TP, IGNORED, FP, TP, FP]
    assert_allclose(ours(outcomes, 2), [(6 + 5 * 2 / 3) / 11, 5 / 6, (51 + 50 * 2 / 3) / 101])
    recall, precision = precision_recall(np.array(outcomes), 2)
    assert_allclose(recall, [0.5, 1])
    assert_allclose(precision, [1, 2 / 3])


def test_a_recall_of_three_tenths_does_not_reach_the_kits_level():
    """0.1 * 3 is a little more: 3 of 10 objects reach the levels 0, 0.1 and 0.2; by exact tenths it would be 4 / 11."""
    assert_allclose(ours([TP] * 3, 10)[0], 3 / 11)


@given(st.lists(st.sampled_from([TP, FP, FP, IGNORED]), max_size=40), st.integers(0, 5))
def test_equals_the_kits_loops(outcomes, missed):
    objects = outcomes.count(TP) + missed
    if objects:
        assert_allclose(ours(outcomes, objects), kits(outcomes, objects), atol=1e-12)
    else:
        assert np.isnan(ours(outcomes, objects)).all()


@pytest.mark.parametrize("at_once", [1, 50, 10**6])
def test_a_weight_is_so_many_equal_images(at_once, monkeypatch):
    """Each replicate's images written out one by one, ranked and averaged again by the kits."""
    monkeypatch.setattr(module, "WEIGHED_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    count, images = 30, rng.integers(0, 6, 30)
    outcomes = rng.choice([TP, FP, IGNORED], (2, count))
    objects = np.array([np.bincount(images[one == TP], minlength=6) for one in outcomes]).max(axis=0) + np.array([0, 1, 0, 0, 2, 0])
    weights = rng.multinomial(6, np.full(6, 1 / 6), size=7)
    assert (weights == 0).any() and (weights > 1).any()
    values = average_precision(images, np.repeat(outcomes, 3, axis=0), RULES * 2, objects, weights)
    assert values.shape == (6, 7)
    for t in range(2):
        for r, weight in enumerate(weights):
            copies = [hit for hit, image in zip(outcomes[t], images) for _ in range(weight[image])]
            assert_allclose(values[3 * t:3 * t + 3, r], kits(copies, int(weight @ objects)), atol=1e-12)


def test_a_replicate_without_objects_has_no_average():
    values = average_precision(np.array([0, 1]), np.array([[TP, FP]] * 3), RULES, np.array([1, 0]), np.array([[1, 1], [0, 2]]))
    assert_array_equal(np.isnan(values), [[False, True]] * 3)


def test_nothing_found():
    assert_array_equal(ours([], 3), 0)
    recall, precision = precision_recall(np.array([FP, IGNORED]), 0)
    assert recall.shape == precision.shape == (0,)

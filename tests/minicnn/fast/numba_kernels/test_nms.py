"""Each backend's suppression against the reference."""

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import minicnn.detection.boxes  # noqa: F401  (it enters nms in the table)
from minicnn.functional.dispatch import REFERENCE

f32 = np.float32
THRESHOLDS = [0.5, 0, 0.1, 0.3, 0.6, 0.7, 1, -0.5, 1e-50]


@pytest.fixture(scope="module", params=["numpy", "numba"])
def suppress(request):
    """A backend's nms."""
    if request.param == "numba":
        pytest.importorskip("numba")
    return importlib.import_module(f"minicnn.fast.{request.param}_kernels.nms").nms


def whole(rng, count):
    """Corners on a small grid: many equal boxes, equal overlaps, and boxes without area, whose overlap is NaN."""
    corner = rng.integers(0, 12, (count, 2))
    return np.concatenate([corner, corner + rng.integers(0, 8, (count, 2))], axis=1)


def anywhere(rng, count):
    corner = rng.uniform(0, 100, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(0, 50, (count, 2))], axis=1)


def clustered(rng, count):
    """Overlaps close to 1, a few last digits apart."""
    box = anywhere(rng, 4)[rng.integers(0, 4, count)]
    return box + rng.uniform(0, 1e-5, box.shape)


def tiny(rng, count):
    """Areas that float32 rounds to zero or to a few last digits."""
    return anywhere(rng, count) * 1e-22


def wild(rng, count):
    """Inside out, infinite and missing corners among ordinary ones."""
    boxes = anywhere(rng, count)
    odd = rng.random(boxes.shape) < 0.1
    boxes[odd] = rng.choice([np.inf, -np.inf, np.nan, -50, 200, 1e30], odd.sum())
    return boxes


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([whole, anywhere, clustered, tiny, wild]), st.integers(0, 250),
       st.sampled_from(THRESHOLDS), st.integers(1, 40))
def test_nms_keeps_the_same_boxes_in_the_same_order(suppress, seed, draw, count, threshold, scores):
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        boxes, scores = draw(rng, count).astype(f32), (rng.integers(0, scores, count) / scores).astype(f32)      # many ties
        scores[rng.random(count) < 0.02] = np.nan
        expected = REFERENCE["nms"](boxes, scores, threshold)
        boxes.flags.writeable = scores.flags.writeable = False
        got = suppress(boxes, scores, threshold)
    assert got.dtype == expected.dtype == np.intp
    assert_array_equal(got, expected)


def test_nms_of_thousands_keeps_the_same(suppress):
    rng = np.random.default_rng(0)
    boxes, scores = anywhere(rng, 3000).astype(f32), rng.random(3000).astype(f32)
    expected = REFERENCE["nms"](boxes, scores, 0.2)
    assert 64 < len(expected) < 2500                                              # several blocks
    assert_array_equal(suppress(boxes, scores, 0.2), expected)


@pytest.mark.parametrize("height", range(1, 10))
def test_nms_compares_an_overlap_with_the_exact_threshold(suppress, height):
    boxes, scores = np.array([[0, 0, 10, 10], [0, 0, 10, height]], f32), np.array([1, 0.5], f32)
    overlap = float(f32(height) / f32(10))
    for threshold in (height / 10, overlap, np.nextafter(overlap, 0), np.nextafter(overlap, 1)):
        assert len(suppress(boxes, scores, threshold)) == 2 - (overlap > threshold)


def test_nms_computes_float64_boxes_in_float64(suppress):
    boxes, scores = np.array([[0, 0, 10, 10], [0, 0, 10, 3]]), np.array([1, 0.5])
    assert suppress(boxes, scores, 0.3).tolist() == [0, 1]                        # as float32, 0.3 exceeds itself

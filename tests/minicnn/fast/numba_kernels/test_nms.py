"""Each backend's suppression, RoIAlign, RoIPool and resizing against the readable ones."""

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric_checks import FORWARD, assert_close
from numpy.testing import assert_array_equal

import minicnn.detection.roi_align
import minicnn.detection.roi_pool  # noqa: F401  (they enter themselves into the table)
from minicnn.functional.dispatch import REFERENCE, kernels

f32 = np.float32
THRESHOLDS = [0.5, 0, 0.1, 0.3, 0.6, 0.7, 1, -0.5, 1e-50]


@pytest.fixture(scope="module", params=["arrays", "compiled"])
def suppress(request):
    """A backend's nms."""
    if request.param == "compiled":
        pytest.importorskip("numba")
    return importlib.import_module(f"minicnn.fast.{request.param}.regions").nms


@pytest.fixture(scope="module")
def compiled():
    pytest.importorskip("numba")
    return importlib.import_module("minicnn.fast.numba_kernels.nms")


# suppression


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


# pooling


def draw_map(channels, height, width, order="CHW", more=0):
    """A map (C, H, W) that lies in memory in that order; with ``more`` channels there that it does not have."""
    x = np.random.default_rng(channels).standard_normal((channels + more, height, width)).astype(f32)
    axes = ["CHW".index(axis) for axis in order]
    return np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes))[:channels]


BOXES = np.array([
    [0, 0, 40, 28], [4, 8, 30.5, 21.25], [-3, -3, 5, 5], [30, 20, 60, 50], [-50, -50, -20, -20], [200, 5, 300, 9], [12, 12, 12, 12],
    [12, 3, 13, 27], [20, 20, 8, 10], [40, 28, 44, 32], [-500, -300, 600, 700], [2, 6, 10, 14], [1e3, 1e3, 2e3, 2e3]], f32)
POOLS = {"roi_align, g = 2": ("roi_align", 2), "roi_align, g = 3": ("roi_align", 3), "roi_align, g by size": ("roi_align", 0),
         "roi_pool": ("roi_pool",)}


def check_pool(compiled, kind, x, boxes, size, scale):
    """Compare with the reference; channels lie innermost."""
    name, *ratio = POOLS[kind]
    got, expected = getattr(compiled, name)(x, boxes, size, scale, *ratio), REFERENCE[name](x, boxes, size, scale, *ratio)
    assert got.dtype == expected.dtype and got.transpose(0, 2, 3, 1).flags.c_contiguous
    if name == "roi_pool":
        assert_array_equal(got, expected)                                         # copies of values
        return
    assert_close(got, expected, FORWARD)
    grad = np.random.default_rng(1).standard_normal(got.shape).astype(got.dtype)
    grad.flags.writeable = False
    for laid_out in (grad, np.ascontiguousarray(grad.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)):
        functions = compiled.roi_align_backward, REFERENCE["roi_align_backward"]
        got, expected = (function(laid_out, x.shape, boxes, scale, *ratio) for function in functions)
        assert got.dtype == expected.dtype
        assert_close(got, expected, FORWARD)


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("size, scale", [(7, 0.25), (1, 1), (3, 1 / 32)])
@pytest.mark.parametrize("channels, height, width", [(8, 7, 10), (13, 7, 10), (3, 1, 9), (1, 1, 1), (40, 5, 2)])
def test_pooled_boxes_equal_the_reference(compiled, kind, size, scale, channels, height, width):
    check_pool(compiled, kind, draw_map(channels, height, width, "HWC"), BOXES, size, scale)


@pytest.mark.parametrize("kind", POOLS)
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 9), st.integers(1, 9), st.integers(1, 7))
def test_pooled_boxes_equal_the_reference_on_any_map(compiled, kind, seed, channels, height, width, size):
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(-6, 15, (5, 4)).astype(f32)
    boxes[:2] = np.round(2 * boxes[:2]) / 2                                       # points on pixels, corners between two
    check_pool(compiled, kind, draw_map(channels, height, width, "HWC"), boxes, size, 1)


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("order", ["CHW", "HWC", "WHC", "CWH"])
def test_any_memory_order_is_taken_and_nothing_written(compiled, kind, order):
    x = draw_map(13, 7, 10, order)
    x.flags.writeable = False
    check_pool(compiled, kind, x, BOXES, 7, 0.25)


def test_a_channels_last_map_is_read_where_it_lies(compiled):
    for more in (0, 3):                                                           # the engine fills up channels to eights
        x = draw_map(13, 7, 10, "HWC", more)
        assert np.shares_memory(compiled.flat(x)[0], x)
        check_pool(compiled, "roi_align, g = 2", x, BOXES, 7, 0.25)
        check_pool(compiled, "roi_align, g = 2", x[:, 2:5, 1:8], BOXES, 7, 0.25)
    assert not np.shares_memory(compiled.flat(draw_map(13, 7, 10))[0], draw_map(13, 7, 10))


@pytest.mark.parametrize("kind", POOLS)
def test_no_boxes_give_none_and_float64_stays(compiled, kind):
    x = draw_map(8, 7, 10, "HWC")
    check_pool(compiled, kind, x, BOXES[:0], 7, 0.25)
    check_pool(compiled, kind, x.astype(np.float64), BOXES, 7, 0.25)


@pytest.mark.parametrize("corner", [1e7, -1e9])
def test_boxes_far_out_are_pooled_as_the_reference_does(compiled, corner):
    x, boxes = draw_map(8, 7, 10, "HWC"), np.array([[corner, 0, corner, 9], [0, 0, 5, 5]], f32)
    check_pool(compiled, "roi_align, g = 2", x, boxes, 7, 1)


# resizing


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2), st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60))
def test_bilinear_resizing_equals_the_reference_to_the_last_bit(n, c, h, w, ho, wo):
    interpolate = pytest.importorskip("minicnn.fast.numba_kernels.resize").interpolate
    x = np.random.default_rng(0).standard_normal((n, c, h, w)).astype(f32)
    for laid_out in (x, np.asfortranarray(x), np.repeat(x, 2, axis=3)[..., ::2]):
        laid_out.flags.writeable = False
        assert_array_equal(interpolate(laid_out, (ho, wo), "bilinear"), REFERENCE["interpolate"](x, (ho, wo), "bilinear"))


def test_other_resizing_is_the_reference():
    interpolate = pytest.importorskip("minicnn.fast.numba_kernels.resize").interpolate
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 7)).astype(f32)
    assert_array_equal(interpolate(x, (9, 3)), REFERENCE["interpolate"](x, (9, 3)))
    assert_array_equal(interpolate(x, 9, "bilinear"), REFERENCE["interpolate"](x, 9, "bilinear"))
    exact = interpolate(x.astype(np.float64), (9, 3), "bilinear")
    assert exact.dtype == np.float64
    assert_array_equal(exact, REFERENCE["interpolate"](x.astype(np.float64), (9, 3), "bilinear"))
    with pytest.raises(ValueError, match="cubic"):
        interpolate(x, (9, 3), "cubic")


@pytest.mark.parametrize("backend, names", [
    ("numpy", ["nms"]), ("numba", ["nms", "roi_align", "roi_align_backward", "roi_pool", "interpolate"])])
def test_the_backend_uses_them(backend, names):
    if backend == "numba":
        pytest.importorskip("numba")
    assert set(names) <= set(kernels(backend))

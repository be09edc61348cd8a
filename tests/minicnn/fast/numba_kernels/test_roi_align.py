"""RoIAlign, its gradient and RoIPool against the reference."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric_checks import FORWARD, assert_close
from numpy.testing import assert_array_equal

import minicnn.detection.roi_align
import minicnn.detection.roi_pool  # noqa: F401  (they enter themselves in the table)
from minicnn.functional.dispatch import REFERENCE

f32 = np.float32


@pytest.fixture(scope="module")
def compiled():
    """The compiled functions."""
    pytest.importorskip("numba")
    from minicnn.fast.numba_kernels import roi_align, roi_pool
    return SimpleNamespace(**roi_align.KERNELS, **roi_pool.KERNELS, flat_map=roi_align.flat_map)


def draw_map(channels, height, width, order="CHW", more=0):
    """A map (C, H, W) in that memory order, a view of an array with ``more`` channels."""
    x = np.random.default_rng(channels).standard_normal((channels + more, height, width)).astype(f32)
    axes = ["CHW".index(axis) for axis in order]
    return np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes))[:channels]


BOXES = np.array([
    [0, 0, 40, 28], [4, 8, 30.5, 21.25], [-3, -3, 5, 5], [30, 20, 60, 50], [-50, -50, -20, -20], [200, 5, 300, 9], [12, 12, 12, 12],
    [12, 3, 13, 27], [20, 20, 8, 10], [40, 28, 44, 32], [-500, -300, 600, 700], [2, 6, 10, 14], [1e3, 1e3, 2e3, 2e3]], f32)
POOLS = {"roi_align, g = 2": ("roi_align", 2), "roi_align, g = 3": ("roi_align", 3), "roi_align, g by size": ("roi_align", 0),
         "roi_pool": ("roi_pool",)}


def check_pool(compiled, kind, x, boxes, size, scale):
    """Compare with the reference; the channels of the result are innermost."""
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
        assert np.shares_memory(compiled.flat_map(x)[0], x)
        check_pool(compiled, "roi_align, g = 2", x, BOXES, 7, 0.25)
        check_pool(compiled, "roi_align, g = 2", x[:, 2:5, 1:8], BOXES, 7, 0.25)
    assert not np.shares_memory(compiled.flat_map(draw_map(13, 7, 10))[0], draw_map(13, 7, 10))


@pytest.mark.parametrize("kind", POOLS)
def test_no_boxes_give_none_and_float64_stays(compiled, kind):
    x = draw_map(8, 7, 10, "HWC")
    check_pool(compiled, kind, x, BOXES[:0], 7, 0.25)
    check_pool(compiled, kind, x.astype(np.float64), BOXES, 7, 0.25)


@pytest.mark.parametrize("corner", [1e7, -1e9])
def test_boxes_far_out_are_pooled_as_the_reference_does(compiled, corner):
    x, boxes = draw_map(8, 7, 10, "HWC"), np.array([[corner, 0, corner, 9], [0, 0, 5, 5]], f32)
    check_pool(compiled, "roi_align, g = 2", x, boxes, 7, 1)

"""RoIPool against its definition, bin by bin, and C's rounding."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from minicnn.detection.roi_pool import MultiScaleRoIPool, roi_pool, round_half_away

pytestmark = pytest.mark.usefixtures("backend")

f32 = np.float32


def draw_map(*shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(f32)
    x.flags.writeable = False
    return x


def boxes_of(*rows):
    boxes = np.array(rows, f32).reshape(-1, 4)
    boxes.flags.writeable = False
    return boxes


def rounded(value):
    """Half away from zero."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), value))


def roi_pool_loops(x, boxes, p, spatial_scale):
    pooled = np.zeros((len(boxes), len(x), p, p), x.dtype)
    for out, box in zip(pooled, boxes):
        left, top, right, bottom = (rounded(side) for side in box * f32(spatial_scale))
        across, down = (f32(max(end - start + 1, 1)) / f32(p) for start, end in ((left, right), (top, bottom)))
        for i, j in np.ndindex(p, p):
            rows, columns = (range(max(start + math.floor(f32(at) * side), 0), min(start + math.ceil(f32(at + 1) * side), n))
                             for start, at, side, n in ((top, i, down, x.shape[1]), (left, j, across, x.shape[2])))
            for c in range(len(x)):
                out[c, i, j] = max((x[c, row, column] for row in rows for column in columns), default=0)
    return pooled


CORNERS = boxes_of(
    [0, 0, 40, 28], [4, 8, 30.5, 21.25], [-3, -3, 5, 5], [30, 20, 60, 50], [-50, -50, -20, -20], [200, 5, 300, 9], [12, 12, 12, 12],
    [12, 3, 13, 27], [20, 20, 8, 10], [2, 6, 10, 14], [-2, -6, 2, 6])


@pytest.mark.parametrize("output_size", [1, 2, 7])
@pytest.mark.parametrize("spatial_scale", [1, 0.25, 0.0625])
def test_equals_the_definition(output_size, spatial_scale):
    x = draw_map(3, 7, 10)
    got = roi_pool(x, CORNERS, output_size, spatial_scale)
    assert got.dtype == f32
    assert_array_equal(got, roi_pool_loops(x, CORNERS, output_size, spatial_scale))      # copies of values: exact


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 7))
def test_equals_the_definition_on_any_map(seed, channels, height, width, output_size):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((channels, height, width)).astype(f32)
    boxes = (rng.integers(-6, 24, (3, 4)) / 2).astype(f32)                               # halves: rounding matters
    assert_array_equal(roi_pool(x, boxes, output_size, 1), roi_pool_loops(x, boxes, output_size, 1))


def test_halves_are_rounded_away_from_zero():
    values = np.float32([2.5, 4.5, 0.5, 1.5, -0.5, -2.5, 0.4999, -0.4, 7])
    got = round_half_away(values)
    assert got.tolist() == [3, 5, 1, 2, -1, -3, 0, 0, 7] == [rounded(value) for value in values]
    x = np.arange(8, dtype=f32).reshape(1, 1, 8)
    assert roi_pool(x, boxes_of([2.5, 0, 2.5, 0]), 1, 1).item() == 3
    assert roi_pool(x, boxes_of([0, 0, 4.5, 0]), 1, 1).item() == 5


def test_both_ends_of_a_box_belong_to_it():
    x = np.arange(8, dtype=f32).reshape(1, 1, 8)
    assert_array_equal(roi_pool(x, boxes_of([2, 0, 5, 0]), 2, 1)[0, 0, 0], [3, 5])


def test_an_empty_bin_is_zero_and_a_negative_map_is_not():
    x = np.full((1, 4, 4), -5, f32)
    got = roi_pool(x, boxes_of([2, 0, 5, 3]), 2, 1)[0, 0]
    assert_array_equal(got, [[-5, 0], [-5, 0]])


def test_no_boxes_give_none():
    got = roi_pool(draw_map(3, 7, 10), boxes_of(), 7, 0.25)
    assert got.shape == (0, 3, 7, 7) and got.dtype == f32


def test_it_takes_the_place_of_roi_align_on_every_map():
    maps, boxes = [draw_map(2, 3, 16, 18), draw_map(2, 3, 8, 9)], boxes_of([2, 2, 900, 60], [3, 3, 20, 31])
    got = MultiScaleRoIPool(3)(maps, [boxes_of(), boxes], [(64, 70), (50, 72)])
    assert_array_equal(got[0], roi_pool(maps[1][1], boxes[:1], 3, 1 / 8)[0])             # 4 + log2(228 / 224): past the coarsest map
    assert_array_equal(got[1], roi_pool(maps[0][1], boxes[1:], 3, 1 / 4)[0])

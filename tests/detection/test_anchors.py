"""Anchors: torchvision's tables, and the grid by loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from minicnn.detection.anchors import base_anchors, grid_anchors


@pytest.mark.parametrize("size, half_sides", [
    (32, [(23, 11), (16, 16), (11, 23)]), (64, [(45, 23), (32, 32), (23, 45)]), (128, [(91, 45), (64, 64), (45, 91)]),
    (256, [(181, 91), (128, 128), (91, 181)]), (512, [(362, 181), (256, 256), (181, 362)])])
def test_the_anchors_of_a_cell_are_torchvisions(size, half_sides):
    got = base_anchors((size,), (0.5, 1.0, 2.0))
    assert got.dtype == np.float32
    assert_array_equal(got, [(-x, -y, x, y) for x, y in half_sides])


@pytest.mark.parametrize("size, half", [(15, 8), (25, 12), (5, 2)])
def test_halves_are_rounded_to_even(size, half):
    assert_array_equal(base_anchors((size,), (1,)), [[-half, -half, half, half]])


def test_ratios_are_outer_and_sizes_inner():
    got = base_anchors((32, 64), (0.5, 1, 2))
    assert_array_equal(got[:, 2:] - got[:, :2], [(46, 22), (90, 46), (32, 32), (64, 64), (22, 46), (46, 90)])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(4, 700), min_size=1, max_size=3), st.lists(st.sampled_from([0.2, 0.5, 1, 1.7, 3]), min_size=1, max_size=3))
def test_an_anchor_has_its_area_and_shape_up_to_rounding(sizes, ratios):
    got = base_anchors(sizes, ratios)
    for anchor, (ratio, size) in zip(got, ((ratio, size) for ratio in ratios for size in sizes)):
        w, h = size / math.sqrt(ratio), size * math.sqrt(ratio)
        assert np.abs(anchor - np.array([-w, -h, w, h]) / 2).max() < 0.501
    assert len(got) == len(sizes) * len(ratios)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 40), st.integers(0, 40), st.integers(1, 3))
def test_the_grid_equals_loops(rows, columns, more_rows, more_columns, count):
    base = np.arange(4 * count, dtype=np.float32).reshape(count, 4) - 3
    base.flags.writeable = False
    batch_size = rows + more_rows, columns + more_columns
    got = grid_anchors(base, (rows, columns), batch_size)
    expected = [anchor + [x, y, x, y]
                for y in (row * (batch_size[0] // rows) for row in range(rows))
                for x in (column * (batch_size[1] // columns) for column in range(columns))
                for anchor in base]
    assert got.dtype == np.float32
    assert_array_equal(got, expected)


@pytest.mark.parametrize("map_size, step", [((200, 336), (4, 4)), ((100, 168), (8, 8)), ((50, 84), (16, 16)), ((25, 42), (32, 32)),
                                            ((13, 21), (61, 64))])
def test_steps_divide_the_batch_not_powers_of_two(map_size, step):
    base = base_anchors((32,), (1,))
    got = grid_anchors(base, map_size, (800, 1344)).reshape(*map_size, 4)
    assert_array_equal(got[0, 0], base[0])                              # round the corner of the first cell, across the border
    assert_array_equal(got[1, 0] - base[0], [0, step[0], 0, step[0]])
    assert_array_equal(got[0, 1] - base[0], [step[1], 0, step[1], 0])
    assert_array_equal(got[-1, -1] - got[0, 0], 2 * [(map_size[1] - 1) * step[1], (map_size[0] - 1) * step[0]])

"""Resizing against its definition, pixel by pixel, torch's float32 positions by hand, and gradients against differences."""

import itertools
import math

import numpy as np
import pytest
from numeric_checks import EXACT, assert_close, check_arrays, check_gradients
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.functional import interpolate, interpolate_backward

pytestmark = pytest.mark.usefixtures("backend")

SIZES = [((1, 1, 4, 6), (8, 12)), ((3, 2, 4, 2), (2, 8)), ((3, 2, 5, 7), (5, 7)), ((1, 2, 5, 7), (9, 3)), ((1, 1, 1, 3), (4, 1)),
         ((3, 1, 13, 4), (25, 7)), ((1, 1, 7, 1), (3, 2))]
each_size = pytest.mark.parametrize("shape, size", SIZES, ids=str)
each_mode = pytest.mark.parametrize("mode", ["nearest", "bilinear"])


def shares(n, out, k, mode):
    """The source pixels of output k and their exact weights."""
    if mode == "nearest":
        return [(k * n // out, 1)]
    position = max((k + 0.5) * n / out - 0.5, 0)
    first = math.floor(position)
    return [(first, 1 - position + first), (min(first + 1, n - 1), position - first)]


def interpolate_loops(x, size, mode):
    y = np.zeros((*x.shape[:2], *size))
    for b, c, i, j in itertools.product(*map(range, y.shape)):
        for (row, a), (col, e) in itertools.product(shares(x.shape[2], size[0], i, mode), shares(x.shape[3], size[1], j, mode)):
            y[b, c, i, j] += a * e * x[b, c, row, col]
    return y


@each_mode
@each_size
def test_equals_loops_and_gradient_equals_differences(shape, size, mode):
    x = np.random.default_rng(0).standard_normal(shape)
    # Positions are float32, as in torch, also for a float64 image: in/out and the result, at most n, are rounded to 2^-24 each,
    # and neighbours differ by at most twice the largest. Where in/out is a power of two nothing is rounded.
    exact = mode == "nearest" or {math.log2(a / b) % 1 for a, b in zip(shape[2:], size)} == {0}
    tolerance = EXACT if exact else 2 * sum(shape[2:]) * 2 ** -23
    assert_close(interpolate(x, size, mode), interpolate_loops(x, size, mode), tolerance)
    check_gradients(lambda x: interpolate(x, size, mode), lambda grad_y, x: [interpolate_backward(grad_y, x.shape, mode)], x)
    check_arrays(lambda x: (interpolate(x, size, mode), interpolate_backward(interpolate(x, size, mode), x.shape, mode)), x)


@each_mode
@each_size
def test_backward_is_the_transpose(shape, size, mode):
    """<A x, g> = <x, A^T g> to the last digits: forward and backward use the same weights."""
    rng = np.random.default_rng(0)
    x, grad_y = rng.standard_normal(shape), rng.standard_normal((*shape[:2], *size))
    grad_x = interpolate_backward(grad_y, shape, mode)
    assert_allclose(np.sum(x * grad_x), np.sum(interpolate(x, size, mode) * grad_y), rtol=1e-12)


def test_nearest_by_hand():
    x = np.arange(3.0).reshape(1, 1, 1, 3)
    assert_array_equal(interpolate(x, (1, 5)).ravel(), [0, 0, 1, 1, 2])                        # floor of 0, .6, 1.2, 1.8, 2.4
    assert_array_equal(interpolate(x, (2, 3)), [[[[0, 1, 2], [0, 1, 2]]]])
    assert_array_equal(interpolate_backward(np.array([[[[1.0, 2, 3, 4, 5]]]]), x.shape).ravel(), [3, 7, 5])


def test_nearest_rounds_as_float32():
    """2 -> 82: f32(2 / 82) 41 = 0.99999994, so output 41 still takes pixel 0."""
    y = interpolate(np.arange(2, dtype=np.float32).reshape(1, 1, 1, 2), (1, 82)).ravel()
    assert_array_equal(y, [0] * 42 + [1] * 40)


def test_bilinear_by_hand():
    """Pixel centres at half numbers: doubling 0, 4 gives 0, 1, 3, 4, and halving takes means of pairs."""
    x = np.array([[[[0.0, 4]]]])
    assert_array_equal(interpolate(x, (1, 4), "bilinear").ravel(), [0, 1, 3, 4])
    assert_array_equal(interpolate(np.array([[[[0.0, 2, 5, 9]]]]), (1, 2), "bilinear").ravel(), [1, 7])
    assert_array_equal(interpolate_backward(np.array([[[[4.0, 8, 12, 16]]]]), x.shape, "bilinear").ravel(), [13, 27])


def test_bilinear_rounds_the_position_once():
    """A ramp shows its own positions; they are the exact ones rounded to float32 (in/out first): 161 -> 799."""
    y = interpolate(np.arange(161.0).reshape(1, 1, 161, 1), (799, 1), "bilinear").ravel()
    positions = np.float32([min(max(float(np.float32(161 / 799)) * (k + 0.5) - 0.5, 0), 160) for k in range(799)])
    assert_allclose(y, positions, rtol=0, atol=1e-13)


def test_one_number_is_both_sides():
    assert interpolate(np.zeros((1, 2, 3, 4)), 5, "bilinear").shape == (1, 2, 5, 5)


def test_another_mode_is_refused():
    with pytest.raises(ValueError, match="got mode='bicubic', expected 'nearest' or 'bilinear'"):
        interpolate(np.zeros((1, 1, 2, 2)), 4, "bicubic")

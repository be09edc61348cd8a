"""linear and linear_blocks against their definitions, and their gradients against differences."""

import numpy as np
import pytest
from numeric_checks import EXACT, assert_close, check_arrays, check_gradients
from numpy.testing import assert_array_equal

from minicnn.functional import linear, linear_backward, linear_blocks, linear_blocks_backward

pytestmark = pytest.mark.usefixtures("backend")


def linear_loops(x, weight, bias):
    return np.array([[sum(a * b for a, b in zip(row, filter)) + shift for filter, shift in zip(weight, bias)] for row in x])


def draw(n, i, o):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, i)), rng.standard_normal((o, i)), rng.standard_normal(o)


@pytest.mark.parametrize("n, i, o", [(1, 5, 3), (3, 4, 7), (3, 1, 1)])
def test_equals_loops_and_gradients_equal_differences(n, i, o):
    x, weight, bias = draw(n, i, o)
    assert_close(linear(x, weight, bias), linear_loops(x, weight, bias), EXACT)
    assert_close(linear(x, weight), linear_loops(x, weight, np.zeros(o)), EXACT)
    check_gradients(linear, lambda grad_y, x, weight, bias: linear_backward(grad_y, x, weight), x, weight, bias)
    check_arrays(lambda x, weight, bias: (linear(x, weight, bias), *linear_backward(x @ weight.T, x, weight)), x, weight, bias)


def test_by_hand():
    x, weight = np.array([[1.0, 2, 3]]), np.array([[1.0, 0, -1], [2, 1, 0]])
    assert_array_equal(linear(x, weight, np.array([10.0, 20])), [[8, 24]])
    grad_x, grad_weight, grad_bias = linear_backward(np.array([[1.0, 2]]), x, weight)
    assert_array_equal(grad_x, [[5, 2, -1]])
    assert_array_equal(grad_weight, [[1, 2, 3], [2, 4, 6]])
    assert_array_equal(grad_bias, [1, 2])


def test_without_input_gradient_the_others_stay():
    x, weight, _ = draw(3, 4, 2)
    grad_y = x @ weight.T
    grad_x, *others = linear_backward(grad_y, x, weight, input_gradient=False)
    assert grad_x is None
    for got, expected in zip(others, linear_backward(grad_y, x, weight)[1:]):
        assert_array_equal(got, expected)


def test_no_rows():
    """The box head reads no rows where an image has no proposals."""
    x, weight, bias = draw(0, 4, 2)
    y = linear(x, weight, bias)
    assert y.shape == (0, 2)
    grad_x, grad_weight, grad_bias = linear_backward(y, x, weight)
    assert grad_x.shape == (0, 4)
    assert_array_equal(grad_weight, np.zeros((2, 4)))
    assert_array_equal(grad_bias, [0, 0])


@pytest.mark.parametrize("shape", [(100, 10), (10,), (2, 3072, 1, 1)])
def test_bad_shapes_are_named(shape):
    with pytest.raises(ValueError, match=r"linear: got x \(.*\) and weight \(9, 3072\); expected x \(N, 3072\). Flatten"):
        linear(np.zeros(shape), np.zeros((9, 3072)))


@pytest.mark.parametrize("n, blocks, i, o", [(1, 1, 5, 3), (3, 4, 5, 2), (2, 3, 1, 4), (0, 3, 4, 2)])
def test_blocks_are_read_alike(n, blocks, i, o):
    x, weight, _ = draw(n, blocks * i, o)
    weight = weight[:, :i]
    expected = np.concatenate([linear(x[:, c * i:(c + 1) * i], weight) for c in range(blocks)], axis=1)
    assert_close(linear_blocks(x, weight), expected, EXACT)
    if n:
        check_gradients(linear_blocks, linear_blocks_backward, x, weight)
        check_arrays(lambda x, weight, grad_y: (linear_blocks(x, weight), *linear_blocks_backward(grad_y, x, weight)), x, weight, expected)
    grad_x, grad_weight = linear_blocks_backward(expected, x, weight, input_gradient=False)
    assert grad_x is None
    assert_array_equal(grad_weight, linear_blocks_backward(expected, x, weight)[1])


@pytest.mark.parametrize("shape", [(100, 50), (49,), (2, 3, 7, 7)])
def test_bad_blocks_are_named(shape):
    with pytest.raises(ValueError, match=r"linear_blocks: got x \(.*\) and weight \(9, 49\); expected x \(N, a multiple of 49\). Flatten"):
        linear_blocks(np.zeros(shape), np.zeros((9, 49)))

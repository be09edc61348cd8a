"""The losses against their formulas, number by number, and their gradients against differences."""

import math

import numpy as np
import pytest
from numeric_checks import EXACT, assert_close, check_arrays, check_gradients
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.functional import (
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_backward,
    cross_entropy,
    cross_entropy_backward,
    smooth_l1_loss,
    smooth_l1_loss_backward,
    softmax,
)

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("shape", [(1, 3), (3, 5), (2, 3, 4)])
def test_softmax_equals_formula(shape):
    x = 3 * np.random.default_rng(0).standard_normal(shape)
    expected = [[math.exp(v) / sum(map(math.exp, row)) for v in row] for row in x.reshape(-1, shape[-1])]
    assert_close(softmax(x), np.reshape(expected, shape), EXACT)
    check_arrays(lambda x: (softmax(x),), x)


def test_softmax_of_large_logits_does_not_overflow():
    assert_array_equal(softmax(np.float32([[1000, 1000, -1000]])), [[0.5, 0.5, 0]])


@pytest.mark.parametrize("target, ignore_index", [
    ([2], -100), ([0, 4, 1], -100), ([0, -100, 3, 3, -100], -100), ([1, 0, 2], 0), ([-1, 2], -1)])
def test_cross_entropy_equals_formula_and_gradient_equals_differences(target, ignore_index):
    x, target = 3 * np.random.default_rng(0).standard_normal((len(target), 5)), np.array(target)
    rows = [math.log(sum(map(math.exp, row))) - row[k] for row, k in zip(x, target) if k != ignore_index]
    assert_allclose(cross_entropy(x, target, ignore_index), sum(rows) / len(rows), rtol=1e-14)
    check_gradients(lambda x: cross_entropy(x, target, ignore_index),
                    lambda grad_y, x: [grad_y * cross_entropy_backward(x, target, ignore_index)], x)
    check_arrays(lambda x: (cross_entropy_backward(x, target, ignore_index),), x)
    assert_array_equal(cross_entropy_backward(x, target, ignore_index)[target == ignore_index], 0)


def test_cross_entropy_by_hand():
    """exp: 1, 3 and 2, 2; the targets have 3/4 and 1/2."""
    logits, target = np.log([[1.0, 3], [2, 2]]), np.array([1, 0])
    assert_allclose(cross_entropy(logits, target), (math.log(4 / 3) + math.log(2)) / 2, rtol=1e-14)
    assert_allclose(cross_entropy_backward(logits, target), np.array([[0.25, -0.25], [-0.5, 0.5]]) / 2, rtol=1e-14)


def test_cross_entropy_of_large_logits_is_finite():
    logits = np.float32([[10000, -10000]])
    assert cross_entropy(logits, np.array([0])) == 0
    assert cross_entropy(logits, np.array([1])) == 20000


def test_cross_entropy_where_all_rows_are_ignored():
    logits, target = np.ones((2, 3), np.float32), np.array([-100, -100])
    assert math.isnan(cross_entropy(logits, target))
    assert_array_equal(cross_entropy_backward(logits, target), np.zeros((2, 3)))


@pytest.mark.parametrize("bad", [5, -1])
def test_cross_entropy_names_a_bad_target(bad):
    for function in cross_entropy, cross_entropy_backward:
        with pytest.raises(ValueError, match=f"got target {bad} for 5 classes, expected 0 to 4. Check the labels"):
            function(np.zeros((3, 5)), np.array([0, -100, bad]))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("beta", [1.0, 1 / 9, 0, 3])
@pytest.mark.parametrize("shape", [(1, 4), (3, 4), (2, 1, 3, 5)])
def test_smooth_l1_equals_formula_and_gradient_equals_differences(shape, beta, reduction):
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal(shape), rng.standard_normal(shape)
    distances = np.abs(x - target).ravel().tolist()
    loss = sum(0.5 * d ** 2 / beta if d < beta else d - 0.5 * beta for d in distances)
    assert_allclose(smooth_l1_loss(x, target, beta, reduction), loss / (x.size if reduction == "mean" else 1), rtol=1e-13)
    check_gradients(lambda x: smooth_l1_loss(x, target, beta, reduction),
                    lambda grad_y, x: [grad_y * smooth_l1_loss_backward(x, target, beta, reduction)], x)
    check_arrays(lambda x, target: (smooth_l1_loss_backward(x, target, beta, reduction),), x, target)


@pytest.mark.parametrize("beta, loss, slope", [(1 / 9, 0.2 - 1 / 18, 1), (1, 0.02, 0.2), (0, 0.2, 1), (0.2, 0.1, 1)])
def test_smooth_l1_by_hand(beta, loss, slope):
    """A distance of 0.2: a line for beta = 1/9 (0.144444), a parabola for 1; at beta itself, the line; at 0, no slope."""
    x, target = np.array([0.2, -0.2]), np.zeros(2)
    assert_allclose(smooth_l1_loss(x, target, beta), loss)
    assert_allclose(smooth_l1_loss(x, target, beta, "sum"), 2 * loss)
    assert_allclose(smooth_l1_loss_backward(x, target, beta, "sum"), [slope, -slope])
    assert_array_equal(smooth_l1_loss_backward(target, target, beta), [0, 0])


def test_smooth_l1_of_no_boxes():
    none = np.zeros((0, 4), np.float32)
    assert smooth_l1_loss(none, none, 1 / 9, "sum") == 0
    assert smooth_l1_loss_backward(none, none, 1 / 9, "sum").shape == (0, 4)


def test_sums_are_accumulated_in_float64():
    x = np.full(2**20, 0.1, np.float32)
    assert_allclose(smooth_l1_loss(x, np.zeros_like(x), 0, "sum"), float(np.float32(0.1)) * 2**20, rtol=1e-12)
    logits = np.random.default_rng(0).standard_normal((50, 9)).astype(np.float32)
    target = np.arange(50) % 9
    assert_allclose(cross_entropy(logits, target), cross_entropy(logits.astype(np.float64), target), rtol=1e-14)


@pytest.mark.parametrize("shape", [(1,), (7,), (2, 3)])
def test_binary_cross_entropy_equals_formula_and_gradient_equals_differences(shape):
    rng = np.random.default_rng(0)
    x, target = 3 * rng.standard_normal(shape), rng.random(shape)
    sigmoids = [1 / (1 + math.exp(-v)) for v in x.ravel()]
    rows = [-t * math.log(s) - (1 - t) * math.log(1 - s) for s, t in zip(sigmoids, target.ravel())]
    assert_allclose(binary_cross_entropy_with_logits(x, target), sum(rows) / len(rows), rtol=1e-13)
    check_gradients(lambda x: binary_cross_entropy_with_logits(x, target),
                    lambda grad_y, x: [grad_y * binary_cross_entropy_with_logits_backward(x, target)], x)
    check_arrays(lambda x, target: (binary_cross_entropy_with_logits_backward(x, target),), x, target)


def test_binary_cross_entropy_by_hand():
    """A logit of log 3 is the probability 3/4; the wrong target costs log 4. Large logits do not overflow."""
    x = np.float32([math.log(3), math.log(3)])
    assert_allclose(binary_cross_entropy_with_logits(x, np.array([1.0, 0])), (math.log(4 / 3) + math.log(4)) / 2, rtol=1e-7)
    assert_allclose(binary_cross_entropy_with_logits_backward(x, np.array([1.0, 0])), [-0.125, 0.375], rtol=1e-6)
    huge = np.float32([1e4, -1e4])
    assert binary_cross_entropy_with_logits(huge, np.array([1.0, 0])) == 0
    assert binary_cross_entropy_with_logits(huge, np.array([0, 1.0])) == 1e4
    assert math.isnan(binary_cross_entropy_with_logits(huge[:0], np.zeros(0)))
    assert binary_cross_entropy_with_logits_backward(huge[:0], np.zeros(0, np.float32)).shape == (0,)


def test_cross_entropy_with_probabilities_equals_formula_and_gradient_equals_differences():
    rng = np.random.default_rng(0)
    x, target = 3 * rng.standard_normal((4, 5)), rng.dirichlet(np.ones(5), 4)
    rows = [-sum(p * (v - math.log(sum(map(math.exp, row)))) for p, v in zip(shares, row)) for shares, row in zip(target, x)]
    assert_allclose(cross_entropy(x, target), sum(rows) / 4, rtol=1e-13)
    check_gradients(lambda x: cross_entropy(x, target), lambda grad_y, x: [grad_y * cross_entropy_backward(x, target)], x)
    certain = np.eye(5)[[2, 0, 4, 1]]
    assert_allclose(cross_entropy(x, certain), cross_entropy(x, np.array([2, 0, 4, 1])), rtol=1e-13)
    assert cross_entropy_backward(x.astype(np.float32), target.astype(np.float32)).dtype == np.float32

"""Batch normalisation against its definition, channel by channel, and its gradients against differences."""

import math

import numpy as np
import pytest
from numeric_checks import EXACT, assert_close, check_arrays, check_gradients
from numpy.testing import assert_allclose

from minicnn.functional import batch_norm, batch_norm_backward, batch_norm_training, batch_norm_training_backward

pytestmark = pytest.mark.usefixtures("backend")

SHAPES = [(1, 1, 4, 3), (3, 4, 5, 2), (3, 2, 1, 1), (1, 3, 1, 7)]


def batch_norm_loops(x, mean, var, weight, bias, eps):
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        y[:, c] = [[[(v - mean[c]) / math.sqrt(var[c] + eps) * weight[c] + bias[c] for v in row] for row in i] for i in x[:, c]]
    return y


def draw(shape):
    """x, mean, var, weight, bias."""
    rng = np.random.default_rng(0)
    c = shape[1]
    return (3 + 2 * rng.standard_normal(shape), rng.standard_normal(c), rng.uniform(0.5, 2, c),
            rng.standard_normal(c), rng.standard_normal(c))


@pytest.mark.parametrize("eps", [1e-5, 1e-3, 0])
@pytest.mark.parametrize("shape", SHAPES)
def test_evaluation_equals_loops_and_gradients_equal_differences(shape, eps):
    x, mean, var, weight, bias = draw(shape)
    assert_close(batch_norm(x, mean, var, weight, bias, eps), batch_norm_loops(x, mean, var, weight, bias, eps), EXACT)
    check_gradients(lambda x, weight, bias: batch_norm(x, mean, var, weight, bias, eps),
                    lambda grad_y, x, weight, bias: batch_norm_backward(grad_y, x, mean, var, weight, eps), x, weight, bias)


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
@pytest.mark.parametrize("shape", SHAPES)
def test_training_equals_loops_and_gradients_equal_differences(shape, eps):
    x, _, _, weight, bias = draw(shape)
    y, mean, var = batch_norm_training(x, weight, bias, eps)
    values = [x[:, c].ravel().tolist() for c in range(shape[1])]
    means = [sum(v) / len(v) for v in values]
    variances = [sum((a - m) ** 2 for a in v) / len(v) for v, m in zip(values, means)]       # biased
    assert_close(mean, means, EXACT)
    assert_close(var, variances, EXACT)
    assert_close(y, batch_norm_loops(x, means, variances, weight, bias, eps), EXACT)
    check_gradients(lambda *arrays: batch_norm_training(*arrays, eps)[0],
                    lambda grad_y, x, weight, bias: batch_norm_training_backward(grad_y, x, mean, var, weight, eps),
                    x, weight, bias)


def test_any_memory_order_and_both_dtypes():
    def call(x, mean, var, weight, bias):
        y = batch_norm(x, mean, var, weight, bias)
        trained, batch_mean, batch_var = batch_norm_training(x, weight, bias)
        return (y, trained, batch_mean, batch_var, *batch_norm_backward(np.cos(y), x, mean, var, weight),
                *batch_norm_training_backward(np.cos(y), x, batch_mean, batch_var, weight))
    check_arrays(call, *draw((3, 4, 5, 2)))


def test_by_hand():
    """1, 2, 3, 4: mean 2.5, biased variance 1.25, with eps 1 a root of 1.5; with given statistics 2 and 4 - 1, halves of the distance."""
    x, one, zero = np.array([1.0, 2, 3, 4]).reshape(4, 1, 1, 1), np.ones(1), np.zeros(1)
    y, mean, var = batch_norm_training(x, one, zero, eps=1)
    assert (mean, var) == (2.5, 1.25)
    assert_allclose(y.ravel(), [-1, -1 / 3, 1 / 3, 1])
    assert_allclose(batch_norm(x, 2 * one, 3 * one, 10 * one, one, eps=1.0).ravel(), [-4, 1, 6, 11])


def test_a_constant_channel_is_shifted_to_its_bias():
    y, _, var = batch_norm_training(np.full((2, 1, 3, 3), 7, np.float32), np.ones(1, np.float32), np.full(1, 5, np.float32))
    assert var == 0
    assert_allclose(y, 5, atol=1e-3)                   # x a - mean a, with a = 1/sqrt(1e-5) = 316, in float32


def test_statistics_of_a_distant_mean_are_accumulated_in_float64():
    x = (1000 + np.random.default_rng(0).standard_normal((2**16, 2, 1, 1))).astype(np.float32)     # a float32 sum errs by 1e-5
    _, mean, var = batch_norm_training(x, np.ones(2, np.float32), np.zeros(2, np.float32))
    assert_allclose(mean, x.mean(axis=(0, 2, 3), dtype=np.float64), rtol=1e-7)
    assert_allclose(var, x.var(axis=(0, 2, 3), dtype=np.float64), rtol=1e-7)


def test_one_value_per_channel_is_refused():
    with pytest.raises(ValueError, match=r"got x \(1, 3, 1, 1\) in training, expected more than one value per channel"):
        batch_norm_training(np.zeros((1, 3, 1, 1)), np.ones(3), np.zeros(3))

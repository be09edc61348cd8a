"""Regression from sums against the same from samples, and what each part minimises."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from minicnn.compression.regression import Moments, fit, fit_best, reduce_rank


def generator(seed=0):
    return np.random.default_rng(seed)


def samples(count=200, inputs=6, outputs=4, noise=0.1, seed=0):
    rng = generator(seed)
    weight, bias = generator(9).standard_normal((outputs, inputs)), generator(8).standard_normal(outputs)
    x = rng.standard_normal((count, inputs)) @ generator(7).standard_normal((inputs, inputs)) + 3
    return x, x @ weight.T + bias + noise * rng.standard_normal((count, outputs)), weight, bias


def moments(x, y, parts=3):
    sums = Moments(x.shape[1], y.shape[1])
    for some_x, some_y in zip(np.array_split(x, parts), np.array_split(y, parts)):
        sums.add(some_x, some_y)
    return sums


def test_sums_are_those_of_all_samples():
    x, y, weight, bias = samples()
    sums = moments(x, y)
    assert sums.count == 200
    assert_allclose(sums.covariance(), np.cov(x.T, bias=True), rtol=1e-9)
    assert_allclose(sums.error(weight, bias), ((y - x @ weight.T - bias) ** 2).sum(axis=1).mean(), rtol=1e-9)
    assert_allclose(sums.error(0 * weight, 0 * bias), (y ** 2).sum(axis=1).mean(), rtol=1e-9)


def test_without_a_pull_it_is_least_squares():
    x, y, *_ = samples()
    expected = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]
    weight, bias = fit(moments(x, y), np.zeros((4, 6)), 1e-15)
    assert_allclose(weight, expected[:-1].T, rtol=1e-6)
    assert_allclose(bias, expected[-1], rtol=1e-6)


@pytest.mark.parametrize("strength", [1e-3, 0.1, 10])
def test_a_pull_balances_error_and_change(strength):
    x, y, *_ = samples()
    sums, start = moments(x, y), generator(3).standard_normal((4, 6))
    variance = np.trace(np.cov(x.T, bias=True)) / 6

    def objective(weight, bias):
        return sums.error(weight, bias) + strength * variance * ((weight - start) ** 2).sum()
    weight, bias = fit(sums, start, strength)
    for seed in range(20):
        step = 1e-3 * generator(seed).standard_normal((4, 7))
        assert objective(weight + step[:, :6], bias + step[:, 6]) > objective(weight, bias)


def test_an_infinite_pull_moves_the_bias_alone():
    x, y, truth, bias = samples(noise=0)
    weight, fitted = fit(moments(x, y), truth, np.inf)
    assert_allclose(weight, truth)
    assert_allclose(fitted, bias)


def test_inputs_that_never_vary_keep_their_weights():
    x, y, truth, _ = samples()
    x[:, 2] = 5
    weight, bias = fit(moments(x, y), np.ones((4, 6)), 1e-3)
    assert_allclose(weight[:, 2], 1)
    weight, bias = fit(moments(np.full((10, 2), 3.0), np.full((10, 1), 7.0)), np.ones((1, 2)), 1e-3)
    assert_allclose(weight, 1)
    assert_allclose(bias, 1)


def test_the_strength_is_that_of_least_error_on_what_was_held_back():
    x, y, truth, _ = samples(count=12, inputs=10, noise=3)
    held_back = moments(*samples(count=400, inputs=10, noise=3, seed=1)[:2])
    start = truth + 0.01
    weight, bias, strength = fit_best(moments(x, y), held_back, start)
    errors = {one: held_back.error(*fit(moments(x, y), start, one)) for one in (1e-5, 1e-3, 0.1, np.inf)}
    assert held_back.error(weight, bias) <= min(errors.values()) and errors[1e-5] > 2 * held_back.error(weight, bias)
    assert strength > 1e-3
    x, y, *_ = samples(count=500, noise=0)
    assert fit_best(moments(x, y), moments(*samples(count=50, noise=0, seed=1)[:2]), np.zeros((4, 6)))[2] == 1e-5


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_reduced_rank_is_nearest_in_the_outputs(rank):
    x, _, weight, _ = samples()
    covariance = np.cov(x.T, bias=True)
    out, inner = reduce_rank(weight, covariance, rank)
    assert out.shape == (4, rank) and inner.shape == (rank, 6)
    assert_allclose(out.T @ out, np.eye(rank), atol=1e-12)

    def error(matrix):
        return np.einsum("od,de,oe->", weight - matrix, covariance, weight - matrix)
    root = np.linalg.cholesky(covariance)
    assert_allclose(error(out @ inner), (np.linalg.svd(weight @ root, compute_uv=False)[rank:] ** 2).sum(), atol=1e-9)


def test_samples_of_float32_are_summed_in_float64():
    sums = Moments(1, 1)
    for _ in range(100):
        sums.add(np.full((1000, 1), 1000.1, np.float32), np.ones((1000, 1), np.float32))
    assert abs(sums.covariance()[0, 0]) < 1e-3 and sums.xx.dtype == np.float64

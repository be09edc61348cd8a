"""Fits against the losses that they minimise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from minicnn.compression.regression import Samples, fit, fit_best, reduce_rank


def generator(seed=0):
    return np.random.default_rng(seed)


def samples(count=200, inputs=6, outputs=4, noise=0.1, seed=0, relu=False):
    """Samples, and the weight and the bias that made them."""
    rng = generator(seed)
    weight, bias = generator(9).standard_normal((outputs, inputs)), generator(8).standard_normal(outputs)
    x = rng.standard_normal((count, inputs)) @ generator(7).standard_normal((inputs, inputs)) + 3
    y = x @ weight.T + bias + noise * rng.standard_normal((count, outputs))
    return Samples(x.astype(np.float32), y.astype(np.float32), relu), weight, bias


def fitted(some, weight, strength, guide=None):
    covariance = some.covariance()
    return fit(some, covariance, strength, weight, guide or (weight, np.zeros(len(weight))))


def loss(some, weight, bias):
    """The mean over samples of L, see the module's text."""
    p, y = some.predict(weight, bias), some.y
    return np.where(y > 0, (y - p) ** 2, np.maximum(p, 0) ** 2 if some.relu else (y - p) ** 2).sum(axis=1, dtype=np.float64).mean()


def test_predictions_and_covariances_are_those_of_the_samples():
    some, weight, bias = samples()
    x = some.x.astype(np.float64) + some.mean
    assert_allclose(some.predict(weight, bias), x @ weight.T + bias, atol=1e-4)
    assert_allclose(some.covariance(), np.cov(x.T, bias=True), atol=1e-4)
    assert_allclose(some.error(weight, bias), ((x @ weight.T + bias - some.y) ** 2).sum() / (200 * some.y.var(axis=0).sum()), rtol=1e-3)
    some.relu = True
    seen = np.maximum(some.y, 0)
    assert_allclose(some.error(weight, bias), ((np.maximum(x @ weight.T + bias, 0) - seen) ** 2).sum() / (200 * seen.var(axis=0).sum()),
                    rtol=1e-3)


def test_without_a_pull_it_is_least_squares():
    some, *_ = samples()
    x = some.x + some.mean
    expected = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), some.y, rcond=None)[0]
    weight, bias = fitted(some, np.zeros((4, 6)), 1e-12)
    assert_allclose(weight, expected[:-1].T, atol=1e-3)
    assert_allclose(bias, expected[-1], atol=1e-2)


@pytest.mark.parametrize("strength", [1e-2, 0.1, 10])
def test_a_pull_balances_error_and_change(strength):
    some, *_ = samples()
    start, variance = generator(3).standard_normal((4, 6)), np.trace(some.covariance()) / 6

    def objective(weight, bias):
        return loss(some, weight, bias) + strength * variance * ((weight - start) ** 2).sum()
    weight, bias = fitted(some, start, strength)
    for seed in range(20):
        step = 1e-2 * generator(seed).standard_normal((4, 7))
        assert objective(weight + step[:, :6], bias + step[:, 6]) > objective(weight, bias)


def test_an_infinite_pull_moves_the_bias_alone():
    some, truth, bias = samples(noise=0)
    weight, found = fitted(some, truth, np.inf)
    assert_allclose(weight, truth)
    assert_allclose(found, bias, atol=1e-5)


def test_inputs_that_never_vary_keep_their_weights():
    some, *_ = samples()
    some.x[:, 2] = 0
    assert_allclose(fitted(some, np.ones((4, 6)), 1e-3)[0][:, 2], 1)
    weight, bias = fitted(Samples(np.full((10, 2), 3, np.float32), np.full((10, 1), 7, np.float32), False), np.ones((1, 2)), 1e-3)
    assert_allclose(weight, 1)
    assert_allclose(bias, 1)


def test_large_means_do_not_drown_the_covariance():
    x = generator().standard_normal((1000, 2)).astype(np.float32) + 1000
    expected = np.cov(x.T.astype(np.float64), bias=True)
    assert_allclose(Samples(x, x, False).covariance(), expected, atol=1e-3)


def test_each_round_of_targets_lessens_what_a_rectifier_sees():
    some, truth, bias = samples(relu=True, noise=2)
    assert 0.1 < (some.y > 0).mean() < 0.9
    guide, losses = (truth + 1, bias), []
    for _ in range(30):
        losses.append(loss(some, *guide))
        guide = fitted(some, guide[0], 1e-9, guide)
    assert all(b <= a * (1 + 1e-4) for a, b in zip(losses, losses[1:])) and losses[-1] < 0.9 * losses[1]
    some.relu = False
    linear = fitted(some, truth, 1e-9)
    some.relu = True
    assert loss(some, *guide) < 0.98 * loss(some, *linear)


def test_the_strength_is_that_of_least_error_on_what_was_held_back():
    some, truth, bias = samples(count=12, inputs=10, noise=3)
    held_back = samples(count=400, inputs=10, noise=3, seed=1)[0]
    start = truth + 0.01
    factors, new, strength, before, after = fit_best(some, held_back, start, bias, strengths=(1e-5, 1e-3, 0.1, np.inf))
    errors = {one: held_back.error(*fitted(some, start, one)) for one in (1e-5, 1e-3, 0.1, np.inf)}
    assert after == min(errors.values()) == errors[strength] and errors[1e-5] > 2 * after
    assert before == held_back.error(start, bias)
    some, held_back = (samples(count=500, noise=0, seed=seed)[0] for seed in range(2))
    assert fit_best(some, held_back, np.zeros((4, 6)), np.zeros(4), strengths=(1e-5, 0.1, 10))[2] == 1e-5


def test_a_cut_holds_in_every_round():
    some, truth, bias = samples(relu=True)
    held_back = samples(seed=1, relu=True)[0]
    factors, *_ = fit_best(some, held_back, truth, bias, lambda weight, covariance: reduce_rank(weight, covariance, 2)[::-1])
    assert [one.shape for one in factors] == [(2, 6), (4, 2)]


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_reduced_rank_is_nearest_in_the_outputs(rank):
    some, weight, _ = samples()
    covariance = some.covariance()
    out, inner = reduce_rank(weight, covariance, rank)
    assert out.shape == (4, rank) and inner.shape == (rank, 6)
    assert_allclose(out.T @ out, np.eye(rank), atol=1e-12)

    def error(matrix):
        return np.einsum("od,de,oe->", weight - matrix, covariance, weight - matrix)
    root = np.linalg.cholesky(covariance)
    assert_allclose(error(out @ inner), (np.linalg.svd(weight @ root, compute_uv=False)[rank:] ** 2).sum(), atol=1e-9)

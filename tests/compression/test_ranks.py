"""Ranks: by energy, and by variational Bayes against the published formulas written as loops and on matrices of known rank."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from minicnn.compression.ranks import energy_rank, evbmf_rank, minimum


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("values, share, expected", [
    ([3, 2, 1], 1, 3), ([3, 2, 1], 9 / 14, 1), ([3, 2, 1], 0.65, 2), ([3, 2, 1], 13.5 / 14, 3), ([3, 0, 0], 1, 1), ([5], 0.5, 1),
    ([0, 0], 0.9, 1), ([1, 1, 1, 1], 0.5, 2)])
def test_energy_by_hand(values, share, expected):
    assert energy_rank(values, share) == expected


def published(values, columns):
    """The formulas of the authors' own program, value by value, the variance found by SciPy from many starts."""
    rows = len(values)
    alpha = rows / columns
    tau_bar = 2.5129 * math.sqrt(alpha)
    x_bar = (1 + tau_bar) * (1 + alpha / tau_bar)
    most = math.ceil(rows / (1 + alpha)) - 1

    def energy(variance):
        total = 0
        for value in values:
            x = value ** 2 / (columns * variance)
            if x > x_bar:
                tau = 0.5 * (x - (1 + alpha) + math.sqrt((x - (1 + alpha)) ** 2 - 4 * alpha))
                total += x - tau + math.log((tau + 1) / x) + alpha * math.log(tau / alpha + 1)
            else:
                total += x - math.log(x)
        return total
    low = max(values[most] ** 2 / (columns * x_bar), np.mean(values[most:] ** 2) / columns)
    high = (values ** 2).sum() / (rows * columns)
    edges = np.geomspace(low, high, 40)
    found = min((minimize_scalar(energy, bounds=pair, method="bounded", options={"xatol": 1e-12}) for pair in zip(edges, edges[1:])),
                key=lambda one: one.fun)
    return sum(value > math.sqrt(columns * found.x * x_bar) for value in values)


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_published_solution(seed):
    rng = generator(seed)
    rows = int(rng.integers(2, 60))
    columns, rank = int(rng.integers(rows, 300)), int(rng.integers(0, rows // 2 + 1))
    matrix = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns)) * rng.uniform(0.1, 2) + rng.standard_normal(
        (rows, columns))
    values = np.linalg.svd(matrix, compute_uv=False)
    assert evbmf_rank(values, columns) == published(values, columns)


@pytest.mark.parametrize("rank", [0, 1, 5, 20])
@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_a_planted_rank_is_found_in_noise(rank, scale):
    rng = generator(rank)
    matrix = rng.standard_normal((64, rank)) @ rng.standard_normal((rank, 576)) + 0.5 * rng.standard_normal((64, 576))
    assert evbmf_rank(np.linalg.svd(scale * matrix, compute_uv=False), 576) == rank


def test_matrices_without_noise():
    assert evbmf_rank(np.zeros(5), 9) == 0
    assert evbmf_rank(np.array([3.0, 2, 0, 0, 0, 0]), 20) == 2
    assert evbmf_rank(np.array([1.0]), 1) == 0


def test_the_least_of_a_function():
    assert abs(minimum(lambda x: (x - 0.3) ** 2, 1e-3, 10) - 0.3) < 1e-6
    assert abs(minimum(lambda x: x, 1e-3, 10) - 1e-3) < 1e-6


def test_numbers_out_of_range_are_refused():
    for values, share in (([], 0.5), ([1.0], 0), ([1.0], 1.1), ([1.0], float("nan"))):
        with pytest.raises(ValueError, match="energy_rank: got"):
            energy_rank(np.array(values), share)
    for values, columns in (([], 3), ([2.0, 1.0], 1)):
        with pytest.raises(ValueError, match="evbmf_rank: got"):
            evbmf_rank(np.array(values), columns)

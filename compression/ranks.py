"""The rank of a low-rank approximation: by a share of the energy, or by the number of singular values that stand out of noise."""

import math

import numpy as np

GRID = 200                      # points of the first, coarse search for the noise's variance
GOLDEN = (math.sqrt(5) - 1) / 2


def energy_rank(values: np.ndarray, share: float) -> int:
    """The smallest number of leading singular values that hold a share of the energy, the sum of all squares.

    Args:
        values: (I,) singular values in descending order, as from ``tucker.leading_vectors``. share: above 0, at most 1.

    Returns:
        rank: at least 1.

    Raises:
        ValueError: there are no values, or the share is out of range.

    >>> energy_rank(np.array([3.0, 2.0, 1.0]), 0.9)
    2
    """
    if not len(values) or not 0 < share <= 1:
        raise ValueError(f"energy_rank: got {len(values)} values and the share {share}, expected some, and a share above 0, at most 1.")
    energy = np.cumsum(np.asarray(values, np.float64) ** 2)
    return min(int(np.searchsorted(energy, share * energy[-1])) + 1, len(energy))


def evbmf_rank(values: np.ndarray, columns: int) -> int:
    """The number of singular values that stand out of noise, by empirical variational Bayes matrix factorisation.

    A matrix (L, M) is modelled as one of low rank plus independent Gaussian noise. The rank and the noise's variance that explain it
    best are known analytically: the variance minimises ``free_energy``, and a singular value counts if it is above
    sqrt(M variance (1 + t) (1 + a / t)), with a = L / M and t = 2.5129 sqrt(a).

    Args:
        values: (L,) all singular values of a matrix of L rows, in descending order. columns: M, at least L.

    Returns:
        rank: 0 to L - 1; 0 for a matrix of zeros.

    Raises:
        ValueError: there are no values, or fewer columns than values.

    >>> noise = np.random.default_rng(0).standard_normal((20, 50))
    >>> signal = 30 * np.outer(np.ones(20), np.ones(50))
    >>> evbmf_rank(np.linalg.svd(signal + noise, compute_uv=False), 50)
    1

    References: Nakajima, Sugiyama, Babacan, Tomioka, Global analytic solution of fully-observed variational Bayesian matrix
    factorization (2013); Nakajima, Tomioka, Sugiyama, Babacan, Condition for perfect dimensionality recovery by variational Bayesian PCA
    (2015), for this form of the threshold and of the variance; for ranks of Tucker decompositions Kim et al. (2016), section 3.2.
    """
    squares, rows = np.asarray(values, np.float64) ** 2, len(values)
    if not 1 <= rows <= columns:
        raise ValueError(f"evbmf_rank: got {rows} values and {columns} columns, expected some values, and as many columns or more.")
    if squares[0] == 0:
        return 0
    squares = squares.clip(min=squares[0] * np.finfo(np.float64).eps ** 2)  # below this float64 does not differ from zero
    alpha = rows / columns
    threshold = 2.5129 * math.sqrt(alpha)
    height = (1 + threshold) * (1 + alpha / threshold)                      # a square above M variance height counts
    least = max(math.ceil(rows / (1 + alpha)) - 1, 0)                       # the largest possible rank
    low = max(squares[least] / (columns * height), squares[least:].mean() / columns)
    high = squares.sum() / (rows * columns)

    def energy(variance):
        return free_energy(squares / (columns * variance), alpha, height)
    variance = minimum(energy, low, high)
    return int((squares > columns * variance * height).sum())


def free_energy(x, alpha, height):
    """The part of the free energy that depends on the noise's variance; x: (L,), squared singular values over (M variance).

    Reference: Nakajima et al. (2015), the functions psi_0, psi_1 and tau.
    """
    signal = x[x > height]
    tau = (signal - (1 + alpha) + np.sqrt((signal - (1 + alpha)) ** 2 - 4 * alpha)) / 2
    return ((x - np.log(x)).sum() + (np.log1p(tau) - tau).sum() + alpha * np.log1p(tau / alpha).sum())


def minimum(function, low, high):
    """The minimiser of a function of one number: by a grid of equal ratios, then by golden-section search around its best point."""
    points = np.geomspace(low, high, GRID)
    best = int(np.argmin([function(point) for point in points]))
    left, right = points[max(best - 1, 0)], points[min(best + 1, GRID - 1)]
    while right - left > 1e-9 * right:
        step = GOLDEN * (right - left)
        if function(right - step) < function(left + step):
            right = left + step
        else:
            left = right - step
    return (left + right) / 2

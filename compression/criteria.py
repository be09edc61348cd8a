"""Scores of single filters; the filters with the lowest scores are removed.

``statistics`` scores the filters that the clustering has found weak by mu^2 + sigma^2. The other criteria are controls, with which the
paper's is compared.
"""

from __future__ import annotations

import numpy as np

from minicnn.compression.filter_statistics import filter_statistics


def mean_square(weight: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """mu^2 + sigma^2 = mean of the squared weights of each filter: (O, ...) -> (O,)."""
    mean, variance = filter_statistics(weight)
    return mean ** 2 + variance


def l1(weight: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Sum of absolute weights of each filter: (O, ...) -> (O,).

    Reference: Li et al., Pruning filters for efficient ConvNets (2017), section 3.1.
    """
    return np.abs(weight.reshape(len(weight), -1).astype(np.float64)).sum(axis=1)


def fpgm(weight: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Sum of Euclidean distances to all filters of the layer: (O, ...) -> (O,). The lowest is nearest the geometric median.

    Reference: He et al., Filter pruning via geometric median (2019), equation 6.
    """
    filters = weight.reshape(len(weight), -1).astype(np.float64)
    return np.array([np.sqrt(((filters - each) ** 2).sum(axis=1)).sum() for each in filters])


def random(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random number for each filter: (O, ...) -> (O,)."""
    return rng.random(len(weight))


METHODS = {"statistics": mean_square, "l1": l1, "fpgm": fpgm, "random": random}

"""Scores by which single filters are ranked; the filters of least score go first.

``statistics`` ranks by mu^2 + sigma^2 the filters that the clustering has called weak; the others are the controls against which the
paper's criterion is held.
"""

import numpy as np

from minicnn.compression.filter_statistics import filter_statistics


def mean_square(weight, rng=None):
    """mu^2 + sigma^2 = mean of the squared weights: (O, ...) -> (O,)."""
    mean, variance = filter_statistics(weight)
    return mean ** 2 + variance


def l1(weight, rng=None):
    """Sum of absolute weights: (O, ...) -> (O,).

    Reference: Li et al., Pruning filters for efficient ConvNets (2017), section 3.1.
    """
    return np.abs(weight.reshape(len(weight), -1).astype(np.float64)).sum(axis=1)


def fpgm(weight, rng=None):
    """Sum of Euclidean distances to all filters of the layer: (O, ...) -> (O,). Least is nearest the geometric median.

    Reference: He et al., Filter pruning via geometric median (2019), equation 6.
    """
    filters = weight.reshape(len(weight), -1).astype(np.float64)
    return np.array([np.sqrt(((filters - one) ** 2).sum(axis=1)).sum() for one in filters])


def random(weight, rng):
    """A random number for each filter: (O, ...) -> (O,)."""
    return rng.random(len(weight))


METHODS = {"statistics": mean_square, "l1": l1, "fpgm": fpgm, "random": random}

"""Which filters are weak: clustering by mean and variance, the paper's criterion.

For the weights W_o of filter o (C k k numbers, the bias left out)

    mu_o = mean(W_o),    sigma^2_o = var(W_o) = mean((W_o - mu_o)^2).

Note that mu^2 + sigma^2 = mean(W_o^2): the squared L2 norm over the number of weights. The method is thus a two-dimensional
refinement of pruning by the L2 norm: filters are compared within groups that resemble each other in both numbers, and it is a
whole group that goes.

Reference: Gong, Zhang, Zeng, Convolution neural network model compression method based on pruning and tensor decomposition,
Journal of Computer Applications 40 (2020) 3146. Known here by its abstract alone; the choices below it are said to be ours.
"""

from typing import NamedTuple

import numpy as np

from minicnn.compression.kmeans import kmeans, silhouette

CLUSTERS = range(2, 6)      # ours: the numbers of clusters among which the silhouette chooses


class Clusters(NamedTuple):
    """Filters of one layer by their statistics.

    mean, variance: (O,); labels: (O,) int, the cluster of each filter; weak: the label of the weak cluster;
    silhouette: mean silhouette of the clustering, NaN with a single cluster.
    """

    mean: np.ndarray
    variance: np.ndarray
    labels: np.ndarray
    weak: int
    silhouette: float

    @property
    def mean_square(self):
        return self.mean ** 2 + self.variance


def filter_statistics(weight):
    """Mean and variance of each filter's weights.

    Args:
        weight: (O, ...), a convolution's (O, C, KH, KW) or a linear layer's (O, I).

    Returns:
        mean, variance: (O,) float64.
    """
    filters = weight.reshape(len(weight), -1).astype(np.float64)
    return filters.mean(axis=1), filters.var(axis=1)


def cluster_filters(weight, n_clusters=None, *, rng):
    """Cluster filters by standardised (mu, sigma^2), and name the weak cluster.

    Weak is the cluster whose members' mean of mu^2 + sigma^2, not standardised, is least (ours: the abstract does not say how the
    cluster that goes is told).

    Args:
        weight: (O, ...), as for ``filter_statistics``.
        n_clusters: how many clusters; None lets the mean silhouette choose between 2 and 5 (ours). Never more than there are
            different filters; filters that are all alike make one cluster.
        rng: numpy.random.Generator.

    Returns:
        Clusters.
    """
    mean, variance = filter_statistics(weight)
    points = standardise(np.stack([mean, variance], axis=1))
    distinct = len(np.unique(points, axis=0))
    if min(distinct, n_clusters or distinct) == 1:
        return Clusters(mean, variance, np.zeros(len(points), int), 0, float("nan"))
    candidates = []
    for k in CLUSTERS if n_clusters is None else (n_clusters,):
        labels = kmeans(points, min(k, distinct), rng=rng).labels
        candidates.append((silhouette(points, labels), labels))
    score, labels = max(candidates, key=lambda candidate: candidate[0])
    mean_square = mean ** 2 + variance
    weak = min(np.unique(labels), key=lambda label: mean_square[labels == label].mean())
    return Clusters(mean, variance, labels, int(weak), score)


def standardise(points):
    """Shift and scale each column to mean 0 and standard deviation 1; a constant column becomes 0."""
    points = points - points.mean(axis=0)
    deviation = points.std(axis=0)
    return points / np.where(deviation > 0, deviation, 1)

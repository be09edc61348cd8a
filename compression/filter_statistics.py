"""Weak filters by mean and variance: the paper's pruning criterion.

For the weights W_o of filter o (C k k numbers, without the bias)

    mu_o = mean(W_o),    sigma^2_o = var(W_o) = mean((W_o - mu_o)^2).

mu^2 + sigma^2 = mean(W_o^2) is the squared L2 norm over the number of weights. The method is thus a two-dimensional refinement of
pruning by the L2 norm: filters are clustered by both numbers, and a whole cluster is removed.

Reference: Gong, Zhang, Zeng, Convolution neural network model compression method based on pruning and tensor decomposition,
Journal of Computer Applications 40 (2020) 3146. Known here by its abstract alone; the choices that the abstract does not state are
marked as ours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minicnn.compression.kmeans import kmeans, silhouette

CLUSTERS = range(2, 6)      # ours: the numbers of clusters from which the silhouette chooses


class Clusters(NamedTuple):
    """Filters of one layer, clustered by their statistics.

    mean, variance: (O,); labels: (O,) int, the cluster of each filter; weak: the label of the weak cluster;
    silhouette: mean silhouette of the clustering, NaN with a single cluster.
    """

    mean: np.ndarray
    variance: np.ndarray
    labels: np.ndarray
    weak: int
    silhouette: float

    @property
    def mean_square(self) -> np.ndarray:
        """mu^2 + sigma^2 of each filter, (O,)."""
        return self.mean ** 2 + self.variance


def filter_statistics(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each filter's weights.

    Args:
        weight: (O, ...), a convolution's (O, C, KH, KW) or a linear layer's (O, I).

    Returns:
        mean, variance: (O,) float64.

    >>> mean, variance = filter_statistics(np.array([[1.0, 3.0], [2.0, 2.0]]))
    >>> mean.tolist(), variance.tolist()
    ([2.0, 2.0], [1.0, 0.0])
    """
    filters = weight.reshape(len(weight), -1).astype(np.float64)
    return filters.mean(axis=1), filters.var(axis=1)


def cluster_filters(weight: np.ndarray, n_clusters: int | None = None, *, rng: np.random.Generator) -> Clusters:
    """Cluster filters by standardised (mu, sigma^2), and find the weak cluster.

    The weak cluster is the one whose members' mean of mu^2 + sigma^2, not standardised, is lowest (ours: the abstract does not state
    how it is found).

    Args:
        weight: (O, ...), as for ``filter_statistics``.
        n_clusters: number of clusters; None lets the mean silhouette choose from 2 to 5 (ours). Never more than there are
            different filters; filters that are all alike make one cluster.
        rng: numpy.random.Generator.

    Returns:
        ``Clusters``.

    >>> weight = np.array([[1.0, -1.0], [1.1, -1.1], [0.1, -0.1], [0.2, -0.2]])
    >>> clusters = cluster_filters(weight, 2, rng=np.random.default_rng(0))
    >>> np.flatnonzero(clusters.labels == clusters.weak).tolist()
    [2, 3]
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

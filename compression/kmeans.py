"""k-means clustering by Lloyd's iterations from k-means++ seeds, and the silhouette, which scores a clustering.

References: Lloyd, Least squares quantization in PCM (1982); Arthur, Vassilvitskii, k-means++: the advantages of careful seeding
(2007); Rousseeuw, Silhouettes (1987).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class KMeans(NamedTuple):
    """A clustering.

    centers: (K, D); labels: (N,) int; inertia: sum of squared distances of the points to their centres; iterations: number of Lloyd's
    iterations.
    """

    centers: np.ndarray
    labels: np.ndarray
    inertia: float
    iterations: int


def kmeans(points: np.ndarray, n_clusters: int, *, rng: np.random.Generator, restarts: int = 10, max_iterations: int = 300) -> KMeans:
    """Partition points into clusters with a small sum of squared distances to the clusters' means.

    Args:
        points: (N, D), floating; computed in float64.
        n_clusters: K, 1 <= K <= N.
        rng: numpy.random.Generator.
        restarts: number of seedings; the result with the lowest inertia is returned.
        max_iterations: limit of Lloyd's iterations, which end earlier once no point changes its cluster.

    Returns:
        KMeans. With fewer different points than clusters, the surplus clusters are empty.

    Raises:
        ValueError: points are not (N, D) and finite, or a number is out of range.

    Time: O(restarts * iterations * N K D).

    >>> points = np.array([[0.0, 0.0], [0.0, 2.0], [9.0, 0.0], [9.0, 2.0]])
    >>> result = kmeans(points, 2, rng=np.random.default_rng(0))
    >>> sorted(result.centers.tolist()), result.inertia
    ([[0.0, 1.0], [9.0, 1.0]], 4.0)
    """
    points = finite_points("kmeans", points)
    if min(restarts, max_iterations) < 1:
        raise ValueError(f"kmeans: got restarts={restarts}, max_iterations={max_iterations}, expected at least 1 for each.")
    if not 1 <= n_clusters <= len(points):
        raise ValueError(f"kmeans: got n_clusters={n_clusters} for {len(points)} points, expected 1 to {len(points)}.")
    runs = (lloyd(points, seed_plus_plus(points, n_clusters, rng), max_iterations) for _ in range(restarts))
    return min(runs, key=lambda run: run.inertia)


def finite_points(function, points):
    """Points as (N, D) float64; raises ValueError unless they are that, and finite."""
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or not points.shape[1] or not np.isfinite(points).all():
        raise ValueError(f"{function}: got points of shape {points.shape}, expected (N, D >= 1) finite numbers. Remove NaN and infinity.")
    return points


def lloyd(points, centers, max_iterations=300):
    """Lloyd's iterations: assign each point to its nearest centre, move each centre to the mean of its points, until nothing changes.

    Args:
        points: (N, D) float64; centers: (K, D), the initial ones; max_iterations: an upper limit.

    Returns:
        KMeans. A cluster that becomes empty restarts at the point farthest from its centre, among points not alone in their cluster.
    """
    columns = np.ascontiguousarray(points.T)                       # (D, N): each pass below reads N adjacent numbers
    labels, centers = None, np.array(centers, np.float64)
    for iteration in range(1, max_iterations + 1):      # noqa: B007  (it is returned)
        previous, (labels, distances) = labels, nearest(columns, centers)
        if previous is not None and np.array_equal(labels, previous):
            break
        counts = np.bincount(labels, minlength=len(centers))
        for empty in np.flatnonzero(counts == 0):
            free = np.where(counts[labels] > 1, distances, 0)      # never a cluster's only point, which would empty that cluster
            farthest = free.argmax()
            if free[farthest] == 0:
                break                                              # fewer different points than clusters
            counts[labels[farthest]] -= 1
            counts[empty] += 1
            labels[farthest], distances[farthest] = empty, 0
        sums = np.stack([np.bincount(labels, column, len(centers)) for column in columns], axis=1)      # (K, D)
        centers = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centers)
    labels, distances = nearest(columns, centers)
    return KMeans(centers, labels, float(distances.sum()), iteration)


def nearest(columns, centers):
    """Index of each point's nearest centre (the first of equally near ones) and squared distance to it: (D, N), (K, D) -> (N,), (N,)."""
    best = squared_distance(columns, centers[0])
    labels = np.zeros(len(best), np.min_scalar_type(len(centers)))
    for k in range(1, len(centers)):
        distance = squared_distance(columns, centers[k])
        closer = (distance < best).astype(labels.dtype)
        np.maximum(labels, closer * labels.dtype.type(k), out=labels)       # k rises: a later, closer centre has the larger index
        np.minimum(best, distance, out=best)
    return labels.astype(np.intp), best


def squared_distance(columns, center):
    """Squared distance of each point to one centre: (D, N), (D,) -> (N,)."""
    total = columns[0] - center[0]
    total *= total
    for column, value in zip(columns[1:], center[1:]):
        difference = column - value
        difference *= difference
        total += difference
    return total


def seed_plus_plus(points, n_clusters, rng):
    """k-means++ seeding: each next centre is a point drawn with probability proportional to its squared distance from the nearest centre.

    2 + ln K candidates are drawn so, and the one that lowers the sum of distances most becomes the centre (the "greedy" form named in
    section 6 of the 2007 paper).
    """
    columns = np.ascontiguousarray(points.T)
    centers = [points[rng.integers(len(points))]]
    distances = squared_distance(columns, centers[0])
    for _ in range(1, n_clusters):
        total = np.cumsum(distances)
        drawn = rng.uniform(0, total[-1], 2 + int(math.log(n_clusters)))
        candidates = np.minimum(np.searchsorted(total, drawn, side="right"), len(points) - 1)
        distances, chosen = min(((np.minimum(distances, squared_distance(columns, points[c])), c) for c in candidates),
                                key=lambda pair: pair[0].sum())
        centers.append(points[chosen])
    return np.stack(centers)


def silhouette(points: np.ndarray, labels: np.ndarray) -> float:
    """Mean silhouette of a clustering: (b - a) / max(a, b) averaged over the points.

    a is the mean distance of a point to the other points of its cluster, b that to the points of the nearest other cluster.

    Args:
        points: (N, D); labels: (N,) int, at least two clusters. A point alone in its cluster counts 0.

    Returns:
        score: between -1 and 1. Memory: one row of N distances per point, in blocks of 1000 rows.

    Raises:
        ValueError: points are not (N, D) and finite, labels not (N,), or there is one cluster, whose points have no other.

    >>> float(round(silhouette(np.array([[0.0], [1.0], [9.0], [10.0]]), np.array([0, 0, 1, 1])), 3))
    0.889
    """
    points = finite_points("silhouette", points)
    if np.shape(labels) != (len(points),):
        raise ValueError(f"silhouette: got labels {np.shape(labels)} for {len(points)} points, expected ({len(points)},).")
    names, labels = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"silhouette: got {len(names)} clusters, expected at least 2. Of one cluster nothing can be said.")
    member = np.eye(len(names))[labels]                            # (N, K) one-hot
    sizes = member.sum(axis=0)
    total = 0.0
    for start in range(0, len(points), 1000):
        rows = slice(start, start + 1000)
        distance = np.sqrt(((points[rows, None] - points) ** 2).sum(axis=2))      # (B, N)
        sums = distance @ member                                   # (B, K): to all points of each cluster
        own = labels[rows, None] == np.arange(len(names))
        a = sums[own] / np.maximum(sizes[labels[rows]] - 1, 1)
        b = np.where(own, np.inf, sums / sizes).min(axis=1)
        score = (b - a) / np.maximum(np.maximum(a, b), np.finfo(float).tiny)
        total += score[sizes[labels[rows]] > 1].sum()
    return total / len(points)

"""k-means and the silhouette: hand cases, the definitions as loops, and scipy."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.compression.kmeans import kmeans, lloyd, nearest, seed_plus_plus, silhouette

BLOBS = np.array([[0, 0], [0, 1], [1, 0], [10, 10], [10, 11], [11, 10.0]])


def generator(seed=0):
    return np.random.default_rng(seed)


def inertia_loops(points, labels):
    """The definition: squared distances to the mean of the own cluster."""
    return sum(((points[i] - points[labels == labels[i]].mean(axis=0)) ** 2).sum() for i in range(len(points)))


def lloyd_loops(points, centers, iterations):
    """The textbook's two steps, point by point; no cluster may run empty."""
    for _ in range(iterations):
        labels = np.array([min(range(len(centers)), key=lambda k: ((point - centers[k]) ** 2).sum()) for point in points])
        centers = np.array([points[labels == k].mean(axis=0) for k in range(len(centers))])
    return centers


def silhouette_loops(points, labels):
    scores = []
    for i, point in enumerate(points):
        distance = np.array([np.sqrt(((point - other) ** 2).sum()) for other in points])
        own = [j for j in range(len(points)) if labels[j] == labels[i] and j != i]
        a = distance[own].mean() if own else 0
        b = min(distance[labels == label].mean() for label in set(labels) - {labels[i]})
        scores.append((b - a) / max(a, b) if own else 0)
    return np.mean(scores)


def same_partition(a, b):
    return len(set(zip(a, b))) == len(set(a)) == len(set(b))


# k-means

def test_two_blobs_by_hand():
    result = kmeans(BLOBS, 2, rng=generator())
    assert same_partition(result.labels, [0, 0, 0, 1, 1, 1])
    assert_allclose(result.centers[result.labels[[0, 3]]], [[1 / 3, 1 / 3], [31 / 3, 31 / 3]], rtol=1e-15)
    assert_allclose(result.inertia, 8 / 3, rtol=1e-14)      # in each blob 2/9 + 5/9 + 5/9
    assert result.labels.dtype == np.intp and type(result.inertia) is float


def test_one_cluster_is_the_mean():
    result = kmeans(BLOBS, 1, rng=generator())
    assert_array_equal(result.labels, 0)
    assert_allclose(result.centers, [BLOBS.mean(axis=0)], rtol=1e-15)
    assert_allclose(result.inertia, BLOBS.var(axis=0).sum() * len(BLOBS), rtol=1e-14)


def test_a_cluster_for_every_point():
    result = kmeans(BLOBS, len(BLOBS), rng=generator())
    assert sorted(result.labels) == list(range(len(BLOBS))) and result.inertia == 0
    assert_array_equal(result.centers[result.labels], BLOBS)


@pytest.mark.parametrize("dimensions, k", [(1, 3), (2, 5), (7, 4)])
def test_labels_centers_and_inertia_are_those_of_the_definition(dimensions, k):
    points = generator().standard_normal((60, dimensions))
    result = kmeans(points, k, rng=generator(1))
    squared = ((points[:, None] - result.centers) ** 2).sum(axis=2)
    assert_array_equal(result.labels, squared.argmin(axis=1))
    assert_allclose(result.centers, [points[result.labels == j].mean(axis=0) for j in range(k)], atol=1e-14)
    assert_allclose(result.inertia, inertia_loops(points, result.labels), rtol=1e-13)


def test_same_seed_same_result_and_the_best_restart_is_returned():
    points = generator().uniform(size=(80, 2))
    first, second = (kmeans(points, 6, rng=generator(3)) for _ in range(2))
    for a, b in zip(first, second):
        assert_array_equal(a, b)
    rng = generator(3)
    runs = [lloyd(points, seed_plus_plus(points, 6, rng)) for _ in range(10)]
    inertias = [run.inertia for run in runs]
    assert len(set(inertias)) > 1 and first.inertia == min(inertias)


def test_float32_is_computed_in_float64():
    points = generator().standard_normal((40, 2)).astype(np.float32)
    result, wide = (kmeans(p, 3, rng=generator()) for p in (points, points.astype(np.float64)))
    assert result.centers.dtype == np.float64 and result.inertia == wide.inertia


@pytest.mark.parametrize("points, k, words", [
    (np.zeros(3), 1, r"shape \(3,\)"),
    (np.zeros((2, 2, 2)), 1, "expected .N, D >= 1."),
    (np.zeros((2, 0)), 1, "D >= 1"),
    ([[0, np.nan]], 1, "Remove NaN"),
    ([[0.0], [np.inf]], 1, "Remove NaN"),
    (BLOBS, 0, "n_clusters=0 for 6 points, expected 1 to 6"),
    (BLOBS, 7, "n_clusters=7"),
    (np.zeros((0, 2)), 1, "0 points"),
])
def test_bad_input_is_named(points, k, words):
    with pytest.raises(ValueError, match=words):
        kmeans(points, k, rng=generator())


# seeds

def test_seeds_are_points_and_all_different():
    points = generator().standard_normal((20, 2))
    for seed in range(20):
        rows = [np.flatnonzero((points == center).all(axis=1)).item() for center in seed_plus_plus(points, 20, generator(seed))]
        assert sorted(rows) == list(range(20))      # a point already taken has distance 0, thus probability 0


def test_seeds_reach_every_far_blob():
    points = (1000 * np.arange(8)[:, None] + generator().uniform(size=(8, 30)))[..., None].reshape(-1, 1)
    for seed in range(20):
        assert sorted(seed_plus_plus(points, 8, generator(seed)).ravel() // 1000) == list(range(8))


def test_first_seed_is_uniform_and_the_second_goes_by_squared_distance():
    """Points 0, 1, 3: the best of two draws for the second centre, each with probability d^2 / sum of d^2."""
    points, runs = np.array([[0.0], [1], [3]]), 4000
    rng = generator()
    pairs = np.array([seed_plus_plus(points, 2, rng).ravel() for _ in range(runs)])
    first = np.array([(pairs[:, 0] == value).mean() for value in (0, 1, 3)])
    assert_allclose(first, 1 / 3, atol=4 * np.sqrt(2 / 9 / runs))       # four standard deviations
    # from 0: 1 with 1/10, 3 with 9/10; 3 is the better one (it leaves 1, and 1 leaves 4), so 1 comes only if drawn twice
    after_zero = pairs[pairs[:, 0] == 0, 1]
    assert abs((after_zero == 1).mean() - 0.01) <= 4 * np.sqrt(0.01 * 0.99 / len(after_zero))


# Lloyd

@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_lloyd_equals_loops(dimensions, iterations):
    points = generator().standard_normal((50, dimensions))
    centers = points[:4]
    kept = centers.copy()
    result = lloyd(points, centers, iterations)
    assert result.iterations == iterations
    assert_allclose(result.centers, lloyd_loops(points, centers, iterations), atol=1e-14)
    assert_array_equal(centers, kept)


def test_inertia_falls_with_every_iteration_until_nothing_changes():
    points = generator().uniform(size=(200, 2))
    end = lloyd(points, points[:8])
    inertias = [lloyd(points, points[:8], n).inertia for n in range(1, end.iterations + 1)]
    assert all(a > b for a, b in itertools.pairwise(inertias[:-1]))     # the last iteration only sees that nothing changed
    assert inertias[-1] == inertias[-2] == end.inertia
    again = lloyd(points, end.centers)
    assert_array_equal(again.centers, end.centers)
    assert again.iterations == 2


def test_an_empty_cluster_begins_anew_at_the_farthest_point():
    """By hand: 12 is farthest from its centre 1, begins cluster 2, and draws 10 to it."""
    points = np.array([[0.0], [1], [10], [12]])
    after_one = lloyd(points, [[0], [1], [100]], 1)
    assert_array_equal(after_one.centers, [[0], [5.5], [12]])
    end = lloyd(points, [[0], [1], [100]])     # then 1 goes to 0, cluster 1 runs empty, and 10 is farthest
    assert_array_equal(end.centers, [[0.5], [10], [12]])
    assert_array_equal(end.labels, [0, 0, 1, 2])
    assert end.inertia == 0.5


@pytest.mark.parametrize("centers", [[[0.5], [12], [100]], [[0.5], [200], [100]], [[100], [0.5], [12]]])
def test_a_cluster_is_not_begun_with_the_only_point_of_another(centers):
    """With 12 as centre, 10 is the farthest point and alone: taking it would only make its old cluster the empty one."""
    end = lloyd(np.array([[0.0], [1], [10]]), centers)
    assert sorted(end.labels) == [0, 1, 2] and end.inertia == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12), st.integers(1, 12), st.integers(0, 9))
@settings(deadline=None, max_examples=80, derandomize=True)
def test_with_duplicates_it_ends_and_no_cluster_is_wasted(points, k, seed):
    points, k = np.array(points, float), min(k, len(points))
    distinct = len(np.unique(points, axis=0))
    rng = generator(seed)
    for result in (kmeans(points, k, rng=rng, restarts=2), lloyd(points, rng.uniform(-9, 9, (k, 2)))):
        assert result.iterations < 300
        assert len(np.unique(result.labels)) == min(k, distinct)
        assert_allclose(result.inertia, inertia_loops(points, result.labels), atol=1e-12)
        if k >= distinct:
            assert_allclose(result.inertia, 0, atol=1e-25)       # a mean of equal numbers may be a rounding off


@pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 1e9 + 0.1])
def test_points_that_are_all_alike(value):
    """The mean of three 0.1 is not 0.1: the clusters may change places for ever, and max_iterations must end it."""
    result = kmeans(np.full((3, 1), value), 2, rng=generator())
    assert len(set(result.labels)) == 1 and result.iterations <= 300
    assert_allclose(result.centers[result.labels], value, rtol=1e-15)


def test_nearest_takes_the_first_of_equals_and_knows_more_than_255_clusters():
    labels, distances = nearest(np.array([[1.0, 4.0]]), np.array([[0.0], [2], [2], [5]]))
    assert_array_equal(labels, [0, 3])
    assert_array_equal(distances, [1, 1])
    labels, distances = nearest(np.arange(300.0)[None], np.arange(300.0)[:, None])
    assert_array_equal(labels, np.arange(300))
    assert_array_equal(distances, 0)


# scipy

def scipy_best(points, k, restarts=10):
    vq = pytest.importorskip("scipy.cluster.vq")
    rng, best = generator(7), np.inf
    for _ in range(restarts):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")         # "one of the clusters is empty"
            centers, _ = vq.kmeans2(points, k, iter=100, minit="++", seed=rng)
        best = min(best, ((points[:, None] - centers) ** 2).sum(axis=2).min(axis=1).sum())
    return best


@pytest.mark.parametrize("k, dimensions", [(2, 1), (4, 2), (8, 2), (6, 5)])
def test_inertia_on_blobs_equals_scipy(k, dimensions):
    rng = generator(k)
    centers = 20 * np.stack([np.arange(k), *rng.permuted(np.tile(np.arange(k), (dimensions - 1, 1)), axis=1)], axis=1)
    points = np.concatenate([center + rng.standard_normal((40, dimensions)) for center in centers])
    assert kmeans(points, k, rng=generator()).inertia <= (1 + 1e-6) * scipy_best(points, k)


@pytest.mark.parametrize("k", [2, 5, 12])
def test_inertia_on_uniform_points_is_at_most_one_percent_above_scipy(k):
    points = generator(k).uniform(size=(400, 2))
    assert kmeans(points, k, rng=generator()).inertia <= 1.01 * scipy_best(points, k)


# silhouette

def test_silhouette_by_hand():
    """0 and 2 against 6: a = 2, b = 6 or 4; the point alone counts 0."""
    assert_allclose(silhouette(np.array([[0.0], [2], [6]]), [0, 0, 1]), (4 / 6 + 2 / 4 + 0) / 3, rtol=1e-15)


@pytest.mark.parametrize("labels", [
    [0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2], [4, 4, 9, 9, 9, 2], [0, 1, 2, 3, 4, 5]], ids=str)
def test_silhouette_equals_loops(labels):
    assert_allclose(silhouette(BLOBS, np.array(labels)), silhouette_loops(BLOBS, np.array(labels)), rtol=1e-13, atol=1e-15)


def test_silhouette_in_blocks_of_rows():
    points, labels = generator().standard_normal((1003, 2)), generator(1).integers(0, 3, 1003)
    points[labels == 1] += 2
    squared = ((points[:, None] - points) ** 2).sum(axis=2)
    mean = np.array([np.sqrt(squared)[:, labels == k].sum(axis=1) for k in range(3)]).T / np.bincount(labels)
    size = np.bincount(labels)[labels]
    a = mean[np.arange(1003), labels] * size / (size - 1)
    mean[np.arange(1003), labels] = np.inf
    b = mean.min(axis=1)
    assert_allclose(silhouette(points, labels), np.mean((b - a) / np.maximum(a, b)), rtol=1e-12)


def test_silhouette_of_coinciding_clusters_is_zero():
    assert silhouette(np.zeros((4, 2)), [0, 0, 1, 1]) == 0


def test_numbers_out_of_range_are_refused():
    for number in ({"restarts": 0}, {"max_iterations": 0}):
        with pytest.raises(ValueError, match="expected at least 1 for each"):
            kmeans(BLOBS, 2, rng=generator(), **number)


@pytest.mark.parametrize("points, labels, message", [
    (BLOBS, np.zeros(6, int), "got 1 clusters, expected at least 2"), (BLOBS[:0], np.zeros(0, int), "got 0 clusters"),
    (BLOBS, np.arange(5), r"got labels \(5,\) for 6 points"), (BLOBS, np.zeros((6, 1), int), r"got labels \(6, 1\)"),
    (BLOBS[:, 0], np.arange(6), r"points of shape \(6,\)"), (np.full((2, 2), np.nan), np.arange(2), "finite")])
def test_the_silhouette_of_what_is_no_clustering_is_refused(points, labels, message):
    with pytest.raises(ValueError, match=message):
        silhouette(points, labels)

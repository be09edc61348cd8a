"""Filter statistics by hand, and clusters of layers that are built to have them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.compression.filter_statistics import cluster_filters, filter_statistics, standardise
from minicnn.layers import Conv2d

PATTERN = np.array([1, -1, 1, -1, 1, -1, 1, -1.0]).reshape(2, 2, 2)      # mean 0, variance 1


def generator(seed=0):
    return np.random.default_rng(seed)


def layer(means, deviations, jitter=0.0):
    """A weight (O, 2, 2, 2) whose filters have these means and standard deviations, up to a relative jitter."""
    noise = 1 + jitter * generator().uniform(-1, 1, (2, len(means)))
    means, deviations = noise * (means, deviations)
    return means[:, None, None, None] + deviations[:, None, None, None] * PATTERN


def same_partition(a, b):
    return len(set(zip(a, b))) == len(set(a)) == len(set(b))


# statistics

def test_mean_and_variance_by_hand():
    mean, variance = filter_statistics(np.array([[1, 2, 3, 6], [-1, 1, -1, 1], [2, 2, 2, 2]], np.float32))
    assert_array_equal(mean, [3, 0, 2])
    assert_array_equal(variance, [3.5, 1, 0])      # (4 + 1 + 0 + 9) / 4
    assert mean.dtype == variance.dtype == np.float64


@pytest.mark.parametrize("shape", [(5, 3, 3, 2), (4, 7), (1, 1, 1, 1)])
def test_statistics_equal_loops_and_add_to_the_mean_square(shape):
    weight = generator().standard_normal(shape).astype(np.float32)
    mean, variance = filter_statistics(weight)
    for o, filter in enumerate(weight.astype(np.float64)):
        values = filter.ravel().tolist()
        mu = sum(values) / len(values)
        assert_allclose([mean[o], variance[o]], [mu, sum((w - mu) ** 2 for w in values) / len(values)], rtol=1e-12, atol=1e-16)
    assert_allclose(mean ** 2 + variance, (weight.astype(np.float64) ** 2).reshape(len(weight), -1).mean(axis=1), rtol=1e-12)


def test_float32_weights_are_summed_in_float64():
    """1e4 + small numbers: in float32 the variance would be lost."""
    weight = (1e4 + generator().integers(-4, 5, (1, 10000)) / 1024).astype(np.float32)
    assert_allclose(filter_statistics(weight)[1], weight.astype(np.float64).var(), rtol=1e-12)


def test_bias_is_left_out():
    conv = Conv2d(2, 6, 3, rng=generator())
    before = cluster_filters(conv.weight, rng=generator())
    conv.bias[:3] = 1000
    after = cluster_filters(conv.weight, rng=generator())
    assert all(np.array_equal(a, b) for a, b in zip(before, after))


# clusters

def test_obviously_weak_filters_are_found():
    deviations = np.array([1, 1, 0.01, 1, 0.01, 0.01, 1, 1])
    clusters = cluster_filters(layer(np.zeros(8), deviations, 0.05), rng=generator())
    assert_array_equal(np.flatnonzero(clusters.labels == clusters.weak), [2, 4, 5])
    assert clusters.silhouette > 0.9


@pytest.mark.parametrize("groups", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(3))
def test_silhouette_finds_the_number_of_groups(groups, seed):
    angle = 0.5 + 2 * np.pi * np.arange(groups) / groups
    group = generator(seed).permutation(np.repeat(np.arange(groups), 8))
    weight = layer(5 + 3 * np.cos(angle)[group], np.sqrt(5 + 3 * np.sin(angle)[group]), 0.01)
    clusters = cluster_filters(weight, rng=generator(seed))
    assert same_partition(clusters.labels, group)


@pytest.mark.parametrize("k", [1, 2, 3, 6, 50])
def test_a_given_number_of_clusters(k):
    clusters = cluster_filters(generator().standard_normal((20, 3, 3, 3)), k, rng=generator())
    assert len(set(clusters.labels)) == min(k, 20)
    assert np.isnan(clusters.silhouette) == (k == 1)
    assert clusters.weak in clusters.labels


def test_filters_all_alike_make_one_cluster():
    clusters = cluster_filters(np.tile(generator().standard_normal((1, 3, 5, 5)), (7, 1, 1, 1)), rng=generator())
    assert_array_equal(clusters.labels, np.zeros(7))
    assert clusters.weak == 0 and np.isnan(clusters.silhouette)


@pytest.mark.parametrize("weight, weak", [([[3.0, 1]], [0]), ([[3.0, 1], [0.5, 1]], [1]), ([[1.0, 1], [1, 1], [2, 2]], [0, 1])])
def test_few_filters(weight, weak):
    clusters = cluster_filters(np.array(weight), rng=generator())
    assert_array_equal(np.flatnonzero(clusters.labels == clusters.weak), weak)


@pytest.mark.parametrize("scale", [1e-6, 0.25, 3.0, 1e4])
def test_the_scale_of_a_layer_does_not_matter(scale):
    weight = generator().standard_normal((30, 3, 3, 3))
    clusters, scaled = (cluster_filters(w, rng=generator()) for w in (weight, scale * weight))
    assert_array_equal(clusters.labels, scaled.labels)
    assert clusters.weak == scaled.weak
    assert_allclose(clusters.silhouette, scaled.silhouette, rtol=1e-9)


@pytest.mark.parametrize("seed, holds_the_weakest", [(0, True), (1, True), (2, True), (15, False), (24, False)])
def test_weak_has_the_least_mean_square_before_standardising(seed, holds_the_weakest):
    """The mean over the cluster: the weakest filter of all may be in another."""
    weight = 0.3 + generator(seed).standard_normal((40, 10)) * generator(seed + 99).uniform(0.1, 2, (40, 1))
    clusters = cluster_filters(weight, 4, rng=generator())
    energy = {label: np.mean([(weight[o] ** 2).mean() for o in range(40) if clusters.labels[o] == label]) for label in range(4)}
    assert clusters.weak == min(energy, key=energy.get)
    assert (clusters.labels[clusters.mean_square.argmin()] == clusters.weak) == holds_the_weakest
    assert_allclose(clusters.mean_square, (weight ** 2).mean(axis=1), rtol=1e-12)


def test_weak_goes_by_the_members_mean_not_by_the_centre():
    """Means -2 and 2 have centre 0, yet every member is strong: the cluster of small numbers is the weak one."""
    weight = layer(np.array([-2, 2, -2, 2, 1, 1, 1.0]), np.array([1, 1, 1, 1, 1.2, 1.2, 1.2]))
    clusters = cluster_filters(weight, 3, rng=generator())
    assert_array_equal(np.flatnonzero(clusters.labels == clusters.weak), [4, 5, 6])


def test_same_seed_same_clusters_and_the_weight_is_left_alone():
    weight = generator().standard_normal((25, 4)).astype(np.float32)
    kept = weight.copy()
    first, second = (cluster_filters(weight, rng=generator(5)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    assert_array_equal(weight, kept)


def test_standardise_by_hand_and_a_constant_column_becomes_zero():
    assert_array_equal(standardise(np.array([[1.0, 7], [3, 7]])), [[-1, 0], [1, 0]])
    points = standardise(generator().uniform(size=(50, 2)) * [1e-3, 1e6] + [1e-3, -5])
    assert_allclose(points.mean(axis=0), 0, atol=1e-12)
    assert_allclose(points.std(axis=0), 1, rtol=1e-12)

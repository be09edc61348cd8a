"""Resampling: the draws are even and repeatable, the interval covers what it should."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minicnn.detection.evaluation.bootstrap import interval, resampled


def test_every_replicate_has_as_many_images():
    weights = resampled(50, np.random.default_rng(3), 400)
    assert weights.shape == (400, 50) and (weights.sum(axis=1) == 50).all() and weights.min() == 0
    assert abs(weights.mean() - 1) < 1e-12 and 0.9 < weights.var() < 1.06       # a binomial's: 1 - 1 / 50
    assert_array_equal(weights, resampled(50, np.random.default_rng(3), 400))
    assert (weights != resampled(50, np.random.default_rng(4), 400)).any()


def test_percentiles_by_hand():
    assert interval(np.arange(1001.0)) == pytest.approx([25, 975])
    assert interval(np.array([np.nan, 2.0, np.nan])) == [2.0, 2.0]
    assert interval(np.array([np.nan])) is None


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Means of 60 exponential numbers, whose mean is 1: of 200 intervals of 95 % nearly all hold it."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        values = rng.exponential(size=60)
        low, high = interval(resampled(60, rng, 500) @ values / 60)
        held += low <= 1 <= high
    assert 0.88 <= held / 200 <= 0.98

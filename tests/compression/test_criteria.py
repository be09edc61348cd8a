"""Scores of filters against loops and by hand."""

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.compression.criteria import METHODS, fpgm, l1, mean_square, random

HAND = np.array([[3, -4], [0, 1], [0, 0]], np.float32)


def mean_square_loops(filters):
    return [sum(w * w for w in one) / len(one) for one in filters]


def l1_loops(filters):
    return [sum(abs(w) for w in one) for one in filters]


def fpgm_loops(filters):
    return [sum(math.dist(one, other) for other in filters) for one in filters]


@pytest.mark.parametrize("criterion, expected", [
    (mean_square, [12.5, 0.5, 0]),
    (l1, [7, 1, 0]),
    (fpgm, [math.sqrt(34) + 5, math.sqrt(34) + 1, 6]),
])
def test_by_hand(criterion, expected):
    score = criterion(HAND)
    assert_allclose(score, expected, rtol=1e-15)
    assert score.dtype == np.float64


@pytest.mark.parametrize("criterion, loops", [(mean_square, mean_square_loops), (l1, l1_loops), (fpgm, fpgm_loops)])
@pytest.mark.parametrize("shape", [(5, 3, 2, 3), (6, 4), (1, 2, 1, 1)])
def test_equals_loops(criterion, loops, shape):
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert_allclose(criterion(weight), loops(weight.reshape(shape[0], -1).tolist()), rtol=1e-12)


def test_fpgm_takes_the_filter_at_the_geometric_median_first():
    """Corners of a square and, last, its centre: the centre is the largest by norm but adds nothing that the others lack."""
    square = 10 + np.array([*itertools.product((-1, 1), repeat=2), (0, 0)], float)
    assert fpgm(square).argmin() == 4
    assert mean_square(square).argmin() == l1(square).argmin() == 0


def test_random_depends_on_the_generator_alone():
    a, b, c = (random(weight, np.random.default_rng(seed)) for weight, seed in ((HAND, 0), (100 * HAND, 0), (HAND, 1)))
    assert_array_equal(a, b)
    assert a.shape == (3,) and (a != c).any()


def test_the_table_names_them_all():
    assert {"statistics": mean_square, "l1": l1, "fpgm": fpgm, "random": random} == METHODS

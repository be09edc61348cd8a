"""Dropout scales the elements that it keeps, so that the mean stays; the generator decides which."""

import numpy as np
import pytest
from numeric_checks import check_arrays, check_gradients
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.functional import dropout


def seeded():
    return np.random.default_rng(7)


@pytest.mark.parametrize("p", [0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(1, 2, 3, 5), (3, 40)])
def test_equals_loops_and_gradient_equals_differences(shape, p):
    x = np.random.default_rng(0).standard_normal(shape)
    y, mask = dropout(x, p, seeded())
    draws = iter(seeded().random(x.size))
    expected = [0 if next(draws) < p else v / (1 - p) for v in x.ravel()]
    assert_allclose(y.ravel(), expected, rtol=1e-15)
    check_gradients(lambda x: dropout(x, p, seeded())[0], lambda grad_y, x: [grad_y * mask], x)
    check_arrays(lambda x: dropout(x, p, seeded()), x)


def test_by_hand():
    """Ones become 0 or 1 / (1 - 1/4) = 4/3, a quarter of them 0, and their mean stays 1."""
    y, mask = dropout(np.ones((100, 100), np.float32), 0.25, seeded())
    assert_array_equal(np.unique(y), np.float32([0, 4 / 3]))
    assert_array_equal(y, mask)
    assert abs(np.mean(y == 0) - 0.25) < 0.02               # 4.6 standard deviations
    assert abs(y.mean() - 1) < 0.03


def test_the_generator_decides_and_moves_on():
    x, rng = np.ones(50), seeded()
    first, second = (dropout(x, 0.5, rng)[0] for _ in range(2))
    assert_array_equal(first, dropout(x, 0.5, seeded())[0])
    assert (first != second).any()

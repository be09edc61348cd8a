"""Winograd's matrices against the definition of a correlation."""

import itertools

import numpy as np
from numpy.testing import assert_allclose

from minicnn.fast.winograd import A_T, B_T, G, transformed


def test_the_bilinear_form_is_the_correlation():
    rng = np.random.default_rng(0)
    d, g = rng.standard_normal((6, 6)), rng.standard_normal((3, 3))
    expected = np.zeros((4, 4))
    for i, j, a, b in itertools.product(range(4), range(4), range(3), range(3)):
        expected[i, j] += g[a, b] * d[i + a, j + b]
    assert_allclose(A_T @ ((G @ g @ G.T) * (B_T @ d @ B_T.T)) @ A_T.T, expected, rtol=1e-13, atol=1e-14)


def test_transformed_filters_are_the_formula_of_each():
    weight = np.random.default_rng(0).standard_normal((5, 3, 3, 3)).astype(np.float32)
    points = transformed(weight)
    assert points.shape == (36, 3, 5) and points.dtype == np.float32
    for o, c in np.ndindex(5, 3):
        assert_allclose(points[:, c, o].reshape(6, 6), G @ weight[o, c].astype(np.float64) @ G.T, rtol=1e-7)

"""Each non-linearity against its formula, number by number, its gradient against differences, and its kinks by hand."""

import math

import numpy as np
import pytest
from numeric_checks import EXACT, assert_close, check_arrays, check_gradients
from numpy.testing import assert_allclose, assert_array_equal

from minicnn import functional as F

pytestmark = pytest.mark.usefixtures("backend")

FORMULAS = {
    "relu": lambda x: x if x > 0 else 0.0,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "hardsigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
}
both = {name: (getattr(F, name), getattr(F, f"{name}_backward")) for name in FORMULAS}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shape", [(1, 2, 3, 5), (3, 1, 4, 2), (3, 7), (0, 4)])
def test_equals_formula_and_gradient_equals_differences(name, shape):
    function, backward = both[name]
    x = 3 * np.random.default_rng(0).standard_normal(shape)
    assert_close(function(x), np.reshape([FORMULAS[name](v) for v in x.ravel()], shape), EXACT)
    check_gradients(function, lambda grad_y, x: [backward(grad_y, x)], x)
    check_arrays(lambda x: (function(x), backward(np.cos(x), x)), x)


@pytest.mark.parametrize("name, x, y, slope", [
    ("relu", [-2, 0, 3], [0, 0, 3], [0, 0, 1]),
    ("sigmoid", [-1000, 0, 1000], [0, 0.5, 1], [0, 0.25, 0]),            # neither end overflows
    ("hardsigmoid", [-4, -3, 0, 3, 4], [0, 0, 0.5, 1, 1], [0, 0, 1 / 6, 0, 0]),
    ("hardswish", [-4, -3, -1.5, 0, 3, 4], [0, 0, -0.375, 0, 3, 4], [0, 0, 0, 0.5, 1, 1]),
])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_by_hand(name, x, y, slope, dtype):
    function, backward = both[name]
    x = np.array(x, dtype)
    assert_allclose(function(x), y, rtol=1e-6)
    assert_allclose(backward(np.full_like(x, 2), x), 2 * np.array(slope), rtol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_nan_stays_nan(name):
    assert_array_equal(both[name][0](np.array([np.nan])), [np.nan])

"""Flattening."""

import numpy as np

from minicnn.layers import Flatten


def test_flatten_of_an_empty_batch():
    """The box head reads it where an image has no proposals."""
    x = np.zeros((0, 3, 2, 5), np.float32)
    y, pullback = Flatten().vjp(x)
    assert y.shape == Flatten()(x).shape == (0, 30) and pullback(y).shape == x.shape

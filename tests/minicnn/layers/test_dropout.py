"""Dropout acts in training mode only."""

import numpy as np
import pytest
from layer_cases import generator
from numpy.testing import assert_array_equal

from minicnn.layers import Dropout


def test_dropout_zeroes_in_training_only_and_its_generator_decides():
    layer, x = Dropout(0.5), np.ones((4, 50), np.float32)
    assert layer(x) is x and layer.vjp(x)[1](x) is x
    first = layer.train(generator())(x)
    assert set(np.unique(first)) == {0, 2}
    assert (layer(x) != first).any()                                # the generator has moved on
    assert_array_equal(layer.train(generator())(x), first)
    y, pullback = layer.train(generator()).vjp(x)
    assert_array_equal(y, first)
    assert_array_equal(pullback(3 * x), 3 * first)                  # the same elements, the same factor
    assert layer.eval()(x) is x


def test_probabilities_from_0_to_1_are_accepted_and_others_refused():
    x = np.ones((4, 5), np.float32)
    y, pullback = Dropout(1).train(generator()).vjp(x)
    assert_array_equal([y, pullback(x)], np.zeros((2, 4, 5)))
    assert_array_equal(Dropout(0).train(generator())(x), x)
    for p in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=f"got p={p}, expected a probability from 0 to 1"):
            Dropout(p)

"""Batch normalisation in both modes, and frozen."""

import numpy as np
from layer_cases import copies, make, same
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.layers import BatchNorm2d, FrozenBatchNorm2d


def test_batch_norm_moves_its_running_statistics_in_training_only():
    """1, 2, 3, 4: mean 2.5, unbiased variance 5/3; momentum 0.1 from 0 and 1."""
    layer, x = BatchNorm2d(1), np.array([1, 2, 3, 4], np.float32).reshape(4, 1, 1, 1)
    running = layer.running_mean, layer.running_var
    assert_allclose(layer(x), x, rtol=1e-4)
    assert_array_equal(running, [[0], [1]])
    for y in layer.train()(x), layer.vjp(x)[0]:
        assert_allclose(y.ravel(), np.array([-1.5, -0.5, 0.5, 1.5]) / np.sqrt(1.25 + 1e-5), rtol=1e-6)
    mean, var = 0.25 + 0.1 * (2.5 - 0.25), 1.0666666 + 0.1 * (5 / 3 - 1.0666666)           # twice by now
    assert_allclose((layer.running_mean, layer.running_var), [[mean], [var]], rtol=1e-6)
    assert layer.running_mean is running[0] and layer.running_var is running[1]
    assert_allclose(layer.eval()(x).ravel(), (x.ravel() - mean) / np.sqrt(var + 1e-5), rtol=1e-6)


def test_batch_norm_once_by_hand():
    layer = BatchNorm2d(1).train()
    layer(np.array([1, 2, 3, 4], np.float32).reshape(1, 1, 2, 2))
    assert_allclose((layer.running_mean, layer.running_var), [[0.25], [1.0666666]], rtol=1e-6)


def test_batch_norm_pullback_keeps_the_statistics_of_its_forward():
    """In evaluation mode too: another layer's use in training mode may move the running ones before the pullback runs."""
    layer, x = make(BatchNorm2d)
    y, pullback = layer.vjp(x)
    expected = pullback(y)
    layer.train()(x + 5)
    assert_array_equal(pullback(y), expected)


def test_frozen_batch_norm_is_the_same_in_both_modes():
    layer, x = make(FrozenBatchNorm2d)
    expected, before = layer(x), copies(layer)
    assert_array_equal(layer.train()(x), expected)
    same(copies(layer), before)
    assert not layer.gradients


def test_an_empty_batch_leaves_the_running_statistics():
    for shape in ((0, 2, 5, 5), (3, 2, 0, 5)):
        layer, x = BatchNorm2d(2).train(), np.zeros(shape, np.float32)
        y, pullback = layer.vjp(x)
        assert y.shape == pullback(y).shape == shape
        assert_array_equal([layer.running_mean, layer.running_var], [[0, 0], [1, 1]])
        assert_array_equal([layer.gradients["weight"], layer.gradients["bias"]], np.zeros((2, 2)))

"""What the tests of layers share: a small network, and a layer of every kind."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minicnn.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    BlockLinear,
    Conv2d,
    Dropout,
    Flatten,
    FrozenBatchNorm2d,
    Hardsigmoid,
    Hardswish,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
)


def generator():
    return np.random.default_rng(0)


def network():
    """A small classifier, (N, 2, 8, 7) -> (N, 5)."""
    rng = generator()
    return Sequential({
        "features": Sequential([Conv2d(2, 4, 3, stride=2, padding=1, bias=False, rng=rng), BatchNorm2d(4), ReLU(), MaxPool2d(2)]),
        "flatten": Flatten(),
        "classifier": Linear(16, 5, rng=rng)})


PARAMETERS = ["features.0.weight", "features.1.weight", "features.1.bias", "classifier.weight", "classifier.bias"]
BUFFERS = ["features.1.running_mean", "features.1.running_var"]


def image(*shape, dtype=np.float32):
    return generator().standard_normal(shape or (3, 2, 8, 7)).astype(dtype)


def same(got, expected):
    """Assert that two mappings of arrays have the same names in the same order, and equal arrays."""
    assert list(got) == list(expected)
    for path in expected:
        assert_array_equal(got[path], expected[path])


def copies(model):
    return {path: array.copy() for path, array in model.named_arrays()}


# Every kind: (its positional arguments, the input's shape).
EACH = {
    Conv2d: ((2, 4, (3, 1), 2, (1, 0), 1, 2), (3, 2, 8, 7)), Linear: ((6, 4), (3, 6)),
    BlockLinear: ((3, 4), (3, 6)),
    BatchNorm2d: ((2, 1e-3, 0.2), (3, 2, 4, 5)), FrozenBatchNorm2d: ((2, 0.0), (3, 2, 4, 5)),
    MaxPool2d: ((3, 2, 1, True), (3, 2, 8, 7)), AvgPool2d: (((2, 3), None, (1, 0), True, False), (3, 2, 8, 7)),
    AdaptiveAvgPool2d: (((2, 3),), (3, 2, 8, 7)), Flatten: ((), (3, 2, 4, 5)), Dropout: ((0.25,), (3, 2, 4, 5)),
    ReLU: ((), (3, 4)), Sigmoid: ((), (3, 4)), Hardsigmoid: ((), (3, 4)), Hardswish: ((), (3, 4)),
}
each_kind = pytest.mark.parametrize("cls", EACH, ids=lambda cls: cls.__name__)


def make(cls):
    """A layer of the kind with random arrays, and an input for it."""
    arguments, shape = EACH[cls]
    layer = cls(*arguments, rng=generator())
    for _, array in layer.named_arrays():
        array += generator().uniform(0.5, 1, array.shape).astype(np.float32)        # variances stay positive
    return layer, 2 * image(*shape)

"""Every kind of layer computes its function, and its description builds it again."""

import pytest
from layer_cases import EACH, each_kind, make
from numpy.testing import assert_array_equal

from minicnn import functional as F
from minicnn.errors import InputError
from minicnn.layers import (
    KINDS,
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
    Sigmoid,
    make_layer,
)


def test_every_kind_is_listed():
    assert list(EACH) == list(KINDS.values()) and [cls.__name__ for cls in EACH] == list(KINDS)


def test_each_kind_computes_its_function():
    """The arguments arrive in their places."""
    def expect(cls, function):
        layer, x = make(cls)
        assert_array_equal(layer(x), function(x, layer))
        assert_array_equal(layer.vjp(x)[0], layer(x))

    expect(Conv2d, lambda x, own: F.conv2d(x, own.weight, own.bias, stride=2, padding=(1, 0), groups=2))
    expect(Linear, lambda x, own: F.linear(x, own.weight, own.bias))
    expect(BlockLinear, lambda x, own: F.linear_blocks(x, own.weight))
    expect(BatchNorm2d, lambda x, own: F.batch_norm(x, own.running_mean, own.running_var, own.weight, own.bias, 1e-3))
    expect(FrozenBatchNorm2d, lambda x, own: F.batch_norm(x, own.running_mean, own.running_var, own.weight, own.bias, 0.0))
    expect(MaxPool2d, lambda x, own: F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)[0])
    expect(AvgPool2d, lambda x, own: F.avg_pool2d(x, (2, 3), padding=(1, 0), ceil_mode=True, count_include_pad=False))
    expect(AdaptiveAvgPool2d, lambda x, own: F.adaptive_avg_pool2d(x, (2, 3)))
    expect(Flatten, lambda x, own: x.reshape(3, 40))
    expect(Dropout, lambda x, own: x)
    expect(ReLU, lambda x, own: F.relu(x))
    expect(Sigmoid, lambda x, own: F.sigmoid(x))
    expect(Hardsigmoid, lambda x, own: F.hardsigmoid(x))
    expect(Hardswish, lambda x, own: F.hardswish(x))


@each_kind
def test_a_description_builds_the_layer_again(cls):
    layer, x = make(cls)
    again = make_layer(layer.kind, layer.arguments())
    assert type(again) is cls and again.arguments() == layer.arguments() and repr(again) == repr(layer)
    assert not any(array.any() for path, array in again.named_parameters() if cls is not BatchNorm2d)
    again.load_arrays(dict(layer.named_arrays()))
    assert_array_equal(again(x), layer(x))


@pytest.mark.parametrize("layer", [Conv2d(2, 4, 3, bias=False), Linear(3, 2, bias=False)], ids=repr)
def test_a_description_knows_of_a_missing_bias(layer):
    assert layer.arguments()["bias"] is False
    assert make_layer(layer.kind, layer.arguments()).bias is None


def test_a_description_tells_of_arrays_cut_smaller():
    layer = Conv2d(4, 6, 3)
    layer.weight, layer.bias = layer.weight[:5, 1:], layer.bias[:5]
    assert repr(make_layer("Conv2d", layer.arguments())).startswith("Conv2d(in_channels=3, out_channels=5, kernel_size=(3, 3),")


@pytest.mark.parametrize("kind, arguments, message", [
    ("Conv9d", {}, "got a layer of kind 'Conv9d', expected one of Conv2d, Linear, .*newer minicnn"),
    ("Sequential", {}, "got a layer of kind 'Sequential'"),
    ("Linear", {"in_features": 3}, r"got Linear with arguments {'in_features': 3}: .*out_features.*The file is damaged"),
    ("ReLU", {"slope": 1}, "slope"),
    ("Linear", {"in_features": -3, "out_features": 2}, "The file is damaged"),
    ("Conv2d", {"in_channels": 3, "out_channels": 4, "kernel_size": 3, "groups": 2},
     "got in_channels=3, out_channels=4, groups=2; expected both channel counts divisible by groups"),
])
def test_a_bad_description_is_named(kind, arguments, message):
    with pytest.raises(InputError, match=message):
        make_layer(kind, arguments)

"""Both LeNets by hand: widths, shapes after each layer, parameters, groups."""

import numpy as np
import pytest
from numeric_checks import FORWARD, assert_close
from numpy.testing import assert_array_equal

import minicnn
from minicnn.errors import InputError
from minicnn.models import BUILDERS
from minicnn.models.channel_groups import ChannelGroup

SHAPES = {
    "lenet5": {"conv1.weight": (6, 1, 5, 5), "conv1.bias": (6,), "conv2.weight": (16, 6, 5, 5), "conv2.bias": (16,),
               "fc1.weight": (120, 400), "fc1.bias": (120,), "fc2.weight": (84, 120), "fc2.bias": (84,),
               "fc3.weight": (10, 84), "fc3.bias": (10,)},
    "lenet5_caffe": {"conv1.weight": (20, 1, 5, 5), "conv1.bias": (20,), "conv2.weight": (50, 20, 5, 5), "conv2.bias": (50,),
                     "fc1.weight": (500, 800), "fc1.bias": (500,), "fc2.weight": (10, 500), "fc2.bias": (10,)},
}
OUTPUTS = {
    "lenet5": {"conv1": (6, 28, 28), "relu1": (6, 28, 28), "pool1": (6, 14, 14), "conv2": (16, 10, 10), "relu2": (16, 10, 10),
               "pool2": (16, 5, 5), "flatten": (400,), "fc1": (120,), "relu3": (120,), "fc2": (84,), "relu4": (84,),
               "fc3": (10,)},
    "lenet5_caffe": {"conv1": (20, 24, 24), "pool1": (20, 12, 12), "conv2": (50, 8, 8), "pool2": (50, 4, 4), "flatten": (800,),
                     "fc1": (500,), "relu": (500,), "fc2": (10,)},
}
GROUPS = {
    "lenet5": [ChannelGroup(("conv1",), (), (("conv2", 1),)), ChannelGroup(("conv2",), (), (("fc1", 25),)),
               ChannelGroup(("fc1",), (), (("fc2", 1),)), ChannelGroup(("fc2",), (), (("fc3", 1),))],
    "lenet5_caffe": [ChannelGroup(("conv1",), (), (("conv2", 1),)), ChannelGroup(("conv2",), (), (("fc1", 16),)),
                     ChannelGroup(("fc1",), (), (("fc2", 1),))],
}
every_lenet = pytest.mark.parametrize("name", SHAPES)


@every_lenet
def test_names_shapes_and_the_number_of_parameters(name):
    arrays = dict(minicnn.build(name).named_parameters())
    assert {path: array.shape for path, array in arrays.items()} == SHAPES[name]
    assert sum(array.size for array in arrays.values()) == {"lenet5": 61706, "lenet5_caffe": 431080}[name]
    assert all(array.dtype == np.float32 and not array.any() for array in arrays.values())


@every_lenet
def test_shape_after_each_layer(name, backend):
    model = minicnn.build(name, rng=np.random.default_rng(0))
    x, shapes = np.random.default_rng(1).random((3, *model.input_shape), np.float32), {}
    logits = model(x)
    for path, layer in model.children():
        x = layer(x)
        shapes[path] = x.shape[1:]
    assert shapes == OUTPUTS[name]
    assert_close(logits, x, 0 if backend == "reference" else FORWARD)
    assert logits.dtype == np.float32 and logits.shape == (3, 10)


@every_lenet
def test_channel_groups(name):
    assert minicnn.build(name).channel_groups() == GROUPS[name]


@every_lenet
def test_weights_come_from_the_generator(name):
    a, b, c = (dict(minicnn.build(name, rng=np.random.default_rng(seed)).named_arrays()) for seed in (0, 0, 1))
    for path in a:
        assert_array_equal(a[path], b[path])
        assert (a[path] != c[path]).any()
        bound = 1 / np.sqrt(np.prod(SHAPES[name][path.replace("bias", "weight")][1:]))
        assert np.abs(a[path]).max() <= bound


@every_lenet
def test_other_numbers_of_classes(name, backend):
    model = minicnn.build(name, num_classes=3)
    assert model(np.zeros((1, 1, 28, 28), np.float32)).shape == (1, 3)
    assert model.architecture == name and model.architecture_arguments == {"num_classes": 3}
    assert model.record == {"class_names": [], "surgery": [], "provenance": {}, "measured": {}} and not model.training


def test_builders_are_those_tested():
    assert set(SHAPES) <= set(BUILDERS)


def test_unknown_names_and_arguments_are_named():
    with pytest.raises(InputError, match="got the architecture 'lenet6', expected one of lenet5, lenet5_caffe"):
        minicnn.build("lenet6")
    with pytest.raises(InputError, match="{'classes': 3} for lenet5.*Check their names"):
        minicnn.build("lenet5", classes=3)

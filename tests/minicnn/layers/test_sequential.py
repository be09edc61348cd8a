"""Layers one after the other, some of them frozen."""

import numpy as np
import pytest
from layer_cases import PARAMETERS, generator, image, network, same
from numpy.testing import assert_array_equal

from minicnn.layers import Conv2d, ReLU, Sequential


def spy(layer, calls):
    """Note each vjp of the layer."""
    run = layer.vjp
    layer.vjp = lambda *arguments: (calls.append(layer), run(*arguments))[1]


@pytest.mark.parametrize("frozen, expected", [((), PARAMETERS), (("features.0",), PARAMETERS[1:]),
                                              (("features.0", "features.1"), PARAMETERS[3:])])
def test_a_frozen_prefix_runs_as_inference(frozen, expected):
    model, x, calls = network(), image(), []
    for path in frozen:
        model.get_layer(path).trainable = False
    for _, layer in list(model.named_layers())[1:]:
        spy(layer, calls)
    y, pullback = model.vjp(x, input_gradient=False)
    assert_array_equal(y, model(x))
    assert pullback(y) is None
    assert [path for path, _ in model.named_gradients()] == expected
    leaves = [layer for _, layer in model.named_layers() if not layer.children()]
    first = model.get_layer(expected[0].rpartition(".")[0])
    run = [layer for layer in calls if not layer.children()]
    assert run == leaves[leaves.index(first):]


def test_gradients_do_not_depend_on_what_is_frozen_before():
    model, x = network(), image()
    y, pullback = model.vjp(x)
    pullback(y)
    whole = dict(model.named_gradients())
    model.zero_grad()
    model.get_layer("features.0").trainable = False
    model.vjp(x, input_gradient=False)[1](y)
    same(dict(model.named_gradients()), {path: whole[path] for path in PARAMETERS[1:]})


def test_a_frozen_layer_behind_a_trained_one_passes_the_gradient_on_and_gets_none():
    model, x = network(), image()
    model.get_layer("classifier").trainable = False
    y, pullback = model.vjp(x, input_gradient=False)
    pullback(y)
    assert [path for path, _ in model.named_gradients()] == PARAMETERS[:3]


def test_a_network_frozen_altogether_has_nothing_to_pull_back():
    model = Sequential([Conv2d(2, 3, 3, rng=generator()), ReLU()])
    model.get_layer("0").trainable = False
    y, pullback = model.vjp(image(), input_gradient=False)
    assert pullback(y) is None and not list(model.named_gradients())
    assert model.vjp(image())[1](y).shape == image().shape


def test_of_layers_in_a_row_the_first_reads_and_the_last_gives():
    pair = Sequential([Conv2d(6, 3, 1), Conv2d(3, 8, 1)])
    pair.keep_inputs(np.array([0, 2, 5]))
    pair.keep_outputs(np.array([1, 7]))
    assert [layer.weight.shape[:2] for _, layer in pair.children()] == [(3, 3), (2, 3)]

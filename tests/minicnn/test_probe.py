"""Probes see what passes, and are gone afterwards."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minicnn.layers import Conv2d, ReLU, Sequential
from minicnn.probe import Probe, probed


def network():
    rng = np.random.default_rng(0)
    return Sequential({"body": Sequential([Conv2d(2, 3, 3, rng=rng), ReLU()]), "head": Conv2d(3, 1, 1, rng=rng)})


def test_a_probe_sees_input_and_output():
    model, seen = network(), {}
    x = np.random.default_rng(1).standard_normal((2, 2, 5, 6)).astype(np.float32)
    expected = model(x)
    with probed(model, {path: lambda x, y, path=path: seen.update({path: (x, y)}) for path in ("body.0", "body.1", "head")}):
        assert isinstance(model.get_layer("body.1"), Probe)
        assert_array_equal(model(x), expected)
    assert_array_equal(seen["body.0"][0], x)
    assert_array_equal(seen["body.0"][1], model.get_layer("body.0")(x))
    assert seen["body.1"][0] is seen["body.0"][1] and seen["head"][0] is seen["body.1"][1]
    assert_array_equal(seen["body.1"][1], np.maximum(seen["body.1"][0], 0))
    assert_array_equal(seen["head"][1], expected)


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_the_model_is_as_before_even_after_an_error(error):
    model = network()
    layers = list(model.named_layers())

    def observe(x, y):
        if error:
            raise error

    try:
        with probed(model, {"head": observe, "body.0": observe}):
            model(np.zeros((1, 2, 3, 3), np.float32))
    except ZeroDivisionError:
        assert error
    assert list(model.named_layers()) == layers         # same objects, same order


def test_a_layer_used_twice_is_seen_twice():
    model, seen = Sequential({"relu": ReLU()}), []
    with probed(model, {"relu": lambda x, y: seen.append(y)}):
        model(np.ones(1)), model(-np.ones(1))
    assert seen == [1, 0]


def test_an_unknown_path_is_named_and_nothing_changed():
    model = network()
    layers = list(model.named_layers())
    with pytest.raises(KeyError, match="no layer 'tail'"), probed(model, {"head": print, "tail": print}):
        pass
    assert list(model.named_layers()) == layers


def test_no_probes_no_change():
    model = network()
    with probed(model, {}):
        assert not any(isinstance(layer, Probe) for _, layer in model.named_layers())

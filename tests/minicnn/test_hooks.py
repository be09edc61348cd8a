"""Functions see what passes through layers, times are measured, layers are replaced; the model is as before afterwards."""

import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minicnn.hooks import Watched, replace, timed, watch
from minicnn.layers import Conv2d, Layer, ReLU, Sequential


def network():
    rng = np.random.default_rng(0)
    return Sequential({"body": Sequential([Conv2d(2, 3, 3, rng=rng), ReLU()]), "head": Conv2d(3, 1, 1, rng=rng)})


def test_a_function_sees_input_and_output():
    model, seen = network(), {}
    x = np.random.default_rng(1).standard_normal((2, 2, 5, 6)).astype(np.float32)
    expected = model(x)
    with watch(model, {path: lambda x, y, path=path: seen.update({path: (x, y)}) for path in ("body.0", "body.1", "head")}):
        assert isinstance(model.get_layer("body.1"), Watched)
        assert_array_equal(model(x), expected)
    assert_array_equal(seen["body.0"][0], x)
    assert_array_equal(seen["body.0"][1], model.get_layer("body.0")(x))
    assert seen["body.1"][0] is seen["body.0"][1] and seen["head"][0] is seen["body.1"][1]
    assert_array_equal(seen["body.1"][1], np.maximum(seen["body.1"][0], 0))
    assert_array_equal(seen["head"][1], expected)


class Sum(Layer):
    def __call__(self, x, y):
        return x + y


def test_a_function_sees_all_inputs():
    model, seen = Sequential({"sum": Sum()}), []
    with watch(model, {"sum": lambda *values: seen.append(values)}):
        assert model.get_layer("sum")(1, 2) == 3
    assert seen == [(1, 2, 3)]


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_the_model_is_as_before_even_after_an_error(error):
    model = network()
    layers = list(model.named_layers())

    def observe(x, y):
        if error:
            raise error

    try:
        with watch(model, {"head": observe, "body.0": observe}):
            model(np.zeros((1, 2, 3, 3), np.float32))
    except ZeroDivisionError:
        assert error
    assert list(model.named_layers()) == layers         # same objects, same order


def test_a_layer_used_twice_is_seen_twice():
    model, seen = Sequential({"relu": ReLU()}), []
    with watch(model, {"relu": lambda x, y: seen.append(y)}):
        model(np.ones(1)), model(-np.ones(1))
    assert seen == [1, 0]


def test_an_unknown_path_is_named_and_nothing_changed():
    model = network()
    layers = list(model.named_layers())
    with pytest.raises(KeyError, match="no layer 'tail'"), watch(model, {"head": print, "tail": print}):
        pass
    assert list(model.named_layers()) == layers


def test_no_functions_no_change():
    model = network()
    with watch(model, {}):
        assert not any(isinstance(layer, Watched) for _, layer in model.named_layers())


def test_functions_before_a_layer_see_its_inputs_and_come_first():
    model, calls = Sequential({"sum": Sum()}), []
    with watch(model, {"sum": lambda *values: calls.append(("after", values))}, {"sum": lambda *values: calls.append(("before", values))}):
        model.get_layer("sum")(1, 2)
    assert calls == [("before", (1, 2)), ("after", (1, 2, 3))]


class Reached(Exception):
    pass


def test_a_function_before_a_layer_may_stop_the_network():
    model, seen = network(), []
    layers = list(model.named_layers())

    def stop(x):
        seen.append(x)
        raise Reached

    x = np.ones((1, 2, 3, 3), np.float32)
    with pytest.raises(Reached), watch(model, {"head": print}, {"body.1": stop}):
        model(x)
    assert_array_equal(seen, [model.get_layer("body.0")(x)])
    assert list(model.named_layers()) == layers


@pytest.mark.parametrize("paths", [("body.0", "body"), ("body", "body.0")])
def test_a_layer_and_one_inside_it_are_both_seen(paths):
    model, seen = network(), []
    layers = list(model.named_layers())
    with watch(model, {path: lambda x, y, path=path: seen.append(path) for path in paths}):
        model(np.ones((1, 2, 3, 3), np.float32))
    assert seen == ["body.0", "body"]
    assert list(model.named_layers()) == layers


def test_layers_are_replaced_until_the_end():
    model, other = network(), ReLU()
    layers = list(model.named_layers())
    with replace(model, {"head": other}):
        assert model.get_layer("head") is other
        assert model(np.ones((1, 2, 3, 3), np.float32)).shape == (1, 3, 1, 1)
    assert list(model.named_layers()) == layers
    with pytest.raises(KeyError, match="no layer 'tail'"), replace(model, {"head": other, "tail": other}):
        pass
    assert list(model.named_layers()) == layers


class Slow(Layer):
    """Adds its two inputs, in two milliseconds."""

    bias = 3

    def __call__(self, x, y):
        time.sleep(0.002)
        return x + y


class Pair(Layer):
    def __init__(self):
        self.slow, self.relu = Slow(), ReLU()

    def __call__(self, x):
        return self.relu(self.slow(x, self.slow.bias))


def test_times_add_up_and_attributes_of_the_layer_can_be_read():
    model = Pair()
    layers = list(model.named_layers())
    with timed(model, ["slow", "relu"]) as milliseconds:
        assert milliseconds == {"slow": 0, "relu": 0}
        assert_array_equal(model(np.array([-5, 1])), [0, 4])
        once = dict(milliseconds)
        model(np.array([1]))
        assert 2 <= once["slow"] <= milliseconds["slow"] - 2 and 0 < once["relu"] < milliseconds["relu"]
    assert list(model.named_layers()) == layers
    after = dict(milliseconds)
    model(np.array([1]))
    assert milliseconds == after            # nothing is watched any more


def test_nothing_is_watched_after_an_error():
    model = Pair()
    layers = list(model.named_layers())
    with pytest.raises(TypeError), timed(model, ["slow"]):
        model("text")
    assert list(model.named_layers()) == layers
    with pytest.raises(KeyError, match="no layer 'fast'"), timed(model, ["slow", "fast"]):
        pass
    assert list(model.named_layers()) == layers


def test_a_layer_and_one_inside_it_are_measured_together():
    model = Sequential({"pair": Pair()})
    layers = list(model.named_layers())
    with timed(model, ["pair.slow", "pair"]) as milliseconds:
        model(np.array([1]))
    assert 2 <= milliseconds["pair.slow"] <= milliseconds["pair"]
    assert list(model.named_layers()) == layers

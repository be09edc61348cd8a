"""What all layers share: paths, loading, modes, gradients that add, and removed channels."""

import numpy as np
import pytest
from layer_cases import BUFFERS, PARAMETERS, copies, each_kind, generator, image, make, network, same
from numeric_checks import check_gradients
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.errors import InputError
from minicnn.layers import BatchNorm2d, Conv2d, Flatten, FrozenBatchNorm2d, Layer, Linear, ReLU, Sequential, make_layer

# the tree

def test_paths_are_torchs():
    model = network()
    assert [path for path, _ in model.named_parameters()] == PARAMETERS
    assert [path for path, _ in model.named_buffers()] == BUFFERS
    assert [path for path, _ in model.named_arrays()] == PARAMETERS[:3] + BUFFERS + PARAMETERS[3:]      # a state dict's order
    assert [path for path, _ in model.named_layers()] == [
        "", "features", "features.0", "features.1", "features.2", "features.3", "flatten", "classifier"]
    assert [path for path, _ in Conv2d(1, 1, 1, bias=False).named_parameters()] == ["weight"]
    assert [path for path, _ in FrozenBatchNorm2d(1).named_arrays()] == ["weight", "bias", "running_mean", "running_var"]
    assert not list(FrozenBatchNorm2d(1).named_parameters())


def test_named_arrays_are_the_layers_own():
    model = network()
    assert dict(model.named_arrays())["features.1.running_var"] is model.get_layer("features.1").running_var


def test_get_layer():
    model = network()
    assert model.get_layer("") is model
    assert model.get_layer("features.0") is model.features.get_layer("0")
    for path in "features.4", "features.0.weight", "flatten.0":
        with pytest.raises(KeyError, match=f"no layer '{path}'; there are features, features.0, .*, flatten, classifier"):
            model.get_layer(path)


def test_replace_layer_keeps_the_order():
    model, x = network(), image()
    names, expected = [path for path, _ in model.named_layers()], model(x)
    conv, slim = model.get_layer("features.0"), Conv2d(2, 4, 3, 2, 1, bias=False)
    slim.load_arrays(dict(conv.named_arrays()))
    model.replace_layer("features.0", slim)
    assert model.get_layer("features.0") is slim and [path for path, _ in model.named_layers()] == names
    assert_array_equal(model(x), expected)
    model.replace_layer("classifier", Sequential([Linear(16, 3), Linear(3, 5)]))
    assert [path for path, _ in model.named_layers()] == [*names, "classifier.0", "classifier.1"]
    with pytest.raises(KeyError, match="no layer 'features.9'"):
        model.replace_layer("features.9", slim)


def test_a_subclass_finds_its_children_in_order_of_assignment():
    class Fork(Layer):
        def __init__(self):
            self.right, self.left, self.number = ReLU(), Linear(1, 1), 3

    assert [name for name, _ in Fork().children()] == ["right", "left"]
    for method in Fork(), Fork().vjp:
        with pytest.raises(NotImplementedError):
            method(np.zeros(1))


# loading

def test_loading_copies_into_the_arrays_there_are():
    model, arrays = network(), copies(network())
    own = dict(model.named_arrays())
    for array in own.values():
        array[...] = -1
    model.load_arrays({path: arrays[path].astype(np.float64) for path in reversed(arrays)})      # any order, any dtype
    same(dict(model.named_arrays()), arrays)
    assert all(array is own[path] and array.dtype == np.float32 for path, array in model.named_arrays())


def test_strict_loading_names_an_array_of_each_kind_that_does_not_fit_and_copies_nothing():
    model, arrays = network(), {path: array + 1 for path, array in network().named_arrays()}
    before = copies(model)
    del arrays["features.0.weight"], arrays["features.1.running_mean"]
    arrays |= {"features.9.weight": np.zeros(3), "stray": np.zeros(1), "classifier.bias": np.zeros(4)}
    with pytest.raises(InputError) as error:
        model.load_arrays(arrays)
    for part in ("missing features.0.weight (4, 2, 3, 3) and 1 more;", "extra features.9.weight and 1 more.",
                 "classifier.bias is (4,), expected (5,);"):
        assert part in str(error.value)
    assert str(error.value).count(";") == 2 and "\n" not in str(error.value)
    same(copies(model), before)


def test_loading_can_take_the_arrays_out_of_the_mapping():
    model, expected = network(), {path: array + 1 for path, array in network().named_arrays()}
    arrays = dict(expected)
    model.load_arrays(arrays, consume=True)
    assert arrays == {}
    same(dict(model.named_arrays()), expected)
    arrays = dict(expected)
    model.load_arrays(arrays)
    assert list(arrays) == list(expected)                       # unasked they stay
    del arrays["classifier.bias"]
    with pytest.raises(InputError, match="missing classifier.bias"):
        model.load_arrays(arrays, consume=True)
    assert len(arrays) == len(expected) - 1                     # and where they do not fit


def test_loading_what_fits_by_name():
    model = network()
    before = copies(model)
    model.load_arrays({"classifier.bias": np.arange(5), "stray": np.zeros(1)}, strict=False)
    same(copies(model), before | {"classifier.bias": np.arange(5)})
    with pytest.raises(InputError, match=r"fit the network: classifier.bias is \(4,\), expected \(5,\). Use"):
        model.load_arrays({"classifier.bias": np.zeros(4), "features.1.bias": np.ones(4)}, strict=False)
    same(copies(model), before | {"classifier.bias": np.arange(5)})


# initialisation

@pytest.mark.parametrize("layer, fan_in", [
    (lambda rng: Conv2d(8, 40, (3, 2), groups=2, rng=rng), 24), (lambda rng: Linear(50, 60, rng=rng), 50)])
def test_initialisation_is_uniform_within_the_bound_and_repeatable(layer, fan_in):
    made = layer(generator())
    bound = 1 / np.sqrt(fan_in)
    for array in made.weight, made.bias:
        assert array.dtype == np.float32 and 0.85 * bound < np.abs(array).max() <= bound
    assert_allclose(made.weight.std(), bound / np.sqrt(3), rtol=0.05)
    same(copies(layer(generator())), copies(made))
    assert (layer(np.random.default_rng(1)).weight != made.weight).all()
    assert not layer(None).weight.any() and not layer(None).bias.any()


# gradients

def test_network_gradients_equal_differences():
    """The whole in float64, batch norm in training mode."""
    model = network().train()
    for path, array in copies(model).items():
        layer, _, name = path.rpartition(".")
        setattr(model.get_layer(layer), name, array.astype(np.float64))

    def forward(x, *parameters):
        model.load_arrays(dict(zip(PARAMETERS, parameters)), strict=False)
        return model(x)

    def backward(grad_y, x, *parameters):
        model.load_arrays(dict(zip(PARAMETERS, parameters)), strict=False)
        model.zero_grad()
        grad_x = model.vjp(x)[1](grad_y)
        return grad_x, *dict(model.named_gradients()).values()

    check_gradients(forward, backward, image(dtype=np.float64), *(copies(model)[path] for path in PARAMETERS))
    assert [path for path, _ in model.named_gradients()] == PARAMETERS


def test_a_layer_used_twice_has_the_sum_of_gradients():
    layer, first, second = Conv2d(2, 3, 3, rng=generator()), image(1, 2, 5, 6), image(3, 2, 4, 3)
    alone = []
    for x in first, second:
        y, pullback = layer.vjp(x)
        alone.append((pullback(y), layer.gradients))
        layer.zero_grad()
    (y1, pullback1), (y2, pullback2) = layer.vjp(first), layer.vjp(second)          # both forward, then both back
    assert_array_equal(pullback1(y1), alone[0][0])
    assert_array_equal(pullback2(y2), alone[1][0])
    same(layer.gradients, {name: alone[0][1][name] + alone[1][1][name] for name in ("weight", "bias")})


def test_gradients_add_until_zero_grad():
    model, x = network(), image()
    y, pullback = model.vjp(x)
    pullback(y)
    once = dict(model.named_gradients())
    kept = {path: gradient.copy() for path, gradient in once.items()}
    pullback(y)
    same(dict(model.named_gradients()), {path: 2 * gradient for path, gradient in once.items()})
    same(once, kept)                                                                # those handed out are not written
    model.zero_grad()
    assert not list(model.named_gradients())


def test_a_missing_bias_gets_no_gradient():
    for layer, x in ((Conv2d(2, 3, 1, bias=False), image()), (Linear(4, 2, bias=False), image(3, 4))):
        y, pullback = layer.vjp(x)
        pullback(y)
        assert list(layer.gradients) == ["weight"]


@each_kind
def test_the_pullback_is_the_transpose_of_the_derivative(cls):
    layer, x = make(cls)
    x = x.astype(np.float64)
    for name, array in list(layer.named_arrays()):
        setattr(layer, name, array.astype(np.float64))
    check_gradients(layer, lambda grad_y, x: [layer.vjp(x)[1](grad_y)], x)


@each_kind
def test_float32_stays(cls):
    layer, x = make(cls)
    for run in layer.eval(), layer.train(generator()):
        y, pullback = run.vjp(x)
        assert y.dtype == pullback(y).dtype == np.float32
        assert all(gradient.dtype == np.float32 for gradient in layer.gradients.values())
        assert all(array.dtype == np.float32 for _, array in layer.named_arrays())


@each_kind
def test_inference_and_a_dropped_pullback_leave_nothing_behind(cls):
    layer, x = make(cls)
    before, bytes_before = dict(vars(layer)), copies(layer)
    layer(x)
    layer.vjp(x)
    assert vars(layer).keys() == before.keys() and all(vars(layer)[name] is before[name] for name in before)
    same(copies(layer), bytes_before)


@pytest.mark.parametrize("cls", [Conv2d, Linear, BatchNorm2d], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("training", [False, True])
def test_without_input_gradient_the_pullback_returns_none_and_parameters_get_theirs(cls, training):
    layer, x = make(cls)
    layer.training = training
    y, pullback = layer.vjp(x)
    pullback(y)
    expected = layer.gradients
    layer.zero_grad()
    assert layer.vjp(x, input_gradient=False)[1](y) is None
    same(layer.gradients, expected)


# modes

def test_train_and_eval_reach_every_layer():
    model = network()
    assert not any(layer.training for _, layer in model.named_layers())
    assert model.train() is model and all(layer.training for _, layer in model.named_layers())
    assert model.eval() is model and not any(layer.training for _, layer in model.named_layers())


# removed channels

def test_a_network_with_channels_cut_out_equals_one_with_them_at_zero():
    """A convolution's filters, what follows them (norm, depthwise), and the columns that read them."""
    rng, keep, x = generator(), np.array([0, 2, 3]), image(3, 2, 4, 5)
    model = Sequential({
        "make": Conv2d(2, 5, 3, rng=rng), "norm": BatchNorm2d(5), "depthwise": Conv2d(5, 5, (1, 2), groups=5, rng=rng),
        "read": Conv2d(5, 4, 1, rng=rng), "flatten": Flatten(), "top": Linear(16, 6, rng=rng), "last": Linear(6, 3, rng=rng)})
    model.norm.running_mean += rng.random(5).astype(np.float32)
    model.read.weight[:, [1, 4]] = 0
    model.last.weight[:, [1, 4, 5]] = 0
    expected = model(x)
    model.make.keep_outputs(keep)
    model.norm.keep_channels(keep)
    model.depthwise.keep_channels(keep)
    model.read.keep_inputs(keep)
    model.top.keep_outputs(keep)
    model.last.keep_inputs(keep)
    assert_allclose(model(x), expected, rtol=1e-5, atol=1e-6)
    assert [path for path, array in model.named_arrays() if 5 in array.shape or 6 in array.shape] == []
    again = Sequential({name: make_layer(layer.kind, layer.arguments()) for name, layer in model.children()})
    again.load_arrays(dict(model.named_arrays()))                    # the descriptions have the new shapes, groups too
    assert_array_equal(again(x), model(x))


def test_channels_are_cut_only_where_a_layer_has_its_own():
    index = np.array([0])
    for refused in ReLU().keep_outputs, Flatten().keep_inputs, Linear(3, 2).keep_channels, BatchNorm2d(3).keep_outputs:
        with pytest.raises(NotImplementedError, match="channels of its own"):
            refused(index)
    grouped = Conv2d(4, 4, 3, groups=2)
    for refused in grouped.keep_outputs, grouped.keep_inputs:
        with pytest.raises(ValueError, match=r"got Conv2d\(.*groups=2.*expected groups=1"):
            refused(index)
    with pytest.raises(ValueError, match="expected a depthwise convolution"):
        grouped.keep_channels(index)

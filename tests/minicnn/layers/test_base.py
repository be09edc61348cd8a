"""Layers: paths, loading, modes, gradients that add, and descriptions that build the layer again."""

import numpy as np
import pytest
from numeric_checks import check_gradients
from numpy.testing import assert_allclose, assert_array_equal

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
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
    make_layer,
)


def generator():
    return np.random.default_rng(0)


def network():
    """(N, 2, 8, 7) -> (N, 5)."""
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
    """Two mappings of arrays are equal, names in order, byte for byte."""
    assert list(got) == list(expected)
    for path in expected:
        assert_array_equal(got[path], expected[path])


def copies(model):
    return {path: array.copy() for path, array in model.named_arrays()}


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


def test_strict_loading_names_every_array_that_does_not_fit_and_copies_nothing():
    model, arrays = network(), {path: array + 1 for path, array in network().named_arrays()}
    before = copies(model)
    del arrays["features.0.weight"], arrays["features.1.running_mean"]
    arrays |= {"features.9.weight": np.zeros(3), "stray": np.zeros(1), "classifier.bias": np.zeros(4)}
    with pytest.raises(InputError) as error:
        model.load_arrays(arrays)
    for part in ("missing features.0.weight (4, 2, 3, 3)", "missing features.1.running_mean (4,)", "extra features.9.weight",
                 "extra stray", "classifier.bias is (4,), expected (5,)"):
        assert part in str(error.value)
    assert str(error.value).count(";") == 4 and "\n" not in str(error.value)
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
    """A layer of the kind, its arrays drawn, and an input."""
    arguments, shape = EACH[cls]
    layer = cls(*arguments, rng=generator())
    for _, array in layer.named_arrays():
        array += generator().uniform(0.5, 1, array.shape).astype(np.float32)        # variances stay positive
    return layer, 2 * image(*shape)


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


# frozen layers

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


# modes

def test_train_and_eval_reach_every_layer():
    model = network()
    assert not any(layer.training for _, layer in model.named_layers())
    assert model.train() is model and all(layer.training for _, layer in model.named_layers())
    assert model.eval() is model and not any(layer.training for _, layer in model.named_layers())


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


# surgery

def test_flatten_of_an_empty_batch():
    """An image without proposals reaches the box head so."""
    x = np.zeros((0, 3, 2, 5), np.float32)
    y, pullback = Flatten().vjp(x)
    assert y.shape == Flatten()(x).shape == (0, 30) and pullback(y).shape == x.shape


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


def test_of_layers_in_a_row_the_first_reads_and_the_last_gives():
    pair = Sequential([Conv2d(6, 3, 1), Conv2d(3, 8, 1)])
    pair.keep_inputs(np.array([0, 2, 5]))
    pair.keep_outputs(np.array([1, 7]))
    assert [layer.weight.shape[:2] for _, layer in pair.children()] == [(3, 3), (2, 3)]


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


# description

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

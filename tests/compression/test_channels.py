"""Removed channels: the pruned network equals the original with these channels zeroed where they are read."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric_checks import EXACT, assert_close
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.compression.channels import (
    compensate,
    fold_into_kept,
    group_weight,
    is_linear,
    left_channels,
    lost_share,
    prune_group,
    select_filters,
)
from minicnn.compression.observe import InputMoments
from minicnn.layers import AvgPool2d, BatchNorm2d, Conv2d, Flatten, FrozenBatchNorm2d, Layer, Linear, MaxPool2d, ReLU, Sequential
from minicnn.models.channel_groups import ChannelGroup
from minicnn.models.classifier import Classifier
from minicnn.models.mobilenet import InvertedResidual


def generator(seed=0):
    return np.random.default_rng(seed)


def random_norm(cls, channels, rng):
    norm = cls(channels)
    norm.weight, norm.bias, norm.running_mean = rng.standard_normal((3, channels)).astype(np.float32)
    norm.running_var = rng.uniform(0.5, 2, channels).astype(np.float32)
    return norm


def double(model):
    """The same network in float64, so that only rounding of the sixteenth digit is left."""
    for _, layer in model.named_layers():
        for name in (*layer.parameter_names, *layer.buffer_names):
            if getattr(layer, name) is not None:
                setattr(layer, name, getattr(layer, name).astype(np.float64))
    return model


def network(name):
    """(model, paths of the layers read by the first group, what to remove of it)."""
    rng = generator()
    conv1 = Conv2d(2, 6, 3, padding=1, rng=rng)
    layers, reader, removed = {
        "conv-conv": ({"conv1": conv1, "relu": ReLU(), "conv2": Conv2d(6, 4, 3, stride=2, padding=1, rng=rng)}, "conv2", [0, 3]),
        "conv-pool-conv": ({"conv1": conv1, "pool": MaxPool2d(2), "conv2": Conv2d(6, 4, (2, 3), rng=rng)}, "conv2", [5]),
        "conv-flatten-linear": ({"conv1": conv1, "relu": ReLU(), "pool": MaxPool2d(2), "flatten": Flatten(),
                                 "fc": Linear(6 * 4 * 3, 5, rng=rng)}, "fc", [1, 2, 4]),
        "linear-linear": ({"flatten": Flatten(), "fc1": Linear(2 * 8 * 7, 9, rng=rng), "relu": ReLU(),
                           "fc2": Linear(9, 3, bias=False, rng=rng)}, "fc2", [0, 1, 7, 8]),
        "conv-norm-conv": ({"conv1": conv1, "norm": random_norm(BatchNorm2d, 6, rng), "relu": ReLU(),
                            "conv2": Conv2d(6, 4, 3, bias=False, rng=rng)}, "conv2", [2, 5]),
        "conv-frozen-conv": ({"conv1": conv1, "norm": random_norm(FrozenBatchNorm2d, 6, rng),
                              "conv2": Conv2d(6, 4, 3, rng=rng)}, "conv2", [2, 5]),
        "conv-depthwise-conv": ({"conv1": conv1, "norm1": random_norm(BatchNorm2d, 6, rng), "relu1": ReLU(),
                                 "depthwise": Conv2d(6, 6, 3, stride=2, padding=1, groups=6, bias=False, rng=rng),
                                 "norm2": random_norm(BatchNorm2d, 6, rng), "relu2": ReLU(),
                                 "conv2": Conv2d(6, 4, 1, rng=rng)}, "conv2", [0, 4]),
    }[name]
    return double(Classifier((2, 8, 7), layers)), reader, removed


NETWORKS = ["conv-conv", "conv-pool-conv", "conv-flatten-linear", "linear-linear", "conv-norm-conv", "conv-frozen-conv",
            "conv-depthwise-conv"]


class Zeroed(Layer):
    """A reader to which some channels are hidden; behind a flatten a channel is all its pixels."""

    def __init__(self, layer, channels, removed):
        self.layer, self.count, self.removed = layer, channels, removed

    def __call__(self, x):
        maps = x.reshape(len(x), self.count, -1).copy()
        for channel in self.removed:
            maps[:, channel] = 0
        return self.layer(maps.reshape(x.shape))


def zeroed(model, consumers, channels, removed):
    """The oracle: a copy of the whole network whose consumers see zeros in the removed channels."""
    model = copy.deepcopy(model)
    for path in consumers:
        model.replace_layer(path, Zeroed(model.get_layer(path), channels, removed))
    return model


def images(seed=1, count=3, shape=(2, 8, 7)):
    return generator(seed).standard_normal((count, *shape))


@pytest.mark.parametrize("name", NETWORKS)
def test_pruned_equals_zeroed(name):
    model, reader, removed = network(name)
    group, x = model.channel_groups()[0], images()
    producer = model.get_layer(group.producers[0])
    channels = len(producer.weight)
    expected, before = zeroed(model, [reader], channels, removed)(x), model(x)
    prune_group(model, group, removed)
    assert_close(model(x), expected, EXACT)
    assert np.abs(expected - before).max() > 1e-3       # what was removed did matter
    left = channels - len(removed)
    shapes = {path: array.shape for path, array in model.named_arrays()}
    assert shapes[f"{group.producers[0]}.weight"][0] == shapes[f"{group.producers[0]}.bias"][0] == left
    for path in group.followers:
        assert all(shape[0] == left for name, shape in shapes.items() if name.startswith(path))


@pytest.mark.parametrize("name", NETWORKS)
def test_left_channels_are_those_that_pruning_leaves(name):
    model, _, removed = network(name)
    group = model.channel_groups()[0]
    before = {path: layer.weight for path, layer in model.named_layers() if isinstance(layer, (Conv2d, Linear))}
    keep = np.delete(np.arange(len(before[group.producers[0]])), removed)
    outputs, inputs = left_channels(model, group, keep)
    prune_group(model, group, removed)
    for path, weight in before.items():
        rows, columns = outputs.get(path, np.arange(len(weight))), inputs.get(path, np.arange(weight.shape[1]))
        assert_array_equal(model.get_layer(path).weight, weight[rows][:, columns])


def test_squeeze_and_excitation_follows_with_its_own_channels():
    model = Sequential([InvertedResidual(4, 3, 12, 6, 5, ReLU, 1, BatchNorm2d, rng=generator())])
    (expanded,), (squeezed,) = (model.get_layer(path).inner_groups(model, path) for path in ("0", "0.block.2"))
    keep, kept = np.array([0, 3, 4, 11]), np.array([1, 2])
    outputs, inputs = left_channels(model, expanded, keep)
    makers = ("0.block.0.0", "0.block.1.0", "0.block.2.fc2")
    assert {path: list(index) for path, index in outputs.items()} == dict.fromkeys(makers, list(keep))
    assert {path: list(index) for path, index in inputs.items()} == dict.fromkeys(("0.block.3.0", "0.block.2.fc1"), list(keep))
    outputs, inputs = left_channels(model, squeezed, kept)
    assert {path: list(index) for path, index in outputs.items()} == {"0.block.2.fc1": [1, 2]}
    assert {path: list(index) for path, index in inputs.items()} == {"0.block.2.fc2": [1, 2]}


def test_layers_tell_their_new_sizes():
    model, _, removed = network("conv-depthwise-conv")
    prune_group(model, model.channel_groups()[0], removed)
    conv1, depthwise, conv2 = (model.get_layer(path) for path in ("conv1", "depthwise", "conv2"))
    assert (conv1.in_channels, conv1.out_channels, conv1.groups) == (2, 4, 1)
    assert (depthwise.in_channels, depthwise.out_channels, depthwise.groups) == (4, 4, 4)
    assert (conv2.in_channels, conv2.out_channels) == (4, 4)
    assert model.norm1.num_features == model.norm2.num_features == 4
    model, _, removed = network("linear-linear")
    prune_group(model, model.channel_groups()[0], removed)
    assert (model.fc1.in_features, model.fc1.out_features, model.fc2.in_features, model.fc2.out_features) == (112, 5, 5, 3)


def test_removing_nothing_changes_nothing():
    model, _, _ = network("conv-norm-conv")
    before = {path: array.copy() for path, array in model.named_arrays()}
    prune_group(model, model.channel_groups()[0], [], images())
    for path, array in model.named_arrays():
        if path != "conv2.bias":
            assert_array_equal(array, before[path])
    assert_array_equal(model.conv2.bias, 0)


@pytest.mark.parametrize("order", [[4, 0], np.array([0, 4]), (0, 4)], ids=["descending", "array", "tuple"])
def test_the_order_of_removal_does_not_matter(order):
    model, reader, _ = network("conv-conv")
    expected = zeroed(model, [reader], 6, [0, 4])(images())
    prune_group(model, model.channel_groups()[0], order)
    assert_close(model(images()), expected, EXACT)


@pytest.mark.parametrize("name", ["conv-conv", "linear-linear"])
def test_arrays_lie_in_memory_as_a_file_gives_them_back(name):
    """BLAS rounds otherwise in another order, and a run resumed from a file would not be bit-identical."""
    model, _, removed = network(name)
    prune_group(model, model.channel_groups()[0], removed)
    assert all(array.flags.c_contiguous for _, array in model.named_arrays())


# compensation

@pytest.mark.parametrize("name", ["conv-pool-conv", "conv-flatten-linear", "linear-linear", "conv-norm-conv", "conv-frozen-conv",
                                  "conv-depthwise-conv"])
def test_compensation_is_exact_where_the_removed_are_constant(name):
    """A filter of zeros gives its bias everywhere, and its norm and pooling another constant."""
    model, _, removed = network(name)
    if name == "conv-depthwise-conv":
        model.depthwise.padding = (0, 0)
    group = model.channel_groups()[0]
    producer = model.get_layer(group.producers[0])
    producer.weight[removed] = 0
    producer.bias[removed] = np.arange(1, len(removed) + 1)
    expected = model(images(2))
    small, plain = copy.deepcopy(model), copy.deepcopy(model)
    prune_group(small, group, removed, images(count=2))
    prune_group(plain, group, removed)
    assert_close(small(images(2)), expected, EXACT)
    assert np.abs(plain(images(2)) - expected).max() > 1e-3


def test_compensation_by_hand():
    """Channel 1 is 3 everywhere; a 1 x 2 tap of weights 2 and 5 reads it: 3 (2 + 5) = 21 more in the bias."""
    conv1, conv2 = Conv2d(1, 2, 1), Conv2d(2, 2, (1, 2))
    conv1.weight[0], conv1.bias[:] = 1, [0, 3]
    conv2.weight[0, 1], conv2.weight[1, 0], conv2.bias[:] = [2, 5], 1, [10, 20]
    model = Classifier((1, 2, 2), {"conv1": conv1, "conv2": conv2})
    prune_group(model, model.channel_groups()[0], [1], images(shape=(1, 2, 2)).astype(np.float32))
    assert_array_equal(conv2.bias, [31, 20])
    assert conv2.bias.dtype == np.float32 and conv2.weight.shape == (2, 1, 1, 2)


def test_means_for_a_linear_reader_are_taken_column_by_column():
    """Two pixels of channel 0 have the means 2 and 20; their weights 1 and 10 give 2 + 200."""
    conv, fc = Conv2d(1, 2, 1), Linear(4, 1)
    conv.weight[:, 0, 0, 0], fc.weight[0] = [1, 7], [1, 10, 100, 1000]
    model = Classifier((1, 1, 2), {"conv": conv, "flatten": Flatten(), "fc": fc})
    images = np.array([[1, 10], [3, 30]], np.float32).reshape(2, 1, 1, 2)
    prune_group(model, model.channel_groups()[0], [0], images)
    assert_array_equal(fc.bias, [202])
    assert_array_equal(fc.weight, [[100, 1000]])


def test_mean_of_the_answer_is_kept_over_the_images_of_compensation():
    model, _, removed = network("linear-linear")
    x = images(count=20)
    expected = model(x).mean(axis=0)
    prune_group(model, model.channel_groups()[0], removed, x)
    assert_close(model(x).mean(axis=0), expected, EXACT)
    assert model.fc2.bias is not None       # it had none


@pytest.mark.parametrize("name", NETWORKS)
def test_compensation_equals_the_definition(name):
    """bias + W_R mean(x_R), the mean where the reader reads: over images and pixels, or column by column."""
    model, reader_path, removed = network(name)
    reader, x = model.get_layer(reader_path), images(count=4)
    read = x
    for path, layer in model.children():
        if path == reader_path:
            break
        read = layer(read)
    columns = read.shape[1] // len(model.get_layer(model.channel_groups()[0].producers[0]).weight)
    expected = np.zeros(len(reader.weight)) if reader.bias is None else reader.bias.copy()
    for o in range(len(expected)):
        for channel in removed:
            for c in range(channel * columns, (channel + 1) * columns):
                expected[o] += reader.weight[o, c].sum() * read[:, c].mean()
    weight = reader.weight.copy()
    compensate(model, model.channel_groups()[0], removed, x)
    assert model.get_layer(reader_path) is reader
    assert_close(reader.bias, expected, EXACT)
    assert_array_equal(reader.weight, weight)


# groups that are no chain

class Fork(Layer):
    """relu(a(x) + b(x)) read by a convolution and by a linear layer: two producers, two consumers."""

    input_shape = (2, 8, 7)

    def __init__(self, rng):
        self.a, self.b = Conv2d(2, 5, 3, padding=1, rng=rng), Conv2d(2, 5, 1, bias=False, rng=rng)
        self.relu, self.head, self.flatten, self.fc = ReLU(), Conv2d(5, 3, 3, rng=rng), Flatten(), Linear(5 * 8 * 7, 4, rng=rng)

    def __call__(self, x):
        x = self.relu(self.a(x) + self.b(x))
        return np.concatenate([self.head(x).reshape(len(x), -1), self.fc(self.flatten(x))], axis=1)

    def channel_groups(self):
        return [ChannelGroup(("a", "b"), (), (("head", 1), ("fc", 56)))]


def test_two_producers_and_two_readers():
    model = double(Fork(generator()))
    group, x = model.channel_groups()[0], images()
    weight = group_weight(model, group)
    assert weight.shape == (5, 2 * 9 + 2)
    assert_array_equal(weight[3], [*model.a.weight[3].ravel(), *model.b.weight[3].ravel()])
    expected = zeroed(model, ["head", "fc"], 5, [1, 3])(x)
    prune_group(model, group, [1, 3])
    assert_close(model(x), expected, EXACT)
    assert model.b.bias is None and model.fc.in_features == 3 * 56


def test_a_convolution_in_groups_is_refused():
    rng = generator()
    grouped = Conv2d(4, 8, 3, groups=2, rng=rng)
    model = Classifier((2, 8, 7), {"conv1": Conv2d(2, 4, 1, rng=rng), "conv2": grouped, "conv3": Conv2d(8, 2, 1, rng=rng)})
    for group, words in ((ChannelGroup(("conv1",), ("conv2",), ()), "expected a depthwise convolution"),
                         (ChannelGroup(("conv1",), (), (("conv2", 1),)), "groups=1"),
                         (ChannelGroup(("conv2",), (), (("conv3", 1),)), "groups=1")):
        with pytest.raises(ValueError, match=words):
            prune_group(model, group, [0])
    assert grouped.weight.shape == (8, 2, 3, 3)


def test_is_linear():
    model, _, _ = network("conv-flatten-linear")
    assert not is_linear(model, model.channel_groups()[0])
    model, _, _ = network("linear-linear")
    assert is_linear(model, model.channel_groups()[0])


@st.composite
def chains(draw):
    """A Chain of random widths, kernels and norms, and what to remove of every group."""
    rng, channels, layers = generator(draw(st.integers(0, 99))), draw(st.integers(1, 3)), []
    shape = channels, draw(st.integers(7, 9)), draw(st.integers(7, 9))
    for _ in range(draw(st.integers(1, 3))):
        width, kernel = draw(st.integers(2, 5)), (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        layers.append(Conv2d(channels, width, kernel, draw(st.integers(1, 2)), padding=1, bias=draw(st.booleans()), rng=rng))
        if draw(st.booleans()):
            layers.append(random_norm(BatchNorm2d, width, rng))
        layers.append(ReLU())
        if draw(st.booleans()):
            layers.append(Conv2d(width, width, 3, padding=1, groups=width, rng=rng))
        channels = width
    layers += [AvgPool2d(2, ceil_mode=True), Flatten()]
    x = np.zeros((1, *shape), np.float32)
    for layer in layers:
        x = layer(x)
    hidden = draw(st.integers(2, 5))
    layers += [Linear(x.shape[1], hidden, rng=rng), ReLU(), Linear(hidden, 3, rng=rng)]
    model = double(Classifier(shape, layers))
    widths = [len(group_weight(model, group)) for group in model.channel_groups()]
    return model, [draw(st.lists(st.integers(0, width - 1), max_size=width - 1, unique=True)) for width in widths]


@given(chains())
@settings(deadline=None, max_examples=40, derandomize=True)
def test_any_chain_stays_consistent(case):
    model, removed = case
    x, groups = images(shape=model.input_shape), model.channel_groups()
    oracle = model
    for group, gone in zip(groups, removed):
        oracle = zeroed(oracle, [path for path, _ in group.consumers], len(model.get_layer(group.producers[0]).weight), gone)
    expected = oracle(x)
    for group, gone in zip(groups, removed):
        prune_group(model, group, gone)
    assert_close(model(x), expected, 1e-11)     # up to nine layers one after the other
    y, pullback = model.vjp(x)
    assert pullback(np.ones_like(y)).shape == x.shape       # it can still be trained
    assert all(path in dict(model.named_gradients()) for path, _ in model.named_parameters())


# choice

def test_choose_takes_the_least_of_those_allowed():
    weight = np.array([[5.0], [1], [4], [2], [3]])
    assert_array_equal(select_filters(weight, 2, "statistics", None), [1, 3])
    assert_array_equal(select_filters(weight, 2, "l1", None, [0, 2, 4]), [2, 4])
    assert_array_equal(select_filters(weight, 0, "l1", None), [])
    assert_array_equal(select_filters(np.ones((4, 2)), 2, "fpgm", None), [0, 1])       # of equals the first


def test_random_choice_comes_from_the_generator():
    weight = np.ones((50, 3))
    a, b, c = (select_filters(weight, 10, "random", generator(seed)) for seed in (0, 0, 1))
    assert_array_equal(a, b)
    assert len(set(a)) == 10 and sorted(a) == list(a) and list(a) != list(c)


@pytest.mark.parametrize("reader", [Conv2d(6, 4, 1, bias=False, rng=generator()), Linear(6, 4, rng=generator())], ids=["conv", "linear"])
def test_removed_channels_are_folded_into_those_they_depend_on(reader):
    reader, rng = copy.deepcopy(reader), generator(1)
    rows = rng.standard_normal((500, 6)) + 2
    rows[:, 4], rows[:, 1] = 3 * rows[:, 0] - rows[:, 2] + 1, 5
    inputs = InputMoments()
    inputs.add(rows, 6)
    x = rows.astype(np.float32).reshape(-1, 6, *(1, 1) * (reader.weight.ndim == 4))
    before = reader(x)
    assert lost_share(reader, [1, 4], inputs) < 1e-4 < 0.01 < lost_share(reader, [3], inputs)
    fold_into_kept(reader, [1, 4], inputs)
    reader.weight[:, [1, 4]] = 0
    assert_allclose(reader(x), before, atol=1e-3 * np.abs(before).max())


def test_what_goes_with_channels_is_told_by_the_weights_alone_where_nothing_is_known():
    reader = Conv2d(6, 4, 3, rng=generator())
    gone = (reader.weight[:, [2, 5]].astype(np.float64) ** 2).sum() / (reader.weight.astype(np.float64) ** 2).sum()
    inputs = InputMoments()
    inputs.add(generator().standard_normal((50, 6)), False)              # means alone
    assert lost_share(reader, [2, 5], None) == pytest.approx(gone)
    assert lost_share(reader, [2, 5], inputs) == pytest.approx(gone)
    filters, bias = reader.weight.astype(np.float64), reader.bias.astype(np.float64)
    fold_into_kept(reader, [2, 5], inputs)
    assert_allclose(reader.weight, filters)
    assert_allclose(reader.bias, bias + filters[:, [2, 5]].sum(axis=(2, 3)) @ inputs.mean[[2, 5]], rtol=1e-5)

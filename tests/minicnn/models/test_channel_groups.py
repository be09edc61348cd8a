"""Which channels of a chain belong together."""

import numpy as np

from minicnn.compression.channels import prune_group
from minicnn.layers import BatchNorm2d, BlockLinear, Conv2d, Dropout, Flatten, FrozenBatchNorm2d, Linear, MaxPool2d, ReLU, Sequential
from minicnn.models.channel_groups import ChannelGroup
from minicnn.models.classifier import Classifier


def test_norms_and_depthwise_convolutions_follow_their_producer():
    model = Classifier((3, 12, 12), {
        "stem": Conv2d(3, 8, 3, padding=1, bias=False), "norm0": BatchNorm2d(8), "relu0": ReLU(),
        "depthwise": Conv2d(8, 8, 3, stride=2, padding=1, groups=8), "norm1": FrozenBatchNorm2d(8), "relu1": ReLU(),
        "pointwise": Conv2d(8, 6, 1), "norm2": BatchNorm2d(6), "pool": MaxPool2d(2),
        "flatten": Flatten(), "drop": Dropout(), "fc1": Linear(6 * 9, 5), "relu2": ReLU(), "fc2": Linear(5, 2)})
    assert model.channel_groups() == [
        ChannelGroup(("stem",), ("norm0", "depthwise", "norm1"), (("pointwise", 1),)),
        ChannelGroup(("pointwise",), ("norm2",), (("fc1", 9),)),
        ChannelGroup(("fc1",), (), (("fc2", 1),))]
    assert model.input_shape == (3, 12, 12)


def test_nested_layers_have_dotted_paths():
    model = Classifier((1, 4, 4), {"features": Sequential([Conv2d(1, 2, 3), BatchNorm2d(2), ReLU()]), "flatten": Flatten(),
                              "classifier": Linear(8, 3)})
    assert model.channel_groups() == [ChannelGroup(("features.0",), ("features.1",), (("classifier", 4),))]


def test_the_last_layer_is_no_producer_and_norms_before_the_first_are_no_followers():
    assert Classifier((3, 4, 4), [BatchNorm2d(3), Conv2d(3, 2, 1)]).channel_groups() == []
    model = Classifier((3, 4, 4), [BatchNorm2d(3), Conv2d(3, 3, 1, groups=3), Conv2d(3, 2, 1), ReLU(), Conv2d(2, 2, 1)])
    assert model.channel_groups() == [ChannelGroup(("2",), (), (("4", 1),))]


def test_groups_are_those_of_the_layers_as_they_now_are():
    model = Classifier((1, 4, 4), {"conv": Conv2d(1, 2, 1), "flatten": Flatten(), "fc": Linear(32, 3)})
    model.replace_layer("conv", Conv2d(1, 4, 3))
    model.replace_layer("fc", Linear(16, 3))
    assert model.channel_groups() == [ChannelGroup(("conv",), (), (("fc", 4),))]


def test_channels_pass_where_their_pixels_are_mixed():
    model = Classifier((1, 4, 4), {"conv": Conv2d(1, 2, 1), "flatten": Flatten(), "fc": Sequential([BlockLinear(16, 5), Linear(10, 3)])})
    (only,) = model.channel_groups()
    assert only == ChannelGroup(("conv",), ("fc.0",), (("fc.1", 5),))
    prune_group(model, only, [0])
    assert model(np.zeros((2, 1, 4, 4), np.float32)).shape == (2, 3) and model.get_layer("fc.1").in_features == 5

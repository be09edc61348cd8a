"""Tracing: which operations are recorded, and which networks no plan can hold."""

import numpy as np
import pytest
from small_networks import Composite, block, conv, draw, gated, norm, plain, pyramid

from minicnn import functional as F
from minicnn.detection.backbone import BackboneWithFPN, SingleMapBackbone
from minicnn.detection.fpn import FeaturePyramidNetwork
from minicnn.detection.roi_heads import FastRCNNPredictor, TwoMLPHead, conv_fc_head
from minicnn.detection.rpn import RPNHead
from minicnn.functional import dispatch
from minicnn.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    BlockLinear,
    Dropout,
    Flatten,
    Hardswish,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
)
from minicnn.models.mobilenet import InvertedResidual, MobileNetV3Large
from minicnn.models.resnet import Bottleneck, ResNet50
from minicnn.trace import Operation, Untraceable, trace

IMAGE = (2, 13, 9, 7)
CONV_NORM_RELU = ["conv2d", "batch_norm", "relu"]
CONV_NORM = CONV_NORM_RELU[:2]


def kinds(network, *shapes):
    """The kinds of the recorded operations, in order."""
    return [operation.kind for operation in trace(network, list(shapes))[0]]


def described(result, of):
    """A network's result with ``of(part)`` in place of each array or operation."""
    return [described(part, of) for part in result] if isinstance(result, (list, tuple)) else of(result)


# network, input shapes, kinds of its operations after the inputs
COMPOSITES = {
    "chain": (Sequential([block(13, 5), MaxPool2d(2), Dropout(0.5), Flatten(), Linear(5 * 3 * 2, 4), Hardswish()]), [IMAGE],
              [*CONV_NORM_RELU, "max_pool2d", "flatten", "linear", "hardswish"]),
    "bottleneck": (Bottleneck(8, 2, 1, BatchNorm2d), [(1, 8, 5, 6)], [*CONV_NORM_RELU, *CONV_NORM_RELU, *CONV_NORM, "add", "relu"]),
    "bottleneck that shrinks": (Bottleneck(6, 2, 2, BatchNorm2d), [(1, 6, 5, 6)],
                                [*CONV_NORM_RELU, *CONV_NORM_RELU, *CONV_NORM, *CONV_NORM, "add", "relu"]),
    "inverted residual": (InvertedResidual(4, 5, 6, 4, 2, ReLU, 1, BatchNorm2d), [(1, 4, 7, 6)], [
        *CONV_NORM_RELU, *CONV_NORM_RELU, "mean", "conv2d", "relu", "conv2d", "hardsigmoid", "multiply", *CONV_NORM, "add"]),
    "squeeze and excitation": (gated(13, 3), [IMAGE], ["mean", "conv2d", "relu", "conv2d", "hardsigmoid", "multiply"]),
    "pyramid": (pyramid(3, 5), [(1, 3, 8, 6), (1, 5, 4, 3)], ["conv2d", "conv2d", "conv2d", "resize", "add", "conv2d", "view"]),
    "RPN head": (RPNHead(13, 3), [IMAGE], ["conv2d", "relu", "conv2d", "view", "conv2d", "view", "view", "view"]),
    "box head": (TwoMLPHead(3, 4, 5), [(6, 3, 4, 4)], ["flatten", "linear", "relu", "linear", "relu"]),
    "convolutional box head": (conv_fc_head(3, 4, 5, BatchNorm2d), [(6, 3, 4, 4)], [*4 * CONV_NORM_RELU, "flatten", "linear", "relu"]),
    "mixed pixels": (Sequential([Flatten(), BlockLinear(20, 3), Linear(4 * 3, 5)]), [(6, 4, 5, 4)], ["linear_blocks", "flatten", "linear"]),
    "predictor": (FastRCNNPredictor(5, 3), [(6, 5)], ["linear", "linear"]),
    "one map": (SingleMapBackbone([conv(3, 4), ReLU()]), [(1, 3, 8, 6)], ["conv2d", "relu"]),
    "means of one pixel": (Sequential([conv(13, 4, 1), AdaptiveAvgPool2d(IMAGE[2:]), Flatten()]), [IMAGE], ["conv2d", "flatten"]),
    "several inputs": (Composite(lambda x, y, z: x + y + z), [IMAGE] * 3, ["add", "add"]),
}
each_composite = pytest.mark.parametrize("network, shapes, expected", COMPOSITES.values(), ids=COMPOSITES)


@each_composite
def test_operations_are_noted_in_the_order_they_are_asked_for(network, shapes, expected):
    assert kinds(network, *shapes) == ["input"] * len(shapes) + expected


@each_composite
def test_shapes_are_those_of_the_arrays(network, shapes, expected):
    arrays = plain(network, *(draw(*shape) for shape in shapes))
    assert described(trace(network, shapes)[1], lambda operation: operation.shape) == described(arrays, np.shape)


@pytest.mark.parametrize("body, channels", [(ResNet50, (256, 512, 1024, 2048)), (MobileNetV3Large, (160, 960))],
                         ids=lambda one: getattr(one, "__name__", ""))
def test_whole_backbones_are_traced(body, channels):
    backbone = BackboneWithFPN(body(BatchNorm2d), FeaturePyramidNetwork(channels, 256))
    operations, result = trace(backbone, [(1, 3, 65, 97)])
    layers = [layer for _, layer in backbone.named_layers() if hasattr(layer, "weight")]
    assert len([one for one in operations if "weight" in one.attributes]) == len(layers)
    assert [one.shape for one in result] == [x.shape for x in plain(backbone, np.zeros((1, 3, 65, 97), np.float32))]


def test_operations_know_what_they_read_and_the_layers_own_arrays():
    network = Sequential([conv(13, 5, 3, 2, 1, seed=1), norm(5), MaxPool2d(3, 2, 1, True)])
    (x, y, normed, pooled), result = trace(network, [IMAGE])
    layer, after = network.get_layer("0"), network.get_layer("1")
    assert result is pooled and (pooled.inputs, normed.inputs, y.inputs, x.inputs) == ([normed], [y], [x], [])
    assert y.attributes == {"weight": layer.weight, "bias": layer.bias, "stride": (2, 2), "padding": (1, 1), "dilation": (1, 1),
                            "groups": 1}
    assert normed.attributes["mean"] is after.running_mean and normed.attributes["eps"] == after.eps
    assert pooled.attributes == {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)}
    assert [one.shape for one in (x, y, normed, pooled)] == [IMAGE, (2, 5, 5, 4), (2, 5, 5, 4), (2, 5, 3, 3)]
    assert all(isinstance(one, Operation) and one.activation is None for one in (x, y))


def test_the_result_has_the_form_of_the_networks():
    x, y = conv(13, 5), conv(13, 4, seed=1)
    _, (first, [second]) = trace(Composite(lambda a, b, x: (a(x), [b(x)]), x, y), [IMAGE])
    assert (first.shape[1], second.shape[1]) == (5, 4)


def test_flatten_twice_is_flatten_once():
    assert kinds(Sequential([Flatten(), Flatten(), Flatten()]), IMAGE) == ["input", "flatten"]


def test_a_layer_used_twice_is_two_operations():
    relu = ReLU()
    assert kinds(Sequential([relu, conv(13, 5), relu]), IMAGE) == ["input", "relu", "conv2d", "relu"]


REFUSED = {             # name: (function of x, part of the message)
    "a function of NumPy": (lambda x: np.maximum(x, 0), "Symbol"),
    "an array on the left": (lambda x: draw(*IMAGE) + x, "."),
    "an array on the right": (lambda x: x + draw(*IMAGE), "sum"),
    "a number": (lambda x: 2 * x, "Symbol"),
    "numbers of the array": (lambda x: np.asarray(x), "an array was asked for"),
    "its memory": (lambda x: F.relu(x) if x.strides else x, "Symbol"),
    "a decision by its values": (lambda x: F.relu(x) if x.max() > 0 else x, "Symbol"),
    "one image": (lambda x: x[0], "slice"),
    "some channels": (lambda x: x[:, :3], "slice"),
    "some images": (lambda x: x[:1, :, :, :], "slice"),
    "an index": (lambda x: x[:, :, 0, :], "slice"),
    "images one by one": (lambda x: [F.relu(one) for one in x], "slice"),
    "the batch last": (lambda x: x.transpose(1, 2, 3, 0), "batch"),
    "the batch reversed": (lambda x: x.transpose(), "batch"),
    "the batch flat": (lambda x: x.reshape(-1, 7), "batch"),
    "a broadcast sum": (lambda x: x + F.adaptive_avg_pool2d(x, 1), "sum"),
    "a broadcast product": (lambda x: x * x, "product"),
    "the sum of columns": (lambda x: x.sum(axis=3), "Symbol"),
    "average pooling": (lambda x: F.avg_pool2d(x, 2), "avg_pool2d"),
    "several bins": (lambda x: F.adaptive_avg_pool2d(x, 2), "adaptive"),
    "bilinear resizing": (lambda x: F.interpolate(x, (4, 4), "bilinear"), "bilinear"),
    "indices of max pooling": (lambda x: F.max_pool2d(x, 2), "indices"),
    "a sigmoid": (F.sigmoid, "sigmoid"),
    "a backward operation": (lambda x: F.relu_backward(x, x), "relu_backward"),
    "no array returned": (lambda x: None, "NoneType"),
    "an array of its own": (lambda x: draw(3), "ndarray"),
    "a dictionary": (lambda x: {"map": F.relu(x)}, "dict"),
}


@pytest.mark.parametrize("function, reason", REFUSED.values(), ids=REFUSED)
def test_what_no_plan_can_hold_is_refused(function, reason):
    with pytest.raises(Untraceable, match=reason):
        trace(Composite(function), [IMAGE])


@pytest.mark.parametrize("layer", [AvgPool2d(2), AdaptiveAvgPool2d(7), Sigmoid()], ids=lambda layer: layer.kind)
def test_layers_that_no_plan_can_hold_are_refused(layer):
    with pytest.raises(Untraceable):
        trace(Sequential([conv(13, 5), layer]), [IMAGE])


@pytest.mark.parametrize("network, shape", [
    (conv(12, 5), IMAGE), (conv(13, 5, 10), IMAGE), (conv(13, 5), (3, 13)), (MaxPool2d(10), IMAGE), (Linear(13, 2), IMAGE),
    (Linear(12, 2), (3, 13))], ids=str)
def test_shapes_that_do_not_fit_are_refused_so_that_the_layers_report_what_is_wrong(network, shape):
    with pytest.raises(Untraceable):
        trace(network, [shape])
    with pytest.raises(ValueError, match="got|expected") as expected:
        plain(network, draw(*shape))
    with pytest.raises(ValueError) as caught:
        dispatch.run(network, draw(*shape))
    assert str(caught.value) == str(expected.value)


@pytest.mark.parametrize("error", [None, Untraceable, KeyError])
def test_the_backend_in_use_is_back_after_tracing(error):
    def function(x):
        assert dispatch.backend() == "trace"
        if error:
            raise error("no")
        return F.relu(x)
    with dispatch.use("reference"):
        try:
            trace(Composite(function), [IMAGE])
            assert not error
        except (Untraceable, KeyError):
            assert error
        assert dispatch.backend() == "reference" and F.relu(np.float32([-1, 2])).tolist() == [0, 2]


def test_a_network_may_ask_for_shapes():
    def function(x):
        n, c, h, w = x.shape
        assert (len(x), x.ndim) == (2, 4)
        return F.relu(x).reshape(n, c, h * w), F.relu(x).reshape(n, -1, w), F.relu(x).transpose(0, 3, 1, 2)[:, :, ::2, 1:]
    _, result = trace(Composite(function), [IMAGE])
    assert [one.shape for one in result] == [(2, 13, 63), (2, 117, 7), (2, 7, 7, 8)]

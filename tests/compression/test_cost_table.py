"""Costs by hand and by formula."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import minicnn
from minicnn.compression import cost_table as module
from minicnn.compression.channels import map_pixels
from minicnn.compression.cost_table import cost_table
from minicnn.compression.low_rank import LowRank
from minicnn.detection.faster_rcnn import FasterRCNN
from minicnn.layers import BatchNorm2d, Conv2d, Flatten, FrozenBatchNorm2d, Linear, MaxPool2d, ReLU
from minicnn.models.classifier import Classifier
from minicnn.trace import Untraceable


def rows(sizes, key):
    return {row["path"]: row[key] for row in sizes["layers"]}


@pytest.mark.parametrize("name, parameters, macs", [
    ("lenet5", {"conv1": 156, "conv2": 2416, "fc1": 48120, "fc2": 10164, "fc3": 850},
     {"conv1": 28 * 28 * 6 * 25, "conv2": 10 * 10 * 16 * 6 * 25, "fc1": 400 * 120, "fc2": 120 * 84, "fc3": 840}),
    ("lenet5_caffe", {"conv1": 520, "conv2": 25050, "fc1": 400500, "fc2": 5010},
     {"conv1": 24 * 24 * 20 * 25, "conv2": 8 * 8 * 50 * 20 * 25, "fc1": 800 * 500, "fc2": 5000}),
])
def test_lenets_by_hand(name, parameters, macs):
    sizes = cost_table(minicnn.build(name), (1, 28, 28))
    assert rows(sizes, "parameters") == parameters and rows(sizes, "macs") == macs
    assert sizes["parameters"] == sum(parameters.values()) == {"lenet5": 61706, "lenet5_caffe": 431080}[name]
    assert sizes["macs"] == sum(macs.values()) == {"lenet5": 416520, "lenet5_caffe": 2293000}[name]
    assert sizes["bytes"] == 4 * sizes["parameters"]
    assert sizes["convolution_parameters"] == parameters["conv1"] + parameters["conv2"]
    assert sizes["linear_parameters"] == sizes["parameters"] - sizes["convolution_parameters"]


def test_a_row_tells_shapes_in_plain_numbers():
    row = cost_table(minicnn.build("lenet5"), (1, 28, 28))["layers"][1]
    assert row == {"path": "conv2", "kind": "Conv2d", "weight": [16, 6, 5, 5], "inputs": [[6, 14, 14]],
                   "output": [16, 10, 10], "parameters": 2416, "macs": 240000, "bytes": 9664}
    assert all(type(number) is int for number in (row["macs"], row["parameters"], *row["weight"], *row["output"]))


@pytest.mark.parametrize("kernel, stride, padding, dilation, groups, out", [
    (3, 1, 0, 1, 1, (7, 9)), (3, 2, 1, 1, 1, (5, 6)), ((1, 5), (2, 1), (0, 2), 1, 1, (5, 11)), (3, 1, 2, 2, 2, (9, 11)),
    (3, 1, 1, 1, 4, (9, 11))], ids=["plain", "stride", "oblong", "groups", "depthwise"])
@pytest.mark.parametrize("bias", [True, False])
def test_convolution_by_formula(kernel, stride, padding, dilation, groups, out, bias):
    sizes = cost_table(Classifier((4, 9, 11), {"conv": Conv2d(4, 8, kernel, stride, padding, dilation, groups, bias)}), (4, 9, 11))
    kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    taps = 8 * (4 // groups) * kh * kw
    assert sizes["macs"] == taps * out[0] * out[1]
    assert sizes["parameters"] == sizes["convolution_parameters"] == taps + 8 * bias
    assert sizes["layers"][0]["output"] == [8, *out]


@pytest.mark.parametrize("norm, trained", [(BatchNorm2d, 6), (FrozenBatchNorm2d, 0)])
def test_norms_weigh_but_do_not_multiply(norm, trained):
    layers = {"conv": Conv2d(1, 3, 2), "norm": norm(3), "relu": ReLU(), "pool": MaxPool2d(2), "flatten": Flatten(),
              "fc": Linear(3, 2)}
    sizes = cost_table(Classifier((1, 3, 3), layers), (1, 3, 3))
    assert list(rows(sizes, "macs").values()) == [3 * 4 * 4, 6]
    assert sizes["parameters"] == 15 + trained + 8
    assert sizes["bytes"] == 4 * (15 + 12 + 8)          # buffers too


def test_the_model_is_left_as_it_was():
    model = minicnn.build("lenet5", rng=np.random.default_rng(0))
    layers, arrays = list(model.named_layers()), {path: array.copy() for path, array in model.named_arrays()}
    first, second = cost_table(model, (1, 28, 28)), cost_table(model, (1, 28, 28))
    assert first == second
    assert list(model.named_layers()) == layers          # the very same objects, in the same order
    for path, array in model.named_arrays():
        assert_array_equal(array, arrays[path])
    assert not model.training and not any(layer.gradients for _, layer in layers)


def test_multiplications_depend_on_the_image():
    model = Classifier((1, 8, 8), {"conv": Conv2d(1, 2, 3, padding=1)})
    assert [cost_table(model, (1, side, side))["macs"] for side in (8, 16)] == [18 * 64, 18 * 256]


def test_what_repeats_is_counted_so_often():
    """As a box head, which runs on every proposal; its path counts, not another that begins alike."""
    model = Classifier((1, 4, 4), {"body": Conv2d(1, 2, 3), "head": Classifier((2, 2, 2), {"conv": Conv2d(2, 3, 1), "flatten": Flatten(),
                                                                                 "fc": Linear(12, 5)}), "header": Linear(5, 2)})
    once = rows(cost_table(model, (1, 4, 4)), "macs")
    assert once == {"body": 18 * 4, "head.conv": 6 * 4, "head.fc": 60, "header": 10}
    model.repeats = {"head": 300}
    sizes = cost_table(model, (1, 4, 4))
    assert rows(sizes, "macs") == {**once, "head.conv": 300 * 24, "head.fc": 300 * 60}
    assert sizes["macs"] == 72 + 300 * 84 + 10


def test_a_detector_counts_its_box_head_for_each_proposal_it_may_have():
    """The number depends on settings alone: not on the weights, and not on what was proposed."""
    counts = []
    for rng in (None, np.random.default_rng(0)):
        model = minicnn.build("fasterrcnn_mobilenet_v3_large_320_fpn", num_classes=3, box_head_width=4, min_size=64,
                              rpn_post_nms_top_n_test=7, rng=rng)
        sizes = cost_table(model, model.input_shape)                    # 64 x 85, padded to 64 x 96
        counts.append(rows(sizes, "macs"))
    assert counts[0] == counts[1]
    assert model.input_shape == (3, 64, 85)
    assert counts[0]["backbone.body.0.0"] == 32 * 48 * 16 * 27
    assert counts[0]["backbone.body.13.block.2.fc1"] == 672 * 168                 # squeeze-and-excitation has one pixel
    assert counts[0]["rpn.head.cls_logits"] == (2 * 3 + 2 * 3 + 1 * 2) * 256 * 15      # three maps
    assert {path: count for path, count in counts[0].items() if path.startswith("roi_heads.")} == {
        "roi_heads.box_head.fc6": 7 * 4 * 256 * 49, "roi_heads.box_head.fc7": 7 * 16,
        "roi_heads.box_predictor.cls_score": 7 * 12, "roi_heads.box_predictor.bbox_pred": 7 * 48}


@pytest.mark.parametrize("name, size", [
    pytest.param("fasterrcnn_vgg16", 65, marks=pytest.mark.slow), ("fasterrcnn_resnet50_fpn", 64), ("fasterrcnn_resnet50_fpn_v2", 64),
    ("fasterrcnn_mobilenet_v3_large_320_fpn", 65)])
def test_a_detectors_costs_are_those_of_running_it_and_it_is_not_run(name, size, monkeypatch):
    model = minicnn.build(name, rng=np.random.default_rng(0), num_classes=3, min_size=size, box_head_width=16)
    if name == "fasterrcnn_vgg16":                      # decomposed, by Tucker, along pixels and by SVD
        pixels = map_pixels(model)
        assert "roi_heads.box_head.fc6" in pixels
        for path in ("backbone.14", "roi_heads.box_head.fc6", "roi_heads.box_head.fc7"):
            model.replace_layer(path, LowRank(model.get_layer(path), pixels=pixels.get(path, 1)).layers((8, 8)))

    def untraceable(*args):
        raise Untraceable
    with monkeypatch.context() as patch:
        patch.setattr(module, "run_on_symbols", untraceable)
        ran = cost_table(model, model.input_shape)
    monkeypatch.setattr(FasterRCNN, "__call__", lambda *args: pytest.fail("ran"))
    assert cost_table(model, model.input_shape) == ran


def test_a_network_that_computes_by_itself_is_run():
    class Doubled(Conv2d):
        def __call__(self, x):
            return super().__call__(np.repeat(x, 2, axis=1))
    sizes = cost_table(Classifier((2, 5, 5), {"conv": Doubled(4, 3, 3), "flatten": Flatten(), "fc": Linear(27, 2)}), (2, 5, 5))
    assert rows(sizes, "macs") == {"conv": 3 * 3 * 3 * 3 * 3 * 4, "fc": 54}

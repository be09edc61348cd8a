"""The heads' first weights have torchvision's distributions."""

import math

import numpy as np
import pytest

import minicnn
from minicnn.detection.training.weight_init import convolutions, init_weights


@pytest.mark.parametrize("architecture, parts", [
    ("fasterrcnn_vgg16", {"rpn.head": 3}), ("fasterrcnn_mobilenet_v3_large_fpn", {"rpn.head": 3, "backbone.fpn": 4}),
    ("fasterrcnn_resnet50_fpn_v2", {"rpn.head": 4, "backbone.fpn": 8, "roi_heads.box_head": 4})])
def test_distributions(architecture, parts):
    model = minicnn.build(architecture, rng=np.random.default_rng(0), num_classes=3, box_head_width=8)
    before = {name: array.copy() for name, array in model.named_arrays()}
    init_weights(model, np.random.default_rng(1))
    changed = {name.rpartition(".")[0] for name, array in model.named_arrays() if not np.array_equal(array, before[name])}
    assert len(changed) == sum(parts.values())
    for part, count in parts.items():
        assert len(convolutions(model.get_layer(part))) == count
        for conv in convolutions(model.get_layer(part)):
            o, i, kh, kw = conv.weight.shape
            std = {"rpn.head": 0.01, "backbone.fpn": 1 / math.sqrt(i * kh * kw), "roi_heads.box_head": math.sqrt(2 / (o * kh * kw))}[part]
            assert abs(conv.weight.std() / std - 1) < 5 / math.sqrt(conv.weight.size) and abs(conv.weight.mean()) < std / 10
            assert conv.weight.dtype == np.float32 and (conv.bias is None or not conv.bias.any())
            if part == "backbone.fpn":
                assert np.abs(conv.weight).max() <= math.sqrt(3) * std

"""The networks have what compression needs of them."""

import numpy as np
import pytest

import minicnn
from minicnn.models.protocol import Compressible, CompressibleDetector


def members(protocol):
    """The names of a protocol's own methods, properties and attributes."""
    return {name for name in (*vars(protocol), *protocol.__annotations__) if not name.startswith("_")}


@pytest.mark.parametrize("architecture, task, protocols", [
    ("lenet5", "classification", [Compressible]), ("vgg16", "classification", [Compressible]),
    ("fasterrcnn_mobilenet_v3_large_320_fpn", "detection", [Compressible, CompressibleDetector])])
def test_networks_fulfil_their_protocols(architecture, task, protocols):
    model = minicnn.build(architecture)
    assert model.task == task
    for protocol in protocols:
        missing = [name for name in members(protocol) if not hasattr(model, name)]
        assert members(protocol) and missing == []


def test_a_classifier_runs_every_layer_once():
    model = minicnn.build("lenet5")
    assert model.repeats == {} and model(np.zeros((1, *model.input_shape), np.float32)).shape == (1, 10)

"""Networks that end inside another one: what a layer reads, where they start and stop."""

import numpy as np
import pytest
from calibration_cases import MAPS, generator, images
from numeric_checks import BACKENDS
from numpy.testing import assert_allclose
from toy_detector import toy_detector

from minicnn.compression.recording import LayerInputs, relu_followed
from minicnn.functional.dispatch import use
from minicnn.hooks import watch
from minicnn.layers import Conv2d, Layer


@pytest.fixture(scope="module")
def model():
    return toy_detector(rng=generator(), min_size=96, max_size=128)


def test_nothing_is_known_about_a_network_that_cannot_be_traced(model):
    assert relu_followed(model, lambda x: x.sum(), np.zeros((1, 3, 32, 32), np.float32)) == set()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("path", MAPS)
def test_the_network_stops_at_the_layer(model, path, backend):
    with use(backend):
        pixels, outputs = model.prepare(images()[0]).pixels, []
        with watch(model, {path: lambda x, y: outputs.append(y)}):
            found = LayerInputs(model, path, 1, model.backbone_and_rpn)(pixels)
            assert not outputs
        expected = []
        with watch(model, {path: lambda x, y: expected.append(x)}):
            model.backbone_and_rpn(pixels)
    assert len(found) == len(expected) == 1
    assert_allclose(found[0], expected[0], atol=1e-4 * np.abs(expected[0]).max())
    assert model.get_layer(path).kind == "Conv2d"


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_network_starts_at_an_earlier_layer(model, backend):
    with use(backend):
        pixels = model.prepare(images()[0]).pixels
        held, = LayerInputs(model, "backbone.3", 1, model.backbone_and_rpn)(pixels)
        reader = LayerInputs(model, "rpn.head.cls_logits", 1, model.backbone_and_rpn, "backbone.3")
        expected, = LayerInputs(model, "rpn.head.cls_logits", 1, model.backbone_and_rpn)(pixels)
        found, = reader(np.zeros_like(pixels), held)
        assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
        assert reader.needs_start_only(pixels.shape, held.shape)


def test_a_skip_connection_still_needs_the_first_input():
    model = BasicBlock()
    through = model.__call__
    x = generator().standard_normal((1, 4, 6, 6)).astype(np.float32)
    assert not LayerInputs(model, "last", 1, through, "inside").needs_start_only(x.shape, x.shape)
    assert LayerInputs(model, "inside", 1, through, "first").needs_start_only(x.shape, x.shape)


class BasicBlock(Layer):
    """x + a convolution of it, between two others."""

    def __init__(self):
        self.first, self.inside, self.last = (Conv2d(4, 4, 3, padding=1, rng=generator()) for _ in range(3))

    def __call__(self, x):
        x = self.first(x)
        return self.last(x + self.inside(x))


def test_all_inputs_of_several_calls(model):
    x = model.backbone_and_rpn(model.prepare(images()[0]).pixels)[0][0]

    def twice(x):
        return model.rpn.head(x), model.rpn.head(x)
    assert len(LayerInputs(model, "rpn.head.cls_logits", 2, twice)(x)) == 2

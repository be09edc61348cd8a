"""The losses and gradients of whole detectors against torchvision's, for a fixed sampling.

A gradient jumps where the input of a ReLU passes zero or two pixels of a pooling change places. Between millions of those some lie within
float32's rounding of it, so that torchvision's own gradients in float32 are up to 8 % from its own in float64. So whole networks are
compared in float64, from the same pixels on; what a user trains, in float32, where it has no such depth: conv5 and heads of the real
detector.
"""

import numpy as np
import pytest
from training_case import DETECTORS, in_float64, ours, scaled, training_case
from voc import WEIGHTS

from minicnn.data.images import as_input
from minicnn.functional.dispatch import use
from minicnn.weight_files.convert import convert

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
from torch_twins import torch_training  # noqa: E402

pytestmark = pytest.mark.parity
LOSS, GRADIENT = 1e-4, 1e-3                 # relative to the loss, and to the largest number of a gradient


def check(losses, gradients, expected_losses, expected_gradients, loss=LOSS, gradient=GRADIENT):
    assert list(losses) == list(expected_losses) and gradients.keys() == expected_gradients.keys()
    for name, value in expected_losses.items():
        assert value > 0 and abs(losses[name] - value) <= loss * value, name
    for name, b in expected_gradients.items():
        a = gradients[name]
        assert a.shape == b.shape and np.abs(a - b).max() <= gradient * np.abs(b).max(), name


@pytest.mark.parametrize("architecture", DETECTORS)
def test_losses_and_every_gradient_of_whole_detectors(architecture):
    model, batch, targets = training_case(architecture)
    losses, gradients, buffers = torch_training(model, batch, targets)
    in_float64(model)
    with use("reference"):
        check(*ours(model, batch, targets), losses, gradients, 1e-6, 1e-5)
    for name, buffer in model.named_buffers():                                                # running statistics of batch norms
        np.testing.assert_allclose(buffer, buffers[name].numpy(), rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("trainable_layers, first", [(1, 24), (2, 17)])
@pytest.mark.usefixtures("backend")
def test_what_is_trained_of_the_real_detector_in_float32(trainable_layers, first):
    if not WEIGHTS.exists():
        pytest.skip(f"the real detector is not in {WEIGHTS}")
    model, _ = convert(WEIGHTS, config=WEIGHTS.with_suffix(".json"))
    model.transform.min_size = 240
    model.freeze(trainable_layers)
    batch = model.transform([as_input(WEIGHTS.parents[1] / "data" / "pictures" / name) for name in ("chelsea.jpg", "astronaut.jpg")])
    targets = scaled(batch, [[[100, 20, 330, 299]], [[20, 5, 420, 510], [300, 60, 500, 400]]], [[8], [15, 1]])
    losses, gradients, _ = torch_training(model, batch, targets)
    found = ours(model, batch, targets)
    assert min(int(name.split(".")[1]) for name in found[1] if name.startswith("backbone")) == first
    check(*found, losses, {name: gradients[name] for name in found[1]})

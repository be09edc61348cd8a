"""The losses and gradients of whole detectors against torchvision's, for a fixed sampling.

A gradient jumps where the input of a ReLU passes zero or two pixels of a pooling change places. Between millions of those some lie within
float32's rounding of it, so that torchvision's own gradients in float32 are up to 8 % from its own in float64. So whole networks are
compared in float64, from the same pixels on; what a user trains, in float32, where it has no such depth: conv5 and heads of the real
detector.
"""

import numpy as np
import pytest
from ladder import pictures
from sane import sane_detector
from voc import WEIGHTS

from minicnn.checkpoint.convert import convert
from minicnn.data.pictures import as_input
from minicnn.detection.losses import Target
from minicnn.detection.transform import Batch, Transform
from minicnn.functional.kernels import use

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
from torch_twins import torch_twin  # noqa: E402
from torchvision.models.detection.image_list import ImageList  # noqa: E402

pytestmark = pytest.mark.parity
LOSS, GRADIENT = 1e-4, 1e-3                 # relative to the loss, and to the largest number of a gradient
DETECTORS = {
    "fasterrcnn_vgg16": {"min_size": 160, "num_classes": 5, "box_head_width": 256},
    "fasterrcnn_resnet50_fpn": {"min_size": 192, "num_classes": 5},
    "fasterrcnn_resnet50_fpn_v2": {"min_size": 160, "num_classes": 5, "box_head_width": 256},
    "fasterrcnn_mobilenet_v3_large_fpn": {"min_size": 256, "num_classes": 5},
    "fasterrcnn_mobilenet_v3_large_320_fpn": {"num_classes": 5},
}
BOXES = [[[10, 20, 225, 150], [150, 75, 448, 299]], [[5, 5, 60, 40], [100, 30, 180, 150], [20, 90, 45, 130]], []]
LABELS = [[1, 4], [2, 2, 3], []]


def theirs(model, batch, targets):
    """torchvision's losses, gradients and buffers afterwards, learning from the first ones of everything."""
    dtype = torch.from_numpy(batch.pixels).dtype
    twin = torch_twin(model).train().to(dtype)
    answers = [{"boxes": torch.from_numpy(boxes).to(dtype), "labels": torch.from_numpy(labels)} for boxes, labels in targets]
    twin.transform.forward = lambda images, _: (ImageList(torch.from_numpy(batch.pixels), list(batch.sizes)), answers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randperm", lambda n, device=None: torch.arange(n))
        losses = twin([torch.zeros(3, *size) for size in batch.original_sizes], answers)
        sum(losses.values()).backward()
    gradients = {name: parameter.grad.numpy() for name, parameter in twin.named_parameters() if parameter.grad is not None}
    return {name: loss.item() for name, loss in losses.items()}, gradients, dict(twin.named_buffers())


def ours(model, batch, targets):
    """Our losses and gradients, likewise."""
    model.train()
    losses, pullback = model.vjp(batch, model.backbone.start(batch.pixels), targets, np.arange)
    pullback()
    model.eval()
    return losses, dict(model.named_gradients())


def scaled(batch, boxes, labels):
    return [Target(Transform.scale_boxes(np.array(some, np.float32).reshape(-1, 4), original, size), np.array(names, np.int64))
            for some, names, original, size in zip(boxes, labels, batch.original_sizes, batch.sizes)]


def check(losses, gradients, expected_losses, expected_gradients, names, loss=LOSS, gradient=GRADIENT):
    assert list(losses) == list(expected_losses)
    for name, value in expected_losses.items():
        assert value > 0 and abs(losses[name] - value) <= loss * value, name
    for name in names:
        a, b = gradients[name], expected_gradients[name]
        assert a.shape == b.shape and np.abs(a - b).max() <= gradient * np.abs(b).max(), name


def in_float64(model):
    for _, layer in model.named_layers():
        for name in (*layer.parameter_names, *layer.buffer_names):
            if getattr(layer, name) is not None:
                setattr(layer, name, getattr(layer, name).astype(np.float64))


@pytest.mark.parametrize("architecture", DETECTORS)
def test_losses_and_every_gradient_of_whole_detectors(architecture):
    image = pictures()["gray 300x451"]
    images = [image, image[:, :220, :300].copy(), image[:, 60:, 40:420].copy()]             # the last one without objects
    with use("reference"):
        model = sane_detector(architecture, image, **DETECTORS[architecture])
        batch = model.transform(images)
        batch = Batch(batch.pixels.astype(np.float64), batch.sizes, batch.original_sizes)
        targets = scaled(batch, BOXES, LABELS)
        expected = theirs(model, batch, targets)
        in_float64(model)
        losses, gradients = ours(model, batch, targets)
    assert gradients.keys() == expected[1].keys()
    check(losses, gradients, *expected[:2], gradients, 1e-6, 1e-5)
    for name, buffer in model.named_buffers():                                                # running statistics of batch norms
        np.testing.assert_allclose(buffer, expected[2][name].numpy(), rtol=1e-5, atol=1e-7, err_msg=name)


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
    expected_losses, expected_gradients, _ = theirs(model, batch, targets)
    losses, gradients = ours(model, batch, targets)
    assert min(int(name.split(".")[1]) for name in gradients if name.startswith("backbone")) == first
    check(losses, gradients, expected_losses, expected_gradients, gradients)

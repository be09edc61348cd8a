"""The case on which losses and gradients of training are compared with torchvision's: detectors, three images and their objects."""

import numpy as np
from ladder import images
from sane import sane_detector

from minicnn.detection.training.step import detector_losses
from minicnn.detection.training.targets import GroundTruth
from minicnn.detection.transform import Batch, Transform
from minicnn.functional.dispatch import use

DETECTORS = {
    "fasterrcnn_vgg16": {"min_size": 128, "num_classes": 5, "box_head_width": 64, "box_batch_size_per_image": 64},
    "fasterrcnn_resnet50_fpn": {"min_size": 128, "num_classes": 5, "box_head_width": 64, "box_batch_size_per_image": 64},
    "fasterrcnn_resnet50_fpn_v2": {"min_size": 128, "num_classes": 5, "box_head_width": 64, "box_batch_size_per_image": 64},
    "fasterrcnn_mobilenet_v3_large_320_fpn": {"min_size": 192, "num_classes": 5, "box_head_width": 64, "box_batch_size_per_image": 64},
}
BOXES = [[[10, 20, 225, 150], [150, 75, 448, 299]], [[5, 5, 60, 40], [100, 30, 180, 150], [20, 90, 45, 130]], []]
LABELS = [[1, 4], [2, 2, 3], []]


def training_case(architecture, vectors=None):
    """A detector in float32, a batch of three images in float64, the last one without objects, and the targets.

    Args:
        vectors: see ``sane.sane_detector``.
    """
    image = images()["gray 300x451"]
    with use("reference"):
        model = sane_detector(architecture, image, recorded=vectors, **DETECTORS[architecture])
        batch = model.transform([image, image[:, :220, :300].copy(), image[:, 60:, 40:420].copy()])
    batch = Batch(batch.pixels.astype(np.float64), batch.sizes, batch.original_sizes)
    return model, batch, scaled(batch, BOXES, LABELS)


def scaled(batch, boxes, labels):
    """The targets of boxes in the pixels of the images."""
    return [GroundTruth(Transform.scale_boxes(np.array(some, np.float32).reshape(-1, 4), original, size), np.array(names, np.int64))
            for some, names, original, size in zip(boxes, labels, batch.original_sizes, batch.sizes)]


def in_float64(model):
    for _, layer in model.named_layers():
        for name in (*layer.parameter_names, *layer.buffer_names):
            if getattr(layer, name) is not None:
                setattr(layer, name, getattr(layer, name).astype(np.float64))


def ours(model, batch, targets):
    """Our losses and gradients; instead of random anchors and proposals the first ones are sampled."""
    model.train()
    losses, pullback = detector_losses(model, batch, model.backbone.start(batch.pixels), targets, np.arange)
    pullback()
    model.eval()
    return losses, dict(model.named_gradients())

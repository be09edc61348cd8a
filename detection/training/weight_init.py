"""The weights that the training of a detector begins with, drawn as torchvision draws them.

``minicnn.build`` draws every layer by torch's default, uniform within 1 / sqrt(fan in); the convolutions of pyramid, RPN and box head
have distributions of their own.

Reference: Ren et al., Faster R-CNN (2015), section 3.1.3 (the RPN's normal distribution of standard deviation 0.01); He, Zhang, Ren, Sun,
Delving deep into rectifiers (2015), equations 10 and 14, for the others.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.archive import read_archive
from minicnn.detection.backbone import load_backbone
from minicnn.detection.faster_rcnn import FasterRCNN
from minicnn.errors import InputError
from minicnn.layers import Conv2d
from minicnn.network_files import is_weight_file
from minicnn.weight_files.convert import build_with, read_config
from minicnn.weight_files.read import read_state_dict

RPN_STD = 0.01


def new_detector(architecture: str, num_classes: int, rng: np.random.Generator, init: str | Path | None = None,
                 config: str | Path | None = None, **settings: Any) -> FasterRCNN:
    """Build a detector to train from scratch, or from the backbone of another network.

    Args:
        architecture: a key of ``minicnn.models.BUILDERS``, such as "fasterrcnn_vgg16".
        num_classes: number of classes, background included.
        rng: draws the weights.
        init: file to take the backbone from: an archive of a detector or classifier, or torchvision's weights of one or of its features
            alone. The settings of a detector of the same architecture are taken, too.
        config: JSON file of settings, which replace those of ``init``.
        settings: fields of ``Settings``, which replace both.

    Returns:
        model: in evaluation mode; its ``record`` is empty.

    Raises:
        InputError: a file cannot be read, a setting is wrong, or ``init`` has no such backbone.
    """
    arrays, found = read_init(init, architecture) if init else ({}, {})
    if config:
        found.update({name: value for name, value in read_config(config).items() if name not in ("architecture", "class_names")})
    model = build_with(architecture, {**found, **settings}, {"num_classes": num_classes}, config, rng)
    init_weights(model, rng)
    if init:
        try:
            load_backbone(model.backbone, arrays)
        except InputError as error:
            raise InputError(f"{init}: {error}") from error
    return model


def read_init(path, architecture):
    """The arrays in a file and, if it is of a detector of the same architecture, its settings without the number of classes."""
    if is_weight_file(path):
        return read_state_dict(path), {}
    arrays, description = read_archive(path)
    same = description.get("architecture") == architecture
    return arrays, {name: value for name, value in description.get("arguments", {}).items() if same and name != "num_classes"}


def init_weights(model, rng):
    """Draw the convolutions of RPN, pyramid and box head anew, in place, in this order; their biases become 0.

    Args:
        model: a ``FasterRCNN``.
        rng: numpy.random.Generator.
    """
    for conv in convolutions(model.rpn.head):
        set_weights(conv, rng.normal(0, RPN_STD, conv.weight.shape))
    for conv in convolutions(model.backbone.fpn) if hasattr(model.backbone, "fpn") else ():
        bound = math.sqrt(3 / math.prod(conv.weight.shape[1:]))
        set_weights(conv, rng.uniform(-bound, bound, conv.weight.shape))
    for conv in convolutions(model.roi_heads.box_head):
        fan_out = conv.out_channels * math.prod(conv.kernel_size)
        set_weights(conv, rng.normal(0, math.sqrt(2 / fan_out), conv.weight.shape))


def convolutions(part):
    """The convolutions in a part of a network, in order."""
    return [layer for _, layer in part.named_layers() if isinstance(layer, Conv2d)]


def set_weights(conv, values):
    """Copy values into a convolution's weight; its bias becomes 0."""
    conv.weight[...] = values.astype(np.float32)
    if conv.bias is not None:
        conv.bias[...] = 0

"""The networks by name, and the functions that build them, which are imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from minicnn.errors import InputError

BUILDERS = {
    "lenet5": "minicnn.models.lenet:lenet5",
    "lenet5_caffe": "minicnn.models.lenet:lenet5_caffe",
    "vgg16": "minicnn.models.vgg:vgg16",
    **{name: f"minicnn.detection.architectures:{name}" for name in (
        "fasterrcnn_vgg16", "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn")},
}


def build(architecture: str, *, rng: np.random.Generator | None = None, **arguments: Any) -> Any:
    """Build a network by its name, in evaluation mode.

    Args:
        architecture: a key of ``BUILDERS``.
        rng: draws the weights; None: zeros, to be loaded.
        arguments: of the builder, such as ``num_classes``.

    Returns:
        model: a ``Classifier`` or a ``FasterRCNN`` with ``architecture``, ``architecture_arguments`` and an empty ``record``, see
        ``minicnn.archive``.

    Raises:
        InputError: there is no such architecture, or the arguments do not suit it.

    >>> model = build("lenet5", rng=np.random.default_rng(0))
    >>> model(np.zeros((1, 1, 28, 28), np.float32)).shape, sum(array.size for _, array in model.named_parameters())
    ((1, 10), 61706)
    """
    if architecture not in BUILDERS:
        raise InputError(f"got the architecture {architecture!r}, expected one of {', '.join(BUILDERS)}. Choose one of them.")
    module, _, function = BUILDERS[architecture].partition(":")
    try:
        model = getattr(importlib.import_module(module), function)(rng=rng, **arguments)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"got the arguments {arguments} for {architecture}: {error}. Check their names and values.") from error
    model.architecture, model.architecture_arguments = architecture, arguments
    model.record = {"class_names": [], "surgery": [], "provenance": {}, "measured": {}}
    return model

"""The networks by name. Builders are import strings, resolved when asked for."""

import importlib

from minicnn.errors import InputError

BUILDERS = {
    "lenet5": "minicnn.models.lenet:lenet5",
    "lenet5_caffe": "minicnn.models.lenet:lenet5_caffe",
    "vgg16": "minicnn.models.vgg:vgg16",
    **{name: f"minicnn.detection.architectures:{name}" for name in (
        "fasterrcnn_vgg16", "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn")},
}


def build(architecture, *, rng=None, **arguments):
    """The network of that name, in evaluation mode.

    Args:
        architecture: a key of ``BUILDERS``.
        rng: numpy.random.Generator that draws the weights; None leaves them zero, to be loaded.
        arguments: the builder's own, such as ``num_classes``.

    Returns:
        model: a Layer with ``architecture``, ``architecture_arguments`` and an empty ``record`` (see ``minicnn.archive``).

    Raises:
        InputError: no such architecture, or arguments it does not take.
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

"""The kinds of layers, by the names that archives hold."""

from typing import Any

from minicnn.errors import InputError
from minicnn.layers.activation import Hardsigmoid, Hardswish, ReLU, Sigmoid
from minicnn.layers.base import Layer
from minicnn.layers.conv import Conv2d
from minicnn.layers.dropout import Dropout
from minicnn.layers.flatten import Flatten
from minicnn.layers.linear import Linear
from minicnn.layers.low_rank import BlockLinear
from minicnn.layers.norm import BatchNorm2d, FrozenBatchNorm2d
from minicnn.layers.pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d

KINDS: dict[str, type[Layer]] = {cls.__name__: cls for cls in (
    Conv2d, Linear, BlockLinear, BatchNorm2d, FrozenBatchNorm2d, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Flatten, Dropout, ReLU, Sigmoid,
    Hardsigmoid, Hardswish)}


def make_layer(kind: str, arguments: dict[str, Any]) -> Layer:
    """Build a layer, its arrays not yet loaded.

    Args:
        kind: a key of ``KINDS``.
        arguments: of its constructor.

    Raises:
        InputError: the kind is unknown, or the arguments do not suit it.

    >>> make_layer("Linear", {"in_features": 400, "out_features": 120})
    Linear(in_features=400, out_features=120, bias=True)
    """
    if kind not in KINDS:
        raise InputError(f"got a layer of kind {kind!r}, expected one of {', '.join(KINDS)}. Use a newer minicnn for this file.")
    try:
        check_arguments(arguments)
        return KINDS[kind](**arguments)
    except (TypeError, ValueError, ArithmeticError, AttributeError, MemoryError) as error:
        raise InputError(f"got {kind} with arguments {arguments}: {error}. The file is damaged.") from error


def check_arguments(arguments):
    """Raise ValueError for sizes that a constructor accepts, but with which the layer would fail, or never return, when it runs."""
    for names, least in (("kernel_size", "stride", "dilation", "groups"), 1), (("padding",), 0):
        for name in names:
            value = arguments.get(name, least)
            sizes = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value,)
            allowed_none = name == "stride" and value is None           # the default of pooling, the kernel size
            if not allowed_none and not all(isinstance(size, int) and size >= least for size in sizes):
                raise ValueError(f"{name}={value!r}, expected integers of at least {least}")

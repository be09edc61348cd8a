"""The layers by kind, as archives name them."""

from minicnn.errors import InputError
from minicnn.layers.activation import Hardsigmoid, Hardswish, ReLU, Sigmoid
from minicnn.layers.conv import Conv2d
from minicnn.layers.dropout import Dropout
from minicnn.layers.flatten import Flatten
from minicnn.layers.linear import Linear
from minicnn.layers.low_rank import BlockLinear
from minicnn.layers.norm import BatchNorm2d, FrozenBatchNorm2d
from minicnn.layers.pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d

KINDS = {cls.__name__: cls for cls in (
    Conv2d, Linear, BlockLinear, BatchNorm2d, FrozenBatchNorm2d, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Flatten, Dropout, ReLU, Sigmoid,
    Hardsigmoid, Hardswish)}


def make_layer(kind, arguments):
    """The layer of a kind and its constructor's arguments, its arrays not yet loaded.

    Raises:
        InputError: an unknown kind, or arguments it does not take.
    """
    if kind not in KINDS:
        raise InputError(f"got a layer of kind {kind!r}, expected one of {', '.join(KINDS)}. Use a newer minicnn for this file.")
    try:
        check_arguments(arguments)
        return KINDS[kind](**arguments)
    except (TypeError, ValueError, ArithmeticError, AttributeError, MemoryError) as error:
        raise InputError(f"got {kind} with arguments {arguments}: {error}. The file is damaged.") from error


def check_arguments(arguments):
    """Raise ValueError for sizes that a layer would take, and fail on, or never come to an end, when it runs."""
    for names, least in (("kernel_size", "stride", "dilation", "groups"), 1), (("padding",), 0):
        for name in names:
            value = arguments.get(name, least)
            sizes = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value,)
            allowed_none = name == "stride" and value is None           # a pooling's default: its kernel size
            if not allowed_none and not all(isinstance(size, int) and size >= least for size in sizes):
                raise ValueError(f"{name}={value!r}, expected integers of at least {least}")

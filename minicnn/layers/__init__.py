"""Layers: they hold arrays and call ``minicnn.functional``."""

from minicnn.layers.base import (
    KINDS,
    Activation,
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    BlockLinear,
    Conv2d,
    Dropout,
    Flatten,
    FrozenBatchNorm2d,
    Hardsigmoid,
    Hardswish,
    Layer,
    Linear,
    MaxPool2d,
    Norm2d,
    ReLU,
    Sequential,
    Sigmoid,
    make_layer,
)

__all__ = ["KINDS", "Activation", "AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm2d", "BlockLinear", "Conv2d", "Dropout", "Flatten",
           "FrozenBatchNorm2d", "Hardsigmoid", "Hardswish", "Layer", "Linear", "MaxPool2d", "Norm2d", "ReLU", "Sequential", "Sigmoid",
           "make_layer"]

"""Layers: they hold arrays and call ``minicnn.functional``."""

from minicnn.layers.activation import Activation, Hardsigmoid, Hardswish, ReLU, Sigmoid
from minicnn.layers.base import Layer
from minicnn.layers.conv import Conv2d
from minicnn.layers.dropout import Dropout
from minicnn.layers.flatten import Flatten
from minicnn.layers.linear import Linear
from minicnn.layers.low_rank import BlockLinear, tucker_chain
from minicnn.layers.norm import BatchNorm2d, FrozenBatchNorm2d, Norm2d
from minicnn.layers.pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from minicnn.layers.registry import KINDS, make_layer
from minicnn.layers.sequential import Sequential

__all__ = ["KINDS", "Activation", "AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm2d", "BlockLinear", "Conv2d", "Dropout", "Flatten",
           "FrozenBatchNorm2d", "Hardsigmoid", "Hardswish", "Layer", "Linear", "MaxPool2d", "Norm2d", "ReLU", "Sequential", "Sigmoid",
           "make_layer", "tucker_chain"]

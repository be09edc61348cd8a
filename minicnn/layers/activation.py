"""Activation functions as layers."""

from minicnn import functional as F
from minicnn.layers.base import Layer


class Activation(Layer):
    """An element-wise function without parameters; subclasses name it."""

    function = backward = None

    def __init__(self, *, rng=None):
        pass

    def __call__(self, x):
        return type(self).function(x)

    def vjp(self, x, input_gradient=True):
        return self(x), lambda grad_y: type(self).backward(grad_y, x)


class ReLU(Activation):
    """max(x, 0)."""

    function, backward = F.relu, F.relu_backward


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    function, backward = F.sigmoid, F.sigmoid_backward


class Hardsigmoid(Activation):
    """min(max(x + 3, 0), 6) / 6."""

    function, backward = F.hardsigmoid, F.hardsigmoid_backward


class Hardswish(Activation):
    """x min(max(x + 3, 0), 6) / 6."""

    function, backward = F.hardswish, F.hardswish_backward

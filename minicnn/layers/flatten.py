"""From feature maps to vectors."""

import math

from minicnn.layers.base import Layer


class Flatten(Layer):
    """(N, C, H, W) -> (N, C H W), channels slowest."""

    def __init__(self, *, rng=None):
        pass

    def __call__(self, x):
        return x.reshape(len(x), math.prod(x.shape[1:]))        # -1 would not do for an empty batch

    def vjp(self, x, input_gradient=True):
        return self(x), lambda grad_y: grad_y.reshape(x.shape)

"""Backbones: pictures -> a list of maps, finest first."""

from minicnn.layers import Layer, Sequential


class SingleMapBackbone(Sequential):
    """A chain of layers whose one output is the only map."""

    def __call__(self, x):
        return [super().__call__(x)]


class BackboneWithFPN(Layer):
    """A body that returns several maps, and the feature pyramid over them."""

    def __init__(self, body, fpn):
        self.body, self.fpn = body, fpn

    def __call__(self, x):
        return self.fpn(self.body(x))

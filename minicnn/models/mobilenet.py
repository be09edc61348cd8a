"""The convolutional part of MobileNetV3-large: fifteen inverted residual blocks between two plain convolutions.

Paths are torchvision's ``features``: ``0.0.weight``, ``4.block.2.fc1.weight``, ``16.1.bias``.

Reference: Howard et al., Searching for MobileNetV3 (2019), table 1, sections 5.1 to 5.3; Sandler et al., MobileNetV2 (2018), for the
inverted residual; Hu, Shen, Sun, Squeeze-and-excitation networks (2018).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minicnn.layers import AdaptiveAvgPool2d, Conv2d, Hardsigmoid, Hardswish, Layer, ReLU, Sequential
from minicnn.layers.base import Pullback
from minicnn.models.channel_groups import ChannelGroup, Walk, units, walk
from minicnn.models.feature_extractor import FeatureExtractor

# kernel, expanded channels, output channels, squeezed channels (0: no squeeze-and-excitation), activation, stride
BLOCKS = (
    (3, 16, 16, 0, ReLU, 1), (3, 64, 24, 0, ReLU, 2), (3, 72, 24, 0, ReLU, 1),
    (5, 72, 40, 24, ReLU, 2), (5, 120, 40, 32, ReLU, 1), (5, 120, 40, 32, ReLU, 1),
    (3, 240, 80, 0, Hardswish, 2), (3, 200, 80, 0, Hardswish, 1), (3, 184, 80, 0, Hardswish, 1), (3, 184, 80, 0, Hardswish, 1),
    (3, 480, 112, 120, Hardswish, 1), (3, 672, 112, 168, Hardswish, 1),
    (5, 672, 160, 168, Hardswish, 2), (5, 960, 160, 240, Hardswish, 1), (5, 960, 160, 240, Hardswish, 1),
)


class MobileNetV3Large(FeatureExtractor):
    """MobileNetV3-large without the classifier: x (N, 3, H, W) -> two feature maps, of 160 and 960 channels, both at stride 32.

    Args:
        norm: function of num_features that makes a batch norm.
        rng: draws the weights; None: zeros, to be loaded.
    """

    returned = ("13", "16")         # for a feature pyramid
    out_channels = (160, 960)
    stages = tuple(tuple(map(str, range(*ends))) for ends in ((0, 2), (2, 4), (4, 7), (7, 13), (13, 16), (16, 17)))      # torchvision's

    def __init__(self, norm: Callable[[int], Layer], *, rng: np.random.Generator | None = None):
        layers: list[Layer] = [conv_norm(3, 16, 3, Hardswish, norm, stride=2, rng=rng)]
        in_channels = 16
        for kernel, expanded, out_channels, squeezed, activation, stride in BLOCKS:
            layers.append(InvertedResidual(in_channels, kernel, expanded, out_channels, squeezed, activation, stride, norm, rng=rng))
            in_channels = out_channels
        layers.append(conv_norm(in_channels, 960, 1, Hardswish, norm, rng=rng))
        vars(self).update({str(number): layer for number, layer in enumerate(layers)})

    def untied_maps(self, model: Layer, path: str) -> dict[int, Walk]:
        """See ``FeatureExtractor``: the last convolution's map. The channels of the other one are sums."""
        return {1: walk(model, units(f"{path}.16", self.get_layer("16")))}


class InvertedResidual(Layer):
    """1 x 1 convolution to more channels, depthwise K x K, squeeze-and-excitation if any, 1 x 1 to fewer; plus x if the shape is kept.

    Args:
        in_channels, kernel, expanded, out_channels, squeezed, activation, stride: see ``BLOCKS``.
        norm, rng: see ``MobileNetV3Large``.
    """

    def __init__(self, in_channels: int, kernel: int, expanded: int, out_channels: int, squeezed: int, activation: Callable[[], Layer],
                 stride: int, norm: Callable[[int], Layer], *, rng: np.random.Generator | None = None):
        layers: list[Layer] = [] if expanded == in_channels else [conv_norm(in_channels, expanded, 1, activation, norm, rng=rng)]
        layers.append(conv_norm(expanded, expanded, kernel, activation, norm, stride=stride, groups=expanded, rng=rng))
        if squeezed:
            layers.append(SqueezeExcitation(expanded, squeezed, rng=rng))
        layers.append(conv_norm(expanded, out_channels, 1, None, norm, rng=rng))
        self.block = Sequential(layers)
        self.residual = stride == 1 and in_channels == out_channels

    def __call__(self, x: np.ndarray) -> np.ndarray:
        y = self.block(x)
        return x + y if self.residual else y

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        y, pullback = self.block.vjp(x, input_gradient)
        if not self.residual:
            return y, pullback
        return x + y, lambda grad_y: pullback(grad_y) + grad_y if input_gradient else pullback(grad_y)

    def inner_groups(self, model: Layer, path: str) -> list[ChannelGroup]:
        """The ``ChannelGroup`` of the expanded channels, if this block has a convolution that makes them.

        Args:
            model: the whole network.
            path: of this block in it.
        """
        return walk(model, units(f"{path}.block", self.block)).groups


class SqueezeExcitation(Layer):
    """x * hardsigmoid(fc2(relu(fc1(mean over pixels of x)))): each channel is scaled by a factor computed from the whole image.

    Args:
        channels: of x.
        squeezed: channels between fc1 and fc2.
        rng: see ``MobileNetV3Large``.
    """

    def __init__(self, channels: int, squeezed: int, *, rng: np.random.Generator | None = None):
        self.fc1, self.fc2 = Conv2d(channels, squeezed, 1, rng=rng), Conv2d(squeezed, channels, 1, rng=rng)
        self.activation, self.scale_activation = ReLU(), Hardsigmoid()

    def scale(self) -> Sequential:
        """The layers that compute the factor of each channel, (N, C, H, W) -> (N, C, 1, 1)."""
        return Sequential([AdaptiveAvgPool2d(1), self.fc1, self.activation, self.fc2, self.scale_activation])

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x * self.scale()(x)

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        scale, to_x = self.scale().vjp(x, input_gradient)

        def pullback(grad_y):
            grad_x = to_x((grad_y * x).sum(axis=(2, 3), keepdims=True))
            return grad_y * scale + grad_x if input_gradient else None
        return x * scale, pullback

    def keep_channels(self, index: np.ndarray) -> None:
        self.fc1.keep_inputs(index)
        self.fc2.keep_outputs(index)

    def inner_groups(self, model: Layer, path: str) -> list[ChannelGroup]:
        """The ``ChannelGroup`` of the squeezed channels.

        Args:
            model: the whole network.
            path: of this layer in it.
        """
        return walk(model, [(f"{path}.fc1", self.fc1), (f"{path}.fc2", self.fc2)]).groups


def conv_norm(in_channels: int, out_channels: int, kernel: int, activation: Callable[[], Layer] | None, norm: Callable[[int], Layer], *,
              stride: int = 1, groups: int = 1, rng: np.random.Generator | None = None) -> Sequential:
    """A convolution without bias, a norm, and the activation unless it is None."""
    layers = [Conv2d(in_channels, out_channels, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False, rng=rng), norm(out_channels)]
    return Sequential(layers if activation is None else [*layers, activation()])

"""The convolutional part of ResNet-50: four stages of bottlenecks with outputs at strides 4, 8, 16 and 32 for a feature pyramid.

Paths are torchvision's: ``conv1.weight``, ``layer1.0.conv2.weight``, ``layer1.0.downsample.0.weight``.

Reference: He, Zhang, Ren, Sun, Deep residual learning for image recognition (2016), table 1 and figure 5. Differs: as in torchvision
the 3 x 3 convolution of a bottleneck has the stride, not the first 1 x 1 ("ResNet v1.5").
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from minicnn import functional as F
from minicnn.layers import Conv2d, Layer, MaxPool2d, ReLU, Sequential
from minicnn.layers.base import Pullback
from minicnn.models.channel_groups import ChannelGroup, channel_group, units, walk
from minicnn.models.feature_extractor import FeatureExtractor

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))       # width, number of blocks, stride of the first block


class ResNet50(FeatureExtractor):
    """ResNet-50 without the classifier: x (N, 3, H, W) -> four feature maps at strides 4, 8, 16 and 32.

    Args:
        norm: function of num_features that makes a batch norm.
        rng: draws the weights; None: zeros, to be loaded.
    """

    returned = ("layer1", "layer2", "layer3", "layer4")
    out_channels = (256, 512, 1024, 2048)
    stages = (("conv1", "bn1", "relu", "maxpool"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))

    def __init__(self, norm: Callable[[int], Layer], *, rng: np.random.Generator | None = None):
        self.conv1, self.bn1 = Conv2d(3, 64, 7, stride=2, padding=3, bias=False, rng=rng), norm(64)
        self.relu, self.maxpool = ReLU(), MaxPool2d(3, stride=2, padding=1)
        in_channels = 64
        for number, (width, blocks, stride) in enumerate(STAGES, start=1):
            layers = [Bottleneck(in_channels, width, stride, norm, rng=rng)]
            in_channels = Bottleneck.expansion * width
            layers += [Bottleneck(in_channels, width, 1, norm, rng=rng) for _ in range(blocks - 1)]
            setattr(self, f"layer{number}", Sequential(layers))

    def inner_groups(self, model: Layer, path: str) -> list[ChannelGroup]:
        """The ``ChannelGroup`` of the first convolution, which the first block reads twice. What the blocks add up is tied, in no group.

        Args:
            model: the whole network.
            path: of this extractor in it.
        """
        block, place = self.get_layer("layer1.0"), f"{path}.layer1.0"
        first = walk(model, itertools.chain(units(f"{path}.conv1", self.conv1), units(f"{path}.bn1", self.bn1)))
        readers = [walk(model, units(f"{place}.{name}", getattr(block, name))).consumer for name in ("conv1", "downsample")]
        return [*first.groups, channel_group(model, first.producers, first.followers, readers)]


class Bottleneck(Layer):
    """relu(x + 1x1(relu(3x3(relu(1x1(x)))))), where a norm follows each convolution.

    In the first block of a stage, where the shape changes, ``downsample`` is applied to x: a 1 x 1 convolution with the stride, a norm.

    Args:
        in_channels: of x.
        width: channels within the block; the output has four times as many.
        stride: of the 3 x 3 convolution.
        norm, rng: see ``ResNet50``.
    """

    expansion = 4
    downsample: Sequential | None = None

    def __init__(self, in_channels: int, width: int, stride: int, norm: Callable[[int], Layer], *,
                 rng: np.random.Generator | None = None):
        out_channels = self.expansion * width
        self.conv1, self.bn1 = Conv2d(in_channels, width, 1, bias=False, rng=rng), norm(width)
        self.conv2, self.bn2 = Conv2d(width, width, 3, stride=stride, padding=1, bias=False, rng=rng), norm(width)
        self.conv3, self.bn3 = Conv2d(width, out_channels, 1, bias=False, rng=rng), norm(out_channels)
        if stride > 1 or in_channels != out_channels:
            self.downsample = Sequential([Conv2d(in_channels, out_channels, 1, stride=stride, bias=False, rng=rng),
                                          norm(out_channels)])

    def residual(self) -> Sequential:
        """The branch whose output is added to x."""
        return Sequential([self.conv1, self.bn1, ReLU(), self.conv2, self.bn2, ReLU(), self.conv3, self.bn3])

    def inner_groups(self, model: Layer, path: str) -> list[ChannelGroup]:
        """The two ``ChannelGroup``s within the branch, whose output channels are tied to those of x.

        Args:
            model: the whole network.
            path: of this block in it.
        """
        steps = (units(f"{path}.{name}", getattr(self, name)) for name in ("conv1", "bn1", "conv2", "bn2", "conv3"))
        return walk(model, itertools.chain(*steps)).groups

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return F.relu(self.residual()(x) + (x if self.downsample is None else self.downsample(x)))

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        residual, to_x = self.residual().vjp(x, input_gradient)
        shortcut, also_to_x = (x, lambda grad: grad) if self.downsample is None else self.downsample.vjp(x, input_gradient)
        y = residual + shortcut

        def pullback(grad_y):
            grad = F.relu_backward(grad_y, y)
            grad_x, more = to_x(grad), also_to_x(grad)
            return grad_x + more if input_gradient else None
        return F.relu(y), pullback

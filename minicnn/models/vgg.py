"""VGG16: thirteen 3 x 3 convolutions in five blocks, each of which ends with max pooling, and three linear layers.

Paths are torchvision's: ``features.0.weight`` to ``features.28.bias``, ``classifier.0.weight`` to ``classifier.6.bias``.

Reference: Simonyan, Zisserman, Very deep convolutional networks for large-scale image recognition (2015), table 1, column D.
"""

from __future__ import annotations

import numpy as np

from minicnn.layers import AdaptiveAvgPool2d, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential
from minicnn.models.classifier import Classifier

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))     # output channels


def vgg16(num_classes: int = 1000, *, rng: np.random.Generator | None = None) -> Classifier:
    """The classifier of images of 3 x 224 x 224 or larger; 138 357 544 parameters for a thousand classes."""
    return Classifier((3, 224, 224), {
        "features": Sequential(vgg16_features(rng=rng)),                                            # (512, 7, 7)
        "avgpool": AdaptiveAvgPool2d(7), "flatten": Flatten(),                                      # (25088,)
        "classifier": Sequential([
            Linear(512 * 7 * 7, 4096, rng=rng), ReLU(), Dropout(0.5),
            Linear(4096, 4096, rng=rng), ReLU(), Dropout(0.5),
            Linear(4096, num_classes, rng=rng)]),
    })


def vgg16_features(*, rng: np.random.Generator | None = None) -> list[Layer]:
    """The 31 layers of torchvision's ``features``; their stride is 32, or 16 without the last layer, a pooling."""
    layers: list[Layer] = []
    channels = 3
    for block in BLOCKS:
        for width in block:
            layers += [Conv2d(channels, width, 3, padding=1, rng=rng), ReLU()]
            channels = width
        layers.append(MaxPool2d(2))
    return layers

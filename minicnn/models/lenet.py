"""LeNet-5 in two forms, for images of 1 x 28 x 28.

Reference: LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition (1998), section II.B.
"""

from __future__ import annotations

import numpy as np

from minicnn.layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU
from minicnn.models.classifier import Classifier


def lenet5(num_classes: int = 10, *, rng: np.random.Generator | None = None) -> Classifier:
    """The classic widths, 6-16-120-84, with ReLU and max pooling; 61 706 parameters for ten classes.

    Differs from the paper, as all modern forms do: every filter reads all feature maps, pooling takes the maximum, the output is a
    softmax, and images are 28 x 28, padded by 2, where the paper has 32 x 32.
    """
    return Classifier((1, 28, 28), {
        "conv1": Conv2d(1, 6, 5, padding=2, rng=rng), "relu1": ReLU(), "pool1": MaxPool2d(2),     # (6, 14, 14)
        "conv2": Conv2d(6, 16, 5, rng=rng), "relu2": ReLU(), "pool2": MaxPool2d(2),               # (16, 5, 5)
        "flatten": Flatten(),                                                                     # (400,)
        "fc1": Linear(400, 120, rng=rng), "relu3": ReLU(),
        "fc2": Linear(120, 84, rng=rng), "relu4": ReLU(),
        "fc3": Linear(84, num_classes, rng=rng),
    })


def lenet5_caffe(num_classes: int = 10, *, rng: np.random.Generator | None = None) -> Classifier:
    """The form of the pruning literature, widths 20-50-500; 431 080 parameters for ten classes.

    As in Caffe's ``lenet_train_test.prototxt`` max pooling follows the convolutions, and the only ReLU follows fc1.
    """
    return Classifier((1, 28, 28), {
        "conv1": Conv2d(1, 20, 5, rng=rng), "pool1": MaxPool2d(2),                                # (20, 12, 12)
        "conv2": Conv2d(20, 50, 5, rng=rng), "pool2": MaxPool2d(2),                               # (50, 4, 4)
        "flatten": Flatten(),                                                                     # (800,)
        "fc1": Linear(800, 500, rng=rng), "relu": ReLU(),
        "fc2": Linear(500, num_classes, rng=rng),
    })

"""The weights that the training of a detector begins with, drawn as torchvision draws them.

``build`` draws every layer by torch's default, uniform within 1 / sqrt(fan in); for the convolutions of the heads the detectors have
distributions of their own.

Reference: Ren et al., Faster R-CNN (2015), section 3.1.3 (the RPN's normal distribution of deviation 0.01); He, Zhang, Ren, Sun, Delving
deep into rectifiers (2015), equations 10 and 14, for the others.
"""

import math

import numpy as np

from minicnn.layers import Conv2d

RPN_STD = 0.01


def init_weights(model, rng):
    """Draw the RPN's, the pyramid's and the box head's convolutions anew, in place; their biases become 0.

    Args:
        model: a ``FasterRCNN``.
        rng: numpy.random.Generator.
    """
    for conv in convolutions(model.rpn.head):
        draw(conv, rng.normal(0, RPN_STD, conv.weight.shape))
    for conv in convolutions(model.backbone.fpn) if hasattr(model.backbone, "fpn") else ():
        bound = math.sqrt(3 / math.prod(conv.weight.shape[1:]))
        draw(conv, rng.uniform(-bound, bound, conv.weight.shape))
    for conv in convolutions(model.roi_heads.box_head):
        fan_out = conv.out_channels * math.prod(conv.kernel_size)
        draw(conv, rng.normal(0, math.sqrt(2 / fan_out), conv.weight.shape))


def convolutions(part):
    return [layer for _, layer in part.named_layers() if isinstance(layer, Conv2d)]


def draw(conv, values):
    conv.weight[...] = values.astype(np.float32)
    if conv.bias is not None:
        conv.bias[...] = 0

"""The weights that the training of a detector begins with, drawn as torchvision draws them.

``minicnn.build`` draws every layer by torch's default, uniform within 1 / sqrt(fan in); the convolutions of pyramid, RPN and box head
have distributions of their own.

Reference: Ren et al., Faster R-CNN (2015), section 3.1.3 (the RPN's normal distribution of standard deviation 0.01); He, Zhang, Ren, Sun,
Delving deep into rectifiers (2015), equations 10 and 14, for the others.
"""

import math

import numpy as np

from minicnn.layers import Conv2d

RPN_STD = 0.01


def init_weights(model, rng):
    """Draw the convolutions of RPN, pyramid and box head anew, in place, in this order; their biases become 0.

    Args:
        model: a ``FasterRCNN``.
        rng: numpy.random.Generator.
    """
    for conv in convolutions(model.rpn.head):
        set_weights(conv, rng.normal(0, RPN_STD, conv.weight.shape))
    for conv in convolutions(model.backbone.fpn) if hasattr(model.backbone, "fpn") else ():
        bound = math.sqrt(3 / math.prod(conv.weight.shape[1:]))
        set_weights(conv, rng.uniform(-bound, bound, conv.weight.shape))
    for conv in convolutions(model.roi_heads.box_head):
        fan_out = conv.out_channels * math.prod(conv.kernel_size)
        set_weights(conv, rng.normal(0, math.sqrt(2 / fan_out), conv.weight.shape))


def convolutions(part):
    """The convolutions in a part of a network, in order."""
    return [layer for _, layer in part.named_layers() if isinstance(layer, Conv2d)]


def set_weights(conv, values):
    """Copy values into a convolution's weight; its bias becomes 0."""
    conv.weight[...] = values.astype(np.float32)
    if conv.bias is not None:
        conv.bias[...] = 0

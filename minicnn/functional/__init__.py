"""Operations on arrays, forward and backward, without state. Names and semantics are torch's."""

from minicnn.functional.activation import (
    hardsigmoid,
    hardsigmoid_backward,
    hardswish,
    hardswish_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
)
from minicnn.functional.conv import conv2d, conv2d_backward
from minicnn.functional.dropout import dropout
from minicnn.functional.linear import linear, linear_backward, linear_blocks, linear_blocks_backward
from minicnn.functional.loss import (
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_backward,
    cross_entropy,
    cross_entropy_backward,
    smooth_l1_loss,
    smooth_l1_loss_backward,
    softmax,
)
from minicnn.functional.norm import (
    batch_norm,
    batch_norm_backward,
    batch_norm_training,
    batch_norm_training_backward,
)
from minicnn.functional.pool import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)
from minicnn.functional.resize import interpolate, interpolate_backward

__all__ = [
    "adaptive_avg_pool2d", "adaptive_avg_pool2d_backward", "avg_pool2d", "avg_pool2d_backward", "batch_norm", "batch_norm_backward",
    "batch_norm_training", "batch_norm_training_backward", "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_backward", "conv2d", "conv2d_backward", "cross_entropy", "cross_entropy_backward", "dropout",
    "hardsigmoid", "hardsigmoid_backward", "hardswish", "hardswish_backward", "interpolate", "interpolate_backward", "linear",
    "linear_backward", "linear_blocks", "linear_blocks_backward", "max_pool2d", "max_pool2d_backward", "relu", "relu_backward",
    "sigmoid", "sigmoid_backward", "smooth_l1_loss", "smooth_l1_loss_backward", "softmax",
]

"""The operations outside of a plan in NumPy, forward and backward: those that training consists of.

``minicnn.fast.choose`` selects the algorithm of a convolution: Winograd's for 3 x 3 convolutions with many channels, patches for others,
both with channels last. Everything else (few channels in a batch of small images, float64, groups) is left to the reference function,
which has the batch innermost. Results are views (N, C, H, W) of channels-last memory, which the next operation takes without a copy.
"""

import functools

import numpy as np

from minicnn.fast import layouts
from minicnn.fast.choose import CHANNELS, UNPLANNED_TILES, fits, unplanned_convolution
from minicnn.fast.conv_input_gradient import input_gradient as gradient_by_convolutions
from minicnn.fast.layouts import channels_first, is_channels_last
from minicnn.fast.numpy_kernels import conv_patches, conv_winograd_gradient
from minicnn.fast.numpy_kernels.conv_winograd import winograd
from minicnn.fast.numpy_kernels.elementwise import pad
from minicnn.functional.conv import Geometry
from minicnn.functional.dispatch import REFERENCE
from minicnn.functional.pool import Windows

TILES = UNPLANNED_TILES["numpy"]

channels_last = functools.partial(layouts.channels_last, pad=pad)


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """See ``minicnn.functional.conv2d``."""
    geometry = Geometry(x.shape, weight.shape, stride, padding, dilation, groups)
    algorithm = unplanned_convolution(geometry, x, weight, "numpy")
    if algorithm is None or not (bias is None or fits(bias, weight.shape[:1])):
        return REFERENCE["conv2d"](x, weight, bias, stride, padding, dilation, groups)
    n, o, ho, wo = geometry.y_shape
    bias, y = np.zeros(o, np.float32) if bias is None else bias, np.empty((n, ho, wo, o), np.float32)
    if algorithm == "winograd":
        winograd(channels_last(x), conv_winograd_gradient.filters(weight), bias, y, geometry.padding, tiles=TILES)
    else:
        conv_patches.forward(channels_last(x, padding=geometry.padding), weight, bias, y, geometry.stride, geometry.dilation)
    return channels_first(y, o)


def conv2d_backward(grad_y, x, weight, stride=1, padding=0, dilation=1, groups=1, input_gradient=True):
    """See ``minicnn.functional.conv2d_backward``."""
    geometry = Geometry(x.shape, weight.shape, stride, padding, dilation, groups)
    algorithm = unplanned_convolution(geometry, x, weight, "numpy")
    if algorithm is None or not fits(grad_y, geometry.y_shape):
        return REFERENCE["conv2d_backward"](grad_y, x, weight, stride, padding, dilation, groups, input_gradient)
    grad_y, grad_x = channels_last(grad_y), None
    grad_bias = grad_y.sum(axis=2).sum(axis=(0, 1))                         # row by row, so that float32 is precise enough
    gradients = winograd_gradients if algorithm == "winograd" else patches_gradients
    grad_weight, grad_x = gradients(grad_y, x, weight, geometry, input_gradient)
    return grad_x if grad_x is None else channels_first(grad_x, x.shape[1]), np.ascontiguousarray(grad_weight), grad_bias


def winograd_gradients(grad_y, x, weight, geometry, input_gradient):
    """grad_weight (O, C, 3, 3), and grad_x (N, H, W, C) or None, from grad_y (N, Ho, Wo, O) and x (N, C, H, W)."""
    grad_weight, grad_x = conv_winograd_gradient.weight_gradient(grad_y, channels_last(x), geometry.padding), None
    if input_gradient:
        n, c, h, w = x.shape
        grad_x = np.empty((n, h, w, c), np.float32)
        winograd(grad_y, conv_winograd_gradient.rotated_filters(weight), np.zeros(c, np.float32), grad_x,
                 tuple(2 - p for p in geometry.padding), tiles=TILES)
    return grad_weight, grad_x


def patches_gradients(grad_y, x, weight, geometry, input_gradient):
    """grad_weight (O, C, KH, KW), and grad_x (N, H, W, C) or None, from grad_y (N, Ho, Wo, O) and x (N, C, H, W)."""
    grad_weight = conv_patches.weight_gradient(grad_y, channels_last(x, padding=geometry.padding), geometry.kernel, geometry.stride,
                                               geometry.dilation)
    if not input_gradient:
        return grad_weight, None
    n, c, h, w = x.shape
    return grad_weight, gradient_by_convolutions(grad_y, weight, (n, h, w, c), geometry.stride, geometry.padding, geometry.dilation,
                                                 conv_patches.backward)


def max_pool2d_backward(grad_y, index, x_shape, kernel_size, stride=None, padding=0, ceil_mode=False):
    """See ``minicnn.functional.max_pool2d_backward``; channels-last gradients stay channels last."""
    windows = Windows(x_shape, kernel_size, stride, padding, ceil_mode)
    if grad_y.ndim != 4 or not is_channels_last(grad_y) or x_shape[1] < CHANNELS:
        return REFERENCE["max_pool2d_backward"](grad_y, index, x_shape, kernel_size, stride, padding, ceil_mode)
    (top, bottom), (left, right) = windows.borders()
    n, c, h, w = x_shape
    padded = np.zeros((n, top + h + bottom, left + w + right, c), grad_y.dtype).transpose(0, 3, 1, 2)
    for tap, value in enumerate(windows.taps(padded)):
        value += grad_y * (index == tap)
    return padded[:, :, top:top + h, left:left + w]


KERNELS = {kernel.__name__: kernel for kernel in (conv2d, conv2d_backward, max_pool2d_backward)}

"""The compiled operations outside of a plan, forward and backward: those that training consists of.

``minicnn.fast.choose`` selects the algorithm of a convolution: Winograd's for 3 x 3 convolutions with many channels, direct with the batch
innermost for a batch of small images, patches with channels last for any other. What none of them computes (float64, groups) is left to
the reference function. Results are views (N, C, H, W) of the memory layout that the algorithm works in, which the next operation takes
without a copy.
"""

import functools
import math

import numpy as np

from minicnn.fast import layouts
from minicnn.fast.choose import IMAGES, LARGE, UNPLANNED_TILES, fits, unplanned_convolution, unplanned_linear
from minicnn.fast.conv_input_gradient import input_gradient as gradient_by_convolutions
from minicnn.fast.layouts import batch_first, batch_innermost, channels_first, empty, is_batch_innermost, is_channels_last, round_up
from minicnn.fast.numba_kernels import conv_batch_innermost, conv_patches, conv_winograd_gradient, sgd
from minicnn.fast.numba_kernels import relu as relu_kernels
from minicnn.fast.numba_kernels.conv_winograd import winograd, winograd_scratch
from minicnn.fast.numba_kernels.elementwise import pad
from minicnn.fast.numba_kernels.max_pool import largest, scatter
from minicnn.fast.winograd import OUT
from minicnn.functional.conv import Geometry
from minicnn.functional.dispatch import REFERENCE
from minicnn.functional.pool import Windows

TILES = UNPLANNED_TILES["numba"]
CHANNELS_LAST, BATCH_INNERMOST = (0, 2, 3, 1), (1, 2, 3, 0)         # axes of (N, C, H, W) in order of memory
INVERSE = {CHANNELS_LAST: (0, 3, 1, 2), BATCH_INNERMOST: (3, 0, 1, 2)}

channels_last = functools.partial(layouts.channels_last, pad=pad)


# convolutions

def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """See ``minicnn.functional.conv2d``."""
    geometry = Geometry(x.shape, weight.shape, stride, padding, dilation, groups)
    algorithm = unplanned_convolution(geometry, x, weight, "numba")
    if algorithm is None or not (bias is None or fits(bias, weight.shape[:1])):
        return REFERENCE["conv2d"](x, weight, bias, stride, padding, dilation, groups)
    n, o, ho, wo = geometry.y_shape
    bias = np.zeros(o, np.float32) if bias is None else bias
    if algorithm == "winograd":
        filters = conv_winograd_gradient.filters(zero_padded(weight, 16, 16))
        return channels_first(winograd_convolution(channels_last(x, multiple=16), filters, zero_padded(bias, 16), geometry.padding), o)
    if algorithm == "batch innermost":
        x = batch_innermost(x, IMAGES)
        y = empty(o, ho, wo, x.shape[3])
        conv_batch_innermost.forward(x, weight, bias, geometry.padding, y)
        return batch_first(y, n)
    y = empty(n, ho, wo, round_up(o, 8))
    conv_patches.forward(channels_last(x, padding=geometry.padding), weight, zero_padded(bias, 8), y, geometry.stride, geometry.dilation)
    return channels_first(y, o)


def conv2d_backward(grad_y, x, weight, stride=1, padding=0, dilation=1, groups=1, input_gradient=True):
    """See ``minicnn.functional.conv2d_backward``."""
    geometry = Geometry(x.shape, weight.shape, stride, padding, dilation, groups)
    algorithm = unplanned_convolution(geometry, x, weight, "numba")
    if algorithm is None or not fits(grad_y, geometry.y_shape):
        return REFERENCE["conv2d_backward"](grad_y, x, weight, stride, padding, dilation, groups, input_gradient)
    if algorithm == "batch innermost":
        return batch_innermost_gradients(grad_y, x, weight, geometry, input_gradient)
    o, c = weight.shape[:2]
    grad_y = channels_last(grad_y, multiple=16)
    grad_bias = grad_y.sum(axis=2).sum(axis=(0, 1))[:o]                     # row by row, so that float32 is precise enough
    gradients = winograd_gradients if algorithm == "winograd" else patches_gradients
    grad_weight, grad_x = gradients(grad_y, x, weight, geometry, input_gradient)
    return grad_x if grad_x is None else channels_first(grad_x, c), np.ascontiguousarray(grad_weight[:o, :c]), grad_bias


def batch_innermost_gradients(grad_y, x, weight, geometry, input_gradient):
    """grad_x (N, C, H, W) or None, grad_weight (O, C, KH, KW) and grad_bias (O,), from grad_y (N, O, Ho, Wo) and x (N, C, H, W)."""
    (n, c, h, w), grad_y = x.shape, batch_innermost(grad_y, IMAGES)
    grad_weight, grad_bias = conv_batch_innermost.weight_gradient(grad_y, batch_innermost(x, IMAGES, geometry.padding), geometry.kernel)
    if not input_gradient:
        return None, grad_weight, grad_bias
    grad_x = empty(c, h, w, grad_y.shape[3])
    conv_batch_innermost.input_gradient(grad_y, weight, geometry.padding, grad_x)
    return batch_first(grad_x, n), grad_weight, grad_bias


def winograd_gradients(grad_y, x, weight, geometry, input_gradient):
    """grad_weight (O', C', 3, 3), and grad_x (N, H, W, C') or None, from grad_y (N, Ho, Wo, O') and x (N, C, H, W)."""
    grad_weight, grad_x = conv_winograd_gradient.weight_gradient(grad_y, channels_last(x, multiple=16), geometry.padding), None
    if input_gradient:
        filters = conv_winograd_gradient.rotated_filters(zero_padded(weight, 16, 16))
        bias = np.zeros(round_up(x.shape[1], 16), np.float32)
        grad_x = winograd_convolution(grad_y, filters, bias, tuple(2 - p for p in geometry.padding))
    return grad_weight, grad_x


def patches_gradients(grad_y, x, weight, geometry, input_gradient):
    """grad_weight (O', C, KH, KW), and grad_x (N, H, W, C') or None, from grad_y (N, Ho, Wo, O') and x (N, C, H, W)."""
    grad_weight = conv_patches.weight_gradient(grad_y, channels_last(x, padding=geometry.padding), geometry.kernel, geometry.stride,
                                               geometry.dilation)
    if not input_gradient:
        return grad_weight, None
    n, c, h, w = x.shape
    return grad_weight, gradient_by_convolutions(grad_y, zero_padded(weight, 16), (n, h, w, round_up(c, 8)), geometry.stride,
                                                 geometry.padding, geometry.dilation, conv_patches.backward)


def winograd_convolution(x, filters, bias, padding):
    """y (N, Ho, Wo, O) = the 3 x 3 convolution of x (N, H, W, C) by Winograd's algorithm, with transformed filters."""
    n, h, w, _ = x.shape
    y = empty(n, h + 2 * padding[0] - 2, w + 2 * padding[1] - 2, len(bias))
    strip = {"tiles": min(TILES, n * -(-y.shape[1] // OUT) * -(-y.shape[2] // OUT)), "together": True}
    winograd(x, filters, bias, y, padding, scratch=empty(winograd_scratch(x.shape, len(bias), padding, **strip)), **strip)
    return y


def zero_padded(array, *multiples):
    """An array with zeros appended, so that its first axes have lengths that are multiples of these."""
    widths = [(0, round_up(side, multiple) - side) for side, multiple in zip(array.shape, multiples)]
    if any(after for _, after in widths):
        return np.pad(array, widths + [(0, 0)] * (array.ndim - len(widths)))
    return np.ascontiguousarray(array)


# linear layers

def linear(x, weight, bias=None):
    """See ``minicnn.functional.linear``."""
    if not unplanned_linear(x, weight) or not (bias is None or fits(bias, weight.shape[:1])):
        return REFERENCE["linear"](x, weight, bias)
    n, o = len(x), len(weight)
    x = batch_innermost(x[:, :, None, None], IMAGES)
    y = empty(o, 1, 1, x.shape[3])
    conv_batch_innermost.forward(x, weight[:, :, None, None], np.zeros(o, np.float32) if bias is None else bias, (0, 0), y)
    return batch_first(y, n)[:, :, 0, 0]


def linear_backward(grad_y, x, weight, input_gradient=True):
    """See ``minicnn.functional.linear_backward``."""
    if not unplanned_linear(x, weight) or not fits(grad_y, (len(x), len(weight))):
        return REFERENCE["linear_backward"](grad_y, x, weight, input_gradient)
    (n, o), i, grad_x = grad_y.shape, x.shape[1], None
    rows = zero_padded(x, 1, IMAGES)                      # grad_y^T x is a convolution, too: of x's columns, with grad_y as weights
    grad_weight = empty(o, 1, 1, rows.shape[1])
    conv_batch_innermost.forward(rows[:, None, None], np.ascontiguousarray(grad_y.T)[:, :, None, None], np.zeros(o, np.float32), (0, 0),
                                 grad_weight)
    if input_gradient:
        g = batch_innermost(grad_y[:, :, None, None], IMAGES)
        grad_x = empty(i, 1, 1, g.shape[3])
        conv_batch_innermost.input_gradient(g, weight[:, :, None, None], (0, 0), grad_x)
        grad_x = batch_first(grad_x, n)[:, :, 0, 0]
    return grad_x, np.ascontiguousarray(grad_weight[:, 0, 0, :i]), grad_y.sum(axis=0)


# max pooling

def max_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, return_indices=True):
    """See ``minicnn.functional.max_pool2d``."""
    windows = Windows(x.shape, kernel_size, stride, padding, ceil_mode)
    order = memory_order(x)
    if x.dtype != np.float32 or order is None or math.prod(windows.kernel) > 255:
        return REFERENCE["max_pool2d"](x, kernel_size, stride, padding, ceil_mode, return_indices)
    x = x.transpose(order)
    shape = (len(x), *windows.out, x.shape[3])
    y, index = empty(*shape), np.empty(shape if return_indices else 0, np.uint8)
    largest(x.reshape(-1), y.reshape(-1), index.reshape(-1), *x.shape, *windows.out, *windows.kernel, *windows.stride,
            *windows.padding, return_indices)
    return y.transpose(INVERSE[order]), index.transpose(INVERSE[order]) if return_indices else None


def max_pool2d_backward(grad_y, index, x_shape, kernel_size, stride=None, padding=0, ceil_mode=False):
    """See ``minicnn.functional.max_pool2d_backward``."""
    windows = Windows(x_shape, kernel_size, stride, padding, ceil_mode)
    order, shape = memory_order(index), (*x_shape[:2], *windows.out)
    if order is None or index.dtype != np.uint8 or index.shape != shape or not fits(grad_y, shape):
        return REFERENCE["max_pool2d_backward"](grad_y, index, x_shape, kernel_size, stride, padding, ceil_mode)
    grad_y, index = np.ascontiguousarray(grad_y.transpose(order)), index.transpose(order)
    a, h, w, b = (x_shape[axis] for axis in order)
    grad_x = empty(a, h, w, b)
    scatter(grad_y.reshape(-1), index.reshape(-1), grad_x.reshape(-1), a, h, w, b, *windows.out, *windows.kernel, *windows.stride,
            *windows.padding)
    return grad_x.transpose(INVERSE[order])


def memory_order(x):
    """The axes of x (N, C, H, W) in order of memory, if at least 8 channels or images are innermost; else None."""
    if x.size and is_channels_last(x) and x.shape[1] >= 8:
        return CHANNELS_LAST
    return BATCH_INNERMOST if x.size and is_batch_innermost(x) and len(x) >= 8 else None


# ReLU, SGD

def relu(x):
    """See ``minicnn.functional.relu``."""
    if not is_dense(x):
        return REFERENCE["relu"](x)
    y = np.empty_like(x)
    relu_kernels.forward(flat(x), flat(y))
    return y


def relu_backward(grad_y, x):
    """See ``minicnn.functional.relu_backward``."""
    if not is_dense(x) or not fits(grad_y, x.shape):
        return REFERENCE["relu_backward"](grad_y, x)
    grad_x = np.empty_like(x)
    if grad_y.strides != x.strides:
        grad_y, given = np.empty_like(x), grad_y
        grad_y[...] = given
    relu_kernels.backward(flat(grad_y), flat(x), flat(grad_x))
    return grad_x


def is_dense(x):
    """Whether an array is float32, large, and fills its memory without gaps."""
    return x.size >= LARGE and x.dtype == np.float32 and x.strides == np.empty_like(x).strides


def flat(x):
    """The numbers of an array in order of memory."""
    return x.ravel(order="K")


def sgd_update(parameter, gradient, buffer, lr, momentum, weight_decay, nesterov):
    """See ``minicnn.optim.sgd_update``; equal to the reference to the last bit."""
    arrays = [parameter, gradient] if buffer is None else [parameter, gradient, buffer]
    if parameter.size < LARGE or not all(fits(a, parameter.shape) and a.flags.c_contiguous for a in arrays) or \
            not (parameter.flags.writeable and arrays[-1].flags.writeable):
        REFERENCE["sgd_update"](parameter, gradient, buffer, lr, momentum, weight_decay, nesterov)
        return
    sgd.sgd(*(a.reshape(-1) for a in (arrays + arrays)[:3]), *map(np.float32, (lr, momentum, weight_decay)), nesterov)


KERNELS = {kernel.__name__: kernel for kernel in (conv2d, conv2d_backward, linear, linear_backward, max_pool2d, max_pool2d_backward, relu,
                                                  relu_backward, sgd_update)}

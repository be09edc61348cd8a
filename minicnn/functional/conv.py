"""Two-dimensional convolution (cross-correlation, as in torch) by im2col and a matrix product.

Every output pixel is the inner product of a filter with the patch under it. ``im2col`` writes the patches as the columns of a matrix,
so that all pixels of all images are computed by one product ``rows @ columns``, where the rows are the filters.

In memory the batch is innermost: arrays are (C, H, W, N), returned as the view (N, C, H, W). For the small images of LeNet every copy
below then runs over N adjacent numbers, which is three times as fast as running over a row of 8 pixels.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minicnn.functional import checks
from minicnn.functional.dispatch import check_of, operation

# Bytes of the columns made at a time: few enough to stay in the processor's cache between being written and being multiplied, but at
# least as many as the weights have, which are read again for each strip of rows.
COLUMN_BYTES = 2**20

IntPair = int | Sequence[int]           # a number, or (vertical, horizontal)


@operation
def conv2d(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None, stride: IntPair = 1, padding: IntPair = 0,
           dilation: IntPair = 1, groups: int = 1) -> np.ndarray:
    """Correlate each image with each filter: y[n, o] = bias[o] + sum over c, i, j of weight[o, c, i, j] * patch of x[n, c].

    Args:
        x: (N, C, H, W), floating; its dtype is kept.
        weight: (O, C // groups, KH, KW).
        bias: (O,) or None.
        stride, padding, dilation: int or (vertical, horizontal), pixels; padding is of zeros, on both sides.
        groups: the output channels of group g read only the input channels of group g; groups = C = O is depthwise.

    Returns:
        y: (N, O, Ho, Wo), with Ho = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1; a view, batch innermost in memory.

    Raises:
        ValueError: the shapes do not fit each other, the kernel is larger than the padded image, or a number is out of range.
        TypeError: the arrays are not all floating.

    Memory: the columns of all pixels would hold KH * KW copies of the input, so they are made for some output rows at a time.

    Reference: Chellapilla, Puri, Simard, High performance convolutional neural networks for document processing (2006).

    >>> image = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv2d(image, np.ones((1, 1, 2, 2)))[0, 0].tolist()         # sums of 2 x 2 pixels
    [[8.0, 12.0], [20.0, 24.0]]
    """
    geometry = Geometry(x.shape, weight.shape, stride, padding, dilation, groups)
    n, o, ho, wo = geometry.y_shape
    rows = weight.reshape(groups, o // groups, -1)                   # (G, O/G, C/G KH KW)
    y = np.empty((o, ho, wo, n), np.result_type(x, weight))
    for strip, columns in im2col(x, geometry):                       # (G, C/G KH KW, S Wo N)
        y[:, strip] = (rows @ columns).reshape(o, strip.stop - strip.start, wo, n)
    if bias is not None:
        y += bias[:, None, None, None]
    return y.transpose(3, 0, 1, 2)


@operation
def conv2d_backward(grad_y: np.ndarray, x: np.ndarray, weight: np.ndarray, stride: IntPair = 1, padding: IntPair = 0,
                    dilation: IntPair = 1, groups: int = 1,
                    input_gradient: bool = True) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Gradients of ``conv2d``: with y = rows @ columns, they are (columns @ grad_y^T)^T and rows^T @ grad_y.

    Args:
        grad_y: (N, O, Ho, Wo), the gradient of the loss with respect to y.
        x, weight, stride, padding, dilation, groups: as given to ``conv2d``.
        input_gradient: False: grad_x is not computed, which the first layer of a network does not need.

    Returns:
        grad_x: (N, C, H, W) or None; grad_weight: as weight; grad_bias: (O,).
    """
    geometry = Geometry(x.shape, weight.shape, stride, padding, dilation, groups)
    o = weight.shape[0]
    rows = weight.reshape(groups, o // groups, -1)
    grad_rows_t = np.zeros(rows.transpose(0, 2, 1).shape, x.dtype)                        # (G, C/G KH KW, O/G)
    padded = np.zeros(geometry.padded_shape, x.dtype) if input_gradient else None         # (C, Hp, Wp, N)
    grad_y = grad_y.transpose(1, 2, 3, 0)                                                 # (O, Ho, Wo, N)
    for strip, columns in im2col(x, geometry):                                            # (G, C/G KH KW, S Wo N)
        grad = grad_y[:, strip].reshape(groups, o // groups, -1)                          # (G, O/G, S Wo N)
        grad_rows_t += columns @ grad.transpose(0, 2, 1)
        if padded is not None:
            add_col2im(padded, rows.transpose(0, 2, 1) @ grad, strip, geometry)
    grad_x = None
    if padded is not None:
        (ph, pw), (h, w) = geometry.padding, x.shape[2:]
        grad_x = padded[:, ph:ph + h, pw:pw + w].transpose(3, 0, 1, 2)
    return grad_x, grad_rows_t.transpose(0, 2, 1).reshape(weight.shape), grad_y.sum(axis=(1, 2, 3))


@check_of(conv2d)
def check_conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    checks.floating("conv2d", x=x, weight=weight, bias=bias)
    checks.shape("conv2d", "bias", bias, weight.shape[:1])              # every kernel checks the others, by a ``Geometry``


@check_of(conv2d_backward)
def check_conv2d_backward(grad_y, x, weight, stride=1, padding=0, dilation=1, groups=1, input_gradient=True):
    checks.floating("conv2d", grad_y=grad_y, x=x, weight=weight)
    checks.shape("conv2d", "grad_y", grad_y, Geometry(x.shape, weight.shape, stride, padding, dilation, groups).y_shape)


class Geometry:
    """The checked arguments of a convolution as pairs, and the shapes that follow from them."""

    def __init__(self, x_shape, weight_shape, stride, padding, dilation, groups):
        got = f"conv2d: got x {tuple(x_shape)}, weight {tuple(weight_shape)}, groups={groups}"
        if len(x_shape) != 4 or len(weight_shape) != 4:
            raise ValueError(f"{got}; expected x (N, C, H, W) and weight (O, C // groups, KH, KW). "
                             "For one image, pass image[None].")
        self.stride, self.padding, self.dilation = pair(stride), pair(padding), pair(dilation)
        n, c, h, w = x_shape
        o, c_group, kh, kw = weight_shape
        if min(h, w, o, kh, kw, *self.stride, *self.dilation, groups) < 1 or min(self.padding) < 0:
            raise ValueError(f"{got}, stride={stride}, padding={padding}, dilation={dilation}; expected H, W, O, KH, KW, stride, dilation "
                             "and groups of at least 1, and a padding of at least 0.")
        if c != c_group * groups or o % groups:
            raise ValueError(f"{got}; expected {c_group * groups} input channels and O divisible by groups. "
                             "Transpose x if it is (N, H, W, C).")
        self.kernel, self.groups = (kh, kw), groups
        self.extent = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel))  # pixels under a dilated kernel
        padded = tuple(side + 2 * p for side, p in zip((h, w), self.padding))
        ho, wo = ((side - e) // s + 1 for side, e, s in zip(padded, self.extent, self.stride))
        if ho < 1 or wo < 1:
            raise ValueError(f"{got}; expected a padded image of at least {self.extent}, it has {padded}. "
                             "Use a larger image or more padding.")
        self.padded_shape = (c, *padded, n)
        self.weight_bytes = 4 * math.prod(weight_shape)
        self.y_shape = (n, o, ho, wo)


def im2col(x, geometry):
    """Write the patches of x (N, C, H, W) as columns, for some output rows at a time.

    Yields:
        strip: slice of S output rows.
        columns: (G, C/G KH KW, S Wo N), valid until the next iteration.
    """
    (ph, pw), (sh, sw), (dh, dw) = geometry.padding, geometry.stride, geometry.dilation
    x = np.ascontiguousarray(x.transpose(1, 2, 3, 0))                    # (C, H, W, N): no copy of what conv2d returned
    (c, h, w, n), (kh, kw), (_, _, ho, wo) = x.shape, geometry.kernel, geometry.y_shape
    row = c * kh * kw * wo * n                                           # values in the columns of one output row
    step = min(ho, max(1, max(COLUMN_BYTES, geometry.weight_bytes) // max(1, row * x.itemsize)))
    memory = np.empty(row * step, x.dtype)
    band = np.zeros((c, (step - 1) * sh + geometry.extent[0], w + 2 * pw, n), x.dtype)      # padded input rows under a strip
    for start in range(0, ho, step):
        strip = slice(start, min(start + step, ho))
        s = strip.stop - start
        top, rows = start * sh - ph, (s - 1) * sh + geometry.extent[0]
        inside = slice(min(max(top, 0), h), min(max(top + rows, 0), h))
        band[:, :inside.start - top] = 0
        band[:, inside.start - top:inside.stop - top, pw:pw + w] = x[:, inside]
        band[:, inside.stop - top:] = 0
        windows = sliding_window_view(band[:, :rows], geometry.extent, axis=(1, 2))[:, ::sh, ::sw, :, ::dh, ::dw]
        columns = memory[:row * s].reshape(c, kh, kw, s, wo, n)
        columns[...] = windows.transpose(0, 4, 5, 1, 2, 3)               # (C, KH, KW, S, Wo, N)
        yield strip, columns.reshape(geometry.groups, c // geometry.groups * kh * kw, s * wo * n)


def add_col2im(x, columns, strip, geometry):
    """Add each column to the patch it was written from, in place; x is (C, Hp, Wp, N), padded."""
    (c, _, _, n), (kh, kw), (sh, sw), (dh, dw) = x.shape, geometry.kernel, geometry.stride, geometry.dilation
    s, wo = strip.stop - strip.start, geometry.y_shape[3]
    columns = columns.reshape(c, kh, kw, s, wo, n)
    for i in range(kh):
        for j in range(kw):
            top, left = strip.start * sh + i * dh, j * dw
            x[:, top:top + (s - 1) * sh + 1:sh, left:left + (wo - 1) * sw + 1:sw] += columns[:, i, j]


def pair(value: IntPair) -> tuple[int, ...]:
    """(vertical, horizontal) of a number, alone or in a sequence, which stands for both as in torch, or of a sequence of two.

    Raises:
        ValueError: it is neither an integer nor two.
    """
    sides = (value,) if isinstance(value, (int, np.integer)) else value
    if isinstance(sides, (tuple, list, np.ndarray)) and len(sides) in (1, 2) and all(isinstance(n, (int, np.integer)) for n in sides):
        return tuple(sides) * (3 - len(sides))
    raise ValueError(f"got {value!r}, expected an integer, or two: (vertical, horizontal).")

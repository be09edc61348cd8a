"""Two-dimensional convolution (cross-correlation, as in torch) by im2col and a matrix product.

Every output pixel is the product of a filter with the patch under it. ``im2col`` writes the patches side by side as the
columns of a matrix, so that all pixels of all images come from one product ``rows @ columns``: the filters are the rows.

In memory the batch is innermost: arrays are (C, H, W, N), returned as the view (N, C, H, W). For the small pictures of
LeNet this makes every copy below run over N adjacent numbers, which is three times as fast as running over a row of 8 pixels.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minicnn.functional.kernels import kernel

# Columns held at once. A larger batch is worked off in blocks of images; one image always goes whole.
COLUMN_BYTES = 64 * 2**20


@kernel
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Correlate each image with each filter: y[n, o] = bias[o] + sum over c, i, j of weight[o, c, i, j] * patch of x[n, c].

    Args:
        x: (N, C, H, W), floating; its dtype is kept.
        weight: (O, C // groups, KH, KW).
        bias: (O,) or None.
        stride, padding, dilation: int or (vertical, horizontal), pixels; padding is of zeros, on both sides.
        groups: output channels o of group g see the input channels of group g only; groups = C = O is depthwise.

    Returns:
        y: (N, O, Ho, Wo), with Ho = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1; a view, batch innermost in memory.

    Raises:
        ValueError: shapes that do not fit one another, or a kernel larger than the padded picture.

    Memory: the columns hold KH * KW copies of the input, of at most 64 MiB or one image at a time.

    Reference: Chellapilla, Puri, Simard, High performance convolutional neural networks for document processing (2006).
    """
    geometry = Geometry(x.shape, weight.shape, stride, padding, dilation, groups)
    n, o, ho, wo = geometry.y_shape
    rows = weight.reshape(groups, o // groups, -1)                   # (G, O/G, C/G KH KW)
    y = np.empty((o, ho, wo, n), np.result_type(x, weight))
    for images in geometry.blocks(x.dtype.itemsize):
        columns = im2col(x[images], geometry)                        # (G, C/G KH KW, Ho Wo B)
        y[..., images] = (rows @ columns).reshape(o, ho, wo, -1)
    if bias is not None:
        y += bias[:, None, None, None]
    return y.transpose(3, 0, 1, 2)


@kernel
def conv2d_backward(grad_y, x, weight, stride=1, padding=0, dilation=1, groups=1, input_gradient=True):
    """Gradients of ``conv2d``: with y = rows @ columns, they are (columns @ grad_y^T)^T and rows^T @ grad_y.

    Args:
        grad_y: (N, O, Ho, Wo), the gradient of the loss with respect to y.
        x, weight, stride, padding, dilation, groups: as given to ``conv2d``.
        input_gradient: False leaves grad_x out (the first layer of a network needs none).

    Returns:
        grad_x: (N, C, H, W) or None; grad_weight: as weight; grad_bias: (O,).
    """
    geometry = Geometry(x.shape, weight.shape, stride, padding, dilation, groups)
    o = weight.shape[0]
    rows = weight.reshape(groups, o // groups, -1)
    grad_rows_t = np.zeros(rows.transpose(0, 2, 1).shape, x.dtype)                        # (G, C/G KH KW, O/G)
    grad_x = np.zeros(geometry.padded_shape, x.dtype) if input_gradient else None         # (C, Hp, Wp, N)
    grad_y = grad_y.transpose(1, 2, 3, 0)                                                 # (O, Ho, Wo, N)
    for images in geometry.blocks(x.dtype.itemsize):
        grad = grad_y[..., images].reshape(groups, o // groups, -1)                       # (G, O/G, Ho Wo B)
        grad_rows_t = grad_rows_t + im2col(x[images], geometry) @ grad.transpose(0, 2, 1)
        if input_gradient:
            add_col2im(grad_x[..., images], rows.transpose(0, 2, 1) @ grad, geometry)
    if input_gradient:
        (ph, pw), (h, w) = geometry.padding, x.shape[2:]
        grad_x = grad_x[:, ph:ph + h, pw:pw + w].transpose(3, 0, 1, 2)
    return grad_x, grad_rows_t.transpose(0, 2, 1).reshape(weight.shape), grad_y.sum(axis=(1, 2, 3))


class Geometry:
    """What a convolution's shapes and arguments come to; checked here, once."""

    def __init__(self, x_shape, weight_shape, stride, padding, dilation, groups):
        got = f"conv2d: got x {tuple(x_shape)}, weight {tuple(weight_shape)}, groups={groups}"
        if len(x_shape) != 4 or len(weight_shape) != 4:
            raise ValueError(f"{got}; expected x (N, C, H, W) and weight (O, C // groups, KH, KW). "
                             "For one image, pass image[None].")
        n, c, h, w = x_shape
        o, c_group, kh, kw = weight_shape
        if c != c_group * groups or o % groups:
            raise ValueError(f"{got}; expected {c_group * groups} input channels and O divisible by groups. "
                             "Transpose x if it is (N, H, W, C).")
        self.stride, self.padding, self.dilation = pair(stride), pair(padding), pair(dilation)
        self.kernel, self.groups = (kh, kw), groups
        self.extent = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel))  # pixels under a dilated kernel
        padded = tuple(side + 2 * p for side, p in zip((h, w), self.padding))
        ho, wo = ((side - e) // s + 1 for side, e, s in zip(padded, self.extent, self.stride))
        if ho < 1 or wo < 1:
            raise ValueError(f"{got}; expected a padded picture of at least {self.extent}, it has {padded}. "
                             "Use a larger picture or more padding.")
        self.padded_shape = (c, *padded, n)
        self.y_shape = (n, o, ho, wo)

    def blocks(self, itemsize):
        """Slices of the batch whose columns fit ``COLUMN_BYTES``."""
        (n, _, ho, wo), (kh, kw) = self.y_shape, self.kernel
        step = max(1, COLUMN_BYTES // (itemsize * self.padded_shape[0] * kh * kw * ho * wo))
        return [slice(start, min(start + step, n)) for start in range(0, n, step)]

    def taps(self):
        """For each kernel position (i, j), the rows and columns of the padded picture it meets, output by output."""
        (kh, kw), (ho, wo) = self.kernel, self.y_shape[2:]
        for i in range(kh):
            top = i * self.dilation[0]
            for j in range(kw):
                left = j * self.dilation[1]
                yield i, j, (slice(top, top + (ho - 1) * self.stride[0] + 1, self.stride[0]),
                             slice(left, left + (wo - 1) * self.stride[1] + 1, self.stride[1]))


def im2col(x, geometry):
    """Lay the patches of x (B, C, H, W) out as columns: (G, C/G KH KW, Ho Wo B)."""
    c = x.shape[1]
    (ph, pw), (sh, sw), (dh, dw) = geometry.padding, geometry.stride, geometry.dilation
    x = np.ascontiguousarray(x.transpose(1, 2, 3, 0))                # (C, H, W, B): free if it came from here
    if ph or pw:
        x = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    windows = sliding_window_view(x, geometry.extent, axis=(1, 2))[:, ::sh, ::sw, :, ::dh, ::dw]
    columns = windows.transpose(0, 4, 5, 1, 2, 3)                    # (C, KH, KW, Ho, Wo, B), still a view
    kh, kw = geometry.kernel
    return columns.reshape(geometry.groups, c // geometry.groups * kh * kw, -1)


def add_col2im(x, columns, geometry):
    """Add each column back to the patch it came from, in place; x is (C, Hp, Wp, B)."""
    (ho, wo), (kh, kw) = geometry.y_shape[2:], geometry.kernel
    columns = columns.reshape(x.shape[0], kh, kw, ho, wo, x.shape[-1])
    for i, j, (down, across) in geometry.taps():
        x[:, down, across] += columns[:, i, j]


def pair(value):
    """torch's rule: one number stands for (vertical, horizontal)."""
    return (value, value) if np.ndim(value) == 0 else tuple(value)

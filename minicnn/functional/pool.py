"""Max, average and adaptive average pooling.

A window of K x K pixels has K * K taps. The tap (i, j) of all windows together is a strided slice of the image, so each pooling is a
short loop over taps, and windows may overlap.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.functional import checks
from minicnn.functional.conv import IntPair, pair
from minicnn.functional.dispatch import check_of, operation


@operation
def max_pool2d(x: np.ndarray, kernel_size: IntPair, stride: IntPair | None = None, padding: IntPair = 0, ceil_mode: bool = False,
               return_indices: bool = True) -> tuple[np.ndarray, Any]:
    """The largest value of each window.

    Args:
        x: (N, C, H, W), floating; its dtype is kept.
        kernel_size: int or (vertical, horizontal), pixels.
        stride: likewise; None means kernel_size, as in torch.
        padding: pixels of -inf on each side, at most half the kernel, so that no window is all padding.
        ceil_mode: add a last window that extends beyond the edge, if it starts inside the image or its left padding.
        return_indices: False, for inference: index is not computed, which takes most of the time.

    Returns:
        y: (N, C, Ho, Wo).
        index: (N, C, Ho, Wo), unsigned, the position of the maximum in its window, row by row (the first of equals, as in torch); or None.

    Raises:
        ValueError: x is not 4-D or has no pixels, the padding exceeds half the kernel, or a number is out of range.
        TypeError: x is not floating.

    Reference: Goodfellow, Bengio, Courville, Deep Learning (2016), section 9.3.

    >>> y, index = max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    >>> y[0, 0].tolist(), index[0, 0].tolist()
    ([[5.0, 7.0], [13.0, 15.0]], [[3, 3], [3, 3]])
    """
    windows = Windows(x.shape, kernel_size, stride, padding, ceil_mode)
    taps = windows.taps(windows.pad(x, -np.inf))
    y = next(taps).copy(order="K")
    if not return_indices:
        for value in taps:
            np.maximum(y, value, out=y)
        return y, None
    index = np.zeros_like(y, dtype=np.min_scalar_type(windows.kernel[0] * windows.kernel[1]))
    for tap, value in enumerate(taps, start=1):
        better = (value > y) | (value != value)                           # NaN wins, as in torch
        np.maximum(index, better * index.dtype.type(tap), out=index)      # taps rise, so the later of two is the larger number
        np.maximum(y, value, out=y)
    return y, index


@operation
def max_pool2d_backward(grad_y: np.ndarray, index: np.ndarray, x_shape: Sequence[int], kernel_size: IntPair,
                        stride: IntPair | None = None, padding: IntPair = 0, ceil_mode: bool = False) -> np.ndarray:
    """Gradient of ``max_pool2d``, which each window passes to its maximum: (N, C, Ho, Wo) -> grad_x (N, C, H, W)."""
    windows = Windows(x_shape, kernel_size, stride, padding, ceil_mode)
    padded, grad_x = windows.zeros_like_input(grad_y)
    for tap, value in enumerate(windows.taps(padded)):
        value += grad_y * (index == tap).astype(grad_y.dtype)
    return grad_x


@operation
def avg_pool2d(x: np.ndarray, kernel_size: IntPair, stride: IntPair | None = None, padding: IntPair = 0, ceil_mode: bool = False,
               count_include_pad: bool = True) -> np.ndarray:
    """The mean of each window.

    Args:
        x, kernel_size, stride, ceil_mode: as for ``max_pool2d``.
        padding: pixels of 0 on each side, at most half the kernel.
        count_include_pad: divide by the number of the window's pixels in the image and the padding; False: in the image only.

    Returns:
        y: (N, C, Ho, Wo).

    >>> avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)[0, 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    windows = Windows(x.shape, kernel_size, stride, padding, ceil_mode)
    return sum(windows.taps(windows.pad(x, 0))) / windows.counts(count_include_pad).astype(x.dtype)


@operation
def avg_pool2d_backward(grad_y: np.ndarray, x_shape: Sequence[int], kernel_size: IntPair, stride: IntPair | None = None,
                        padding: IntPair = 0, ceil_mode: bool = False, count_include_pad: bool = True) -> np.ndarray:
    """Gradient of ``avg_pool2d``, which each window divides among its pixels: (N, C, Ho, Wo) -> grad_x (N, C, H, W)."""
    windows = Windows(x_shape, kernel_size, stride, padding, ceil_mode)
    padded, grad_x = windows.zeros_like_input(grad_y)
    share = grad_y / windows.counts(count_include_pad).astype(grad_y.dtype)
    for value in windows.taps(padded):
        value += share
    return grad_x


@operation
def adaptive_avg_pool2d(x: np.ndarray, output_size: IntPair) -> np.ndarray:
    """The means of a grid of bins of a given size.

    Along an axis of n pixels, bin i of o covers the pixels [floor(i n / o), ceil((i + 1) n / o)); bins may overlap.

    Args:
        x: (N, C, H, W), floating; its dtype is kept.
        output_size: int or (Ho, Wo).

    Returns:
        y: (N, C, Ho, Wo).

    Raises:
        ValueError: x is not 4-D or has no pixels, or output_size is negative.

    >>> adaptive_avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 1).item()
    7.5
    """
    y = np.empty((*x.shape[:2], *pair(output_size)), x.dtype)
    for i, j, down, across in bins(x.shape, y.shape):
        y[:, :, i, j] = x[:, :, down, across].mean(axis=(2, 3))
    return y


@operation
def adaptive_avg_pool2d_backward(grad_y: np.ndarray, x_shape: Sequence[int]) -> np.ndarray:
    """Gradient of ``adaptive_avg_pool2d``, which each bin divides among its pixels: (N, C, Ho, Wo) -> grad_x (N, C, H, W)."""
    grad_x = np.zeros(x_shape, grad_y.dtype)
    for i, j, down, across in bins(x_shape, grad_y.shape):
        pixels = (down.stop - down.start) * (across.stop - across.start)
        grad_x[:, :, down, across] += grad_y[:, :, i, j, None, None] / pixels
    return grad_x


@check_of(max_pool2d, avg_pool2d)
def check_pooling(x, kernel_size, stride=None, padding=0, ceil_mode=False, *further, **named):
    checks.floating("pooling", x=x)                                     # every kernel checks the others, by ``Windows``


@check_of(max_pool2d_backward)
def check_max_pool2d_backward(grad_y, index, x_shape, kernel_size, stride=None, padding=0, ceil_mode=False):
    check_avg_pool2d_backward(grad_y, x_shape, kernel_size, stride, padding, ceil_mode)
    if checks.kind(index) not in "iu" or index.shape != grad_y.shape:
        raise ValueError(f"pooling: got an index that is not of integers {grad_y.shape}, as grad_y. Pass what max_pool2d returned.")


@check_of(avg_pool2d_backward)
def check_avg_pool2d_backward(grad_y, x_shape, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    checks.floating("pooling", grad_y=grad_y)
    checks.shape("pooling", "grad_y", grad_y, (*x_shape[:2], *Windows(x_shape, kernel_size, stride, padding, ceil_mode).out))


@check_of(adaptive_avg_pool2d)
def check_adaptive(x, output_size):
    checks.floating("pooling", x=x)
    check_pixels(x.shape, channels=False)
    if min(pair(output_size)) < 0:
        raise ValueError(f"pooling: got output_size={output_size}, expected at least 0.")


@check_of(adaptive_avg_pool2d_backward)
def check_adaptive_backward(grad_y, x_shape):
    checks.floating("pooling", grad_y=grad_y)
    check_pixels(x_shape, channels=False)
    checks.shape("pooling", "grad_y", grad_y, (*x_shape[:2], "Ho", "Wo"))


def check_pixels(x_shape, channels=True):
    """Raise ValueError unless images are (N, C, H, W) and have pixels, and ``channels``; there may be no image."""
    if len(x_shape) != 4 or not all(x_shape[1 if channels else 2:]):
        raise ValueError(f"pooling: got x of shape {tuple(x_shape)}, expected (N, C, H, W) with pixels. For one image, pass image[None].")


def bins(x_shape, y_shape):
    """The bins of adaptive pooling: output row and column, and the slices of the image's rows and columns."""
    (h, w), (ho, wo) = x_shape[2:], y_shape[2:]
    for i in range(ho):
        for j in range(wo):
            yield i, j, slice(i * h // ho, -(-(i + 1) * h // ho)), slice(j * w // wo, -(-(j + 1) * w // wo))


class Windows:
    """The checked arguments of a pooling as pairs (vertical, horizontal), and where its windows lie."""

    def __init__(self, x_shape, kernel_size, stride, padding, ceil_mode):
        check_pixels(x_shape)
        self.x_shape = x_shape
        self.kernel, self.padding = pair(kernel_size), pair(padding)
        self.stride = self.kernel if stride is None else pair(stride)
        if min(*self.kernel, *self.stride) < 1 or min(self.padding) < 0:
            raise ValueError(f"pooling: got kernel_size={kernel_size}, stride={stride}, padding={padding}, expected a kernel and a stride "
                             "of at least 1, and a padding of at least 0.")
        self.out = tuple(self.count(axis, ceil_mode) for axis in (0, 1))
        if min(self.out) < 1 or any(2 * p > k for p, k in zip(self.padding, self.kernel)):
            raise ValueError(f"pooling: got kernel_size={kernel_size}, padding={padding} for x {tuple(x_shape)}, expected a "
                             "padding of at most half the kernel and a kernel no larger than the padded image.")

    def count(self, axis, ceil_mode):
        """The number of windows along an axis, 0 or 1."""
        n, k, s, p = self.x_shape[2 + axis], self.kernel[axis], self.stride[axis], self.padding[axis]
        free = n + 2 * p - k
        if not ceil_mode:
            return free // s + 1
        out = -(-free // s) + 1
        return out - 1 if (out - 1) * s >= n + p else out     # the last window must start in the image or its left padding

    def borders(self):
        """Pixels of padding (top, bottom), (left, right) that make every window whole."""
        return [(p, max(0, (out - 1) * s + k - n - p)) for p, out, s, k, n in
                zip(self.padding, self.out, self.stride, self.kernel, self.x_shape[2:])]

    def pad(self, x, value):
        """x with its ``borders``, filled with a value."""
        borders = self.borders()
        return np.pad(x, ((0, 0), (0, 0), *borders), constant_values=value) if any(map(any, borders)) else x

    def zeros_like_input(self, grad_y):
        """A padded array of zeros, batch innermost in memory, and the view of it that is the image."""
        (top, bottom), (left, right) = self.borders()
        n, c, h, w = self.x_shape
        padded = np.zeros((c, top + h + bottom, left + w + right, n), grad_y.dtype).transpose(3, 0, 1, 2)
        return padded, padded[:, :, top:top + h, left:left + w]

    def taps(self, padded):
        """The K * K strided views (N, C, Ho, Wo) of a padded image, row by row."""
        (ho, wo), (sh, sw) = self.out, self.stride
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                yield padded[:, :, i:i + (ho - 1) * sh + 1:sh, j:j + (wo - 1) * sw + 1:sw]

    def counts(self, include_pad):
        """(Ho, Wo): the number of pixels that each window's sum is divided by in average pooling."""
        sides = []
        for n, p, k, s, out in zip(self.x_shape[2:], self.padding, self.kernel, self.stride, self.out):
            start = np.arange(out) * s - p
            low, high = (-p, n + p) if include_pad else (0, n)
            sides.append(np.minimum(start + k, high) - np.maximum(start, low))
        return np.outer(*sides)

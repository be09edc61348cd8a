"""Max, average and adaptive average pooling.

A window of K x K pixels is taken apart into its K * K taps: the tap (i, j) of all windows at once is a strided slice of the
image. So each pooling is a short loop over taps, and windows may overlap.
"""

import numpy as np

from minicnn.functional.conv import pair
from minicnn.functional.dispatch import operation


@operation
def max_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, return_indices=True):
    """Take the largest value of each window.

    Args:
        x: (N, C, H, W), floating; its dtype is kept.
        kernel_size: int or (vertical, horizontal), pixels.
        stride: likewise; None means kernel_size, as in torch.
        padding: pixels of -inf on each side, at most half the kernel, so that no window is all padding.
        ceil_mode: also take a last window that hangs over the edge, if it starts inside the image or its left padding.
        return_indices: False, for inference, does without the winners' places, which cost most of the time.

    Returns:
        y: (N, C, Ho, Wo).
        index: (N, C, Ho, Wo), unsigned, the winner's place in its window, row by row; the first of equals, as in torch; or None.

    Raises:
        ValueError: x is not 4-D, or the padding exceeds half the kernel.

    Reference: Goodfellow, Bengio, Courville, Deep Learning (2016), section 9.3.
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
        np.maximum(index, better * index.dtype.type(tap), out=index)      # taps rise: a later winner is the larger number
        np.maximum(y, value, out=y)
    return y, index


@operation
def max_pool2d_backward(grad_y, index, x_shape, kernel_size, stride=None, padding=0, ceil_mode=False):
    """Send each window's gradient to its winner: (N, C, Ho, Wo) -> grad_x (N, C, H, W)."""
    windows = Windows(x_shape, kernel_size, stride, padding, ceil_mode)
    padded, grad_x = windows.zeros_like_input(grad_y)
    for tap, value in enumerate(windows.taps(padded)):
        value += grad_y * (index == tap).astype(grad_y.dtype)
    return grad_x


@operation
def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """Average each window.

    Args:
        x, kernel_size, stride, ceil_mode: as for ``max_pool2d``.
        padding: pixels of 0 on each side, at most half the kernel.
        count_include_pad: divide by the window's pixels inside image and padding; False: inside the image only.

    Returns:
        y: (N, C, Ho, Wo).
    """
    windows = Windows(x.shape, kernel_size, stride, padding, ceil_mode)
    return sum(windows.taps(windows.pad(x, 0))) / windows.counts(count_include_pad).astype(x.dtype)


@operation
def avg_pool2d_backward(grad_y, x_shape, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """Share each window's gradient among its pixels: (N, C, Ho, Wo) -> grad_x (N, C, H, W)."""
    windows = Windows(x_shape, kernel_size, stride, padding, ceil_mode)
    padded, grad_x = windows.zeros_like_input(grad_y)
    share = grad_y / windows.counts(count_include_pad).astype(grad_y.dtype)
    for value in windows.taps(padded):
        value += share
    return grad_x


@operation
def adaptive_avg_pool2d(x, output_size):
    """Average into a grid of a given size: bin i of n pixels covers [floor(i n / o), ceil((i + 1) n / o)); bins may overlap.

    Args:
        x: (N, C, H, W), floating; its dtype is kept.
        output_size: int or (Ho, Wo).

    Returns:
        y: (N, C, Ho, Wo).
    """
    y = np.empty((*x.shape[:2], *pair(output_size)), x.dtype)
    for i, j, down, across in bins(x.shape, y.shape):
        y[:, :, i, j] = x[:, :, down, across].mean(axis=(2, 3))
    return y


@operation
def adaptive_avg_pool2d_backward(grad_y, x_shape):
    """Share each bin's gradient among its pixels: (N, C, Ho, Wo) -> grad_x (N, C, H, W)."""
    grad_x = np.zeros(x_shape, grad_y.dtype)
    for i, j, down, across in bins(x_shape, grad_y.shape):
        pixels = (down.stop - down.start) * (across.stop - across.start)
        grad_x[:, :, down, across] += grad_y[:, :, i, j, None, None] / pixels
    return grad_x


def bins(x_shape, y_shape):
    """The bins of adaptive pooling: output row and column, and the slices of the image they average."""
    (h, w), (ho, wo) = x_shape[2:], y_shape[2:]
    for i in range(ho):
        for j in range(wo):
            yield i, j, slice(i * h // ho, -(-(i + 1) * h // ho)), slice(j * w // wo, -(-(j + 1) * w // wo))


class Windows:
    """Where pooling windows lie; checked here, once. Sides come as (vertical, horizontal)."""

    def __init__(self, x_shape, kernel_size, stride, padding, ceil_mode):
        if len(x_shape) != 4:
            raise ValueError(f"pooling: got x of shape {tuple(x_shape)}, expected (N, C, H, W). For one image, pass image[None].")
        self.x_shape = x_shape
        self.kernel, self.padding = pair(kernel_size), pair(padding)
        self.stride = self.kernel if stride is None else pair(stride)
        self.out = tuple(self.count(axis, ceil_mode) for axis in (0, 1))
        if min(self.out) < 1 or any(2 * p > k for p, k in zip(self.padding, self.kernel)):
            raise ValueError(f"pooling: got kernel_size={kernel_size}, padding={padding} for x {tuple(x_shape)}, expected a "
                             "padding of at most half the kernel and a kernel no larger than the padded image.")

    def count(self, axis, ceil_mode):
        """Windows along one axis."""
        n, k, s, p = self.x_shape[2 + axis], self.kernel[axis], self.stride[axis], self.padding[axis]
        free = n + 2 * p - k
        if not ceil_mode:
            return free // s + 1
        out = -(-free // s) + 1
        return out - 1 if (out - 1) * s >= n + p else out     # the last one must start inside image or left padding

    def borders(self):
        """Pixels to add (top, bottom), (left, right) so that every window is whole."""
        return [(p, max(0, (out - 1) * s + k - n - p)) for p, out, s, k, n in
                zip(self.padding, self.out, self.stride, self.kernel, self.x_shape[2:])]

    def pad(self, x, value):
        borders = self.borders()
        return np.pad(x, ((0, 0), (0, 0), *borders), constant_values=value) if any(map(any, borders)) else x

    def zeros_like_input(self, grad_y):
        """A padded array of zeros in grad_y's memory order, and the view of it that is the image."""
        (top, bottom), (left, right) = self.borders()
        n, c, h, w = self.x_shape
        padded = np.zeros((c, top + h + bottom, left + w + right, n), grad_y.dtype).transpose(3, 0, 1, 2)
        return padded, padded[:, :, top:top + h, left:left + w]

    def taps(self, padded):
        """The K * K views (N, C, Ho, Wo) of a padded image, row by row."""
        (ho, wo), (sh, sw) = self.out, self.stride
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                yield padded[:, :, i:i + (ho - 1) * sh + 1:sh, j:j + (wo - 1) * sw + 1:sw]

    def counts(self, include_pad):
        """(Ho, Wo): the pixels each window is divided by in average pooling."""
        sides = []
        for n, p, k, s, out in zip(self.x_shape[2:], self.padding, self.kernel, self.stride, self.out):
            start = np.arange(out) * s - p
            low, high = (-p, n + p) if include_pad else (0, n)
            sides.append(np.minimum(start + k, high) - np.maximum(start, low))
        return np.outer(*sides)

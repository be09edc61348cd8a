"""Nearest and bilinear resizing, pixel for pixel as torch's ``interpolate`` to a given size.

Implementations differ in the source position of an output pixel, so both rules follow torch's float32 operations step by step.
"""

from collections.abc import Sequence

import numpy as np

from minicnn.functional import checks
from minicnn.functional.conv import IntPair, pair
from minicnn.functional.dispatch import check_of, operation


@operation
def interpolate(x: np.ndarray, size: IntPair, mode: str = "nearest") -> np.ndarray:
    """Resize images.

    Args:
        x: (N, C, H, W), floating; its dtype is kept.
        size: int or (Ho, Wo), pixels.
        mode: "nearest" (the pixel at floor(dst * in / out)) or "bilinear" (align_corners=False, no antialiasing).

    Returns:
        y: (N, C, Ho, Wo).

    Raises:
        ValueError: another mode, x is not 4-D, or a side is 0.
        TypeError: x is not floating.

    >>> interpolate(np.array([[[[1.0, 2.0]]]]), (2, 4))[0, 0].tolist()
    [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]
    >>> interpolate(np.array([[[[1.0, 2.0]]]]), (1, 4), mode="bilinear")[0, 0].tolist()
    [[1.0, 1.25, 1.75, 2.0]]
    """
    (h, w), (ho, wo) = x.shape[2:], pair(size)
    if mode == "nearest":
        return x[:, :, nearest_index(h, ho)[:, None], nearest_index(w, wo)]
    for axis, n, out in ((2, h, ho), (3, w, wo)):
        first, second, share = bilinear_index(n, out)
        share = share.astype(x.dtype).reshape(-1, *(1,) * (3 - axis))
        x = x.take(first, axis) * (1 - share) + x.take(second, axis) * share
    return x


@operation
def interpolate_backward(grad_y: np.ndarray, x_shape: Sequence[int], mode: str = "nearest") -> np.ndarray:
    """Gradient of ``interpolate``: y = A_h x A_w^T, so grad_x = A_h^T grad_y A_w, (N, C, H, W)."""
    down, across = (source_weights(n, out, mode).astype(grad_y.dtype) for n, out in zip(x_shape[2:], grad_y.shape[2:]))
    return down.T @ grad_y @ across


@check_of(interpolate)
def check_interpolate(x, size, mode="nearest"):
    checks.floating("interpolate", x=x)
    check_sides(x.shape, pair(size), mode)


@check_of(interpolate_backward)
def check_interpolate_backward(grad_y, x_shape, mode="nearest"):
    checks.floating("interpolate", grad_y=grad_y)
    check_sides(x_shape, grad_y.shape[2:], mode)
    checks.shape("interpolate", "grad_y", grad_y, (*x_shape[:2], "Ho", "Wo"))


def check_sides(x_shape, size, mode):
    """Raise ValueError unless images (N, C, H, W) can be resized: no side is 0; there may be no image."""
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"interpolate: got mode={mode!r}, expected 'nearest' or 'bilinear'.")
    if len(x_shape) != 4 or min(*x_shape[1:], *size) < 1:
        raise ValueError(f"interpolate: got x {tuple(x_shape)} and the size {tuple(size)}; expected x (N, C, H, W), and no side of 0.")


def source_weights(n, out, mode):
    """The matrix A (out, n) of one axis: a row for each output pixel, the weights of its source pixels."""
    matrix, dst = np.zeros((out, n)), np.arange(out)
    if mode == "nearest":
        matrix[dst, nearest_index(n, out)] = 1
    else:
        first, second, share = bilinear_index(n, out)
        matrix[dst, first] += 1 - share.astype(np.float64)
        matrix[dst, second] += share                 # at the border both are the same pixel
    return matrix


def nearest_index(n, out):
    """min(floor(dst * f32(n / out)), n - 1); the product is float32 too, so that 2 -> 82 takes pixel 0 for dst 41."""
    scale = np.float32(n) / np.float32(out)
    return np.minimum(np.floor(np.arange(out, dtype=np.float32) * scale).astype(np.intp), n - 1)


def bilinear_index(n, out):
    """The two source pixels of each output pixel, and the weight of the second.

    position = max(r (dst + 0.5) - 0.5, 0), r = f32(n / out), rounded once (torch fuses the multiply and the add: two roundings
    would err by 4e-5 at 161 -> 799).
    """
    scale = np.float64(np.float32(n) / np.float32(out))
    position = np.maximum((scale * (np.arange(out) + 0.5) - 0.5).astype(np.float32), 0)
    first = np.minimum(position.astype(np.intp), n - 1)
    return first, np.minimum(first + 1, n - 1), position - first.astype(np.float32)

"""RoIAlign and its gradient, compiled; ``detection/roi_align.py`` has the definition.

The boxes are distributed among the threads. Within a bin whole pixels, whose channels are adjacent, are added, so that memory is read in
long pieces.
"""

import math

import numpy as np
from numba import get_num_threads, prange

from minicnn.fast.numba_kernels.jit import njit
from minicnn.fast.numba_kernels.simd import floats
from minicnn.fast.scratch import memory
from minicnn.functional.dispatch import REFERENCE

FAR = 2**20             # pixels; the reference pools boxes farther out, NaN and infinity


def roi_align(x, boxes, output_size, spatial_scale, sampling_ratio):
    """See ``detection.roi_align.roi_align``."""
    scaled = boxes * np.float32(spatial_scale)
    if not can_pool(x, scaled):
        return REFERENCE["roi_align"](x, boxes, output_size, spatial_scale, sampling_ratio)
    pooled = memory((len(boxes), output_size, output_size, len(x)), np.float32)
    align_boxes(*flat_map(x), scaled.reshape(-1), output_size, sampling_ratio, pooled.reshape(-1), get_num_threads())
    return pooled.transpose(0, 3, 1, 2)


def roi_align_backward(grad_pooled, x_shape, boxes, spatial_scale, sampling_ratio):
    """See ``detection.roi_align.roi_align_backward``."""
    scaled = boxes * np.float32(spatial_scale)
    channels, height, width = x_shape
    if not can_pool(grad_pooled, scaled):
        return REFERENCE["roi_align_backward"](grad_pooled, x_shape, boxes, spatial_scale, sampling_ratio)
    grad = np.ascontiguousarray(grad_pooled.transpose(0, 2, 3, 1))
    if not grad.flags.writeable:                                            # read-only: compiled anew
        grad = grad.copy()
    grad_x = np.zeros((height, width, channels), np.float32)
    spread_boxes(grad.reshape(-1), height, width, channels, scaled.reshape(-1), grad.shape[1], sampling_ratio, grad_x.reshape(-1),
                 get_num_threads())
    return grad_x.transpose(2, 0, 1)


def can_pool(x, boxes):
    """Whether the kernels take this map and these boxes: float32, and no box far outside."""
    return x.dtype == boxes.dtype == np.float32 and bool((np.abs(boxes) < FAR).all())


def flat_map(x):
    """A feature map (C, H, W) as a flat array: without a copy if the channels of each pixel are adjacent in memory.

    Returns:
        numbers: one-dimensional.
        height, width, channels: of the map.
        row, pixel: distances in ``numbers`` between rows and between pixels.
    """
    x = x.transpose(1, 2, 0)
    (height, width, channels), (row, pixel, channel) = x.shape, (stride // 4 for stride in x.strides)
    if channel != 1 or pixel < channels or row < width * pixel or not x.flags.writeable:         # read-only: compiled anew
        x, row, pixel = np.array(x, order="C"), width * channels, channels
    numbers = np.lib.stride_tricks.as_strided(x, ((height - 1) * row + (width - 1) * pixel + channels,), (4,))
    return numbers, height, width, channels, row, pixel


@njit(cache=True, parallel=True)
def align_boxes(x, height, width, channels, row, pixel, boxes, bins, sampling_ratio, pooled, workers):
    """pooled (R, P, P, C) = A_y x A_x^T for each box; boxes: the flattened (R, 4), x1, y1, x2, y2, in pixels of the map."""
    for worker in prange(workers):
        for r in range(worker, boxes.size // 4, workers):
            rows = shares(boxes[4 * r + 1], boxes[4 * r + 3], height, bins, sampling_ratio, row)
            columns = shares(boxes[4 * r], boxes[4 * r + 2], width, bins, sampling_ratio, pixel)
            align(floats(x), channels, rows, columns, bins, floats(pooled), r * bins * bins * channels)


@njit(cache=True, error_model="numpy")
def shares(start, end, length, bins, sampling_ratio, step):
    """Weights of the pixels in each bin along one axis of one box: the non-zero entries of ``detection.roi_align.axis_weights``.

    Args:
        start, end: of the box along the axis, pixels.
        length: of the map along the axis.
        step: distance between neighbouring pixels in memory.

    Returns:
        at: memory offset of each pixel that is read; a pixel occurs once for each bin that it contributes to.
        share: its weight in the bin.
        begins: (P + 1,), index of each bin's first pixel in both.
    """
    f = np.float32
    bin_side = max(end - start, f(1)) / f(bins)
    g = sampling_ratio if sampling_ratio > 0 else int(math.ceil(bin_side))
    at, share, begins = np.empty(2 * g * bins, np.intp), np.empty(2 * g * bins, np.float32), np.zeros(bins + 1, np.intp)
    n = 0
    for p in range(bins):
        for i in range(g):
            point = start + f(p) * bin_side + (f(i) + f(0.5)) * bin_side / f(g)
            if point >= -1 and point <= length:
                point = max(point, f(0))
                low = min(int(point), length - 1)
                after = point - f(low) if low < length - 1 else f(0)
                for pixel, part in ((low, f(1) - after), (low + 1, after)):
                    if part > 0:
                        k = n - 1
                        while k >= begins[p] and at[k] > pixel * step:
                            k -= 1
                        if k < begins[p] or at[k] < pixel * step:
                            k, n = n, n + 1
                            at[k], share[k] = pixel * step, 0
                        share[k] += part / f(g)
        begins[p + 1] = n
    return at, share, begins


@njit(cache=True)
def align(x, channels, rows, columns, bins, pooled, to):
    """pooled[to:] (P, P, C) = for each bin the sum over its rows and columns of the pixel times both weights."""
    (row_at, down, row_begins), (column_at, across, column_begins) = rows, columns
    for p in range(bins):
        for q in range(bins):
            for c in range(to, to + channels):
                pooled[c] = 0
            for i in range(row_begins[p], row_begins[p + 1]):
                for j in range(column_begins[q], column_begins[q + 1]):
                    at, share = row_at[i] + column_at[j], down[i] * across[j]
                    for c in range(channels):
                        pooled[to + c] += share * x[at + c]
            to += channels


@njit(cache=True, parallel=True)
def spread_boxes(grad, height, width, channels, boxes, bins, sampling_ratio, grad_x, workers):
    """grad_x (H, W, C) += A_y^T grad A_x for each box, grad (R, P, P, C); boxes overlap, so a thread takes some channels of all."""
    for worker in prange(workers):
        first, past = worker * channels // workers, (worker + 1) * channels // workers
        for r in range(boxes.size // 4):
            rows = shares(boxes[4 * r + 1], boxes[4 * r + 3], height, bins, sampling_ratio, width * channels)
            columns = shares(boxes[4 * r], boxes[4 * r + 2], width, bins, sampling_ratio, channels)
            spread(floats(grad), r * bins * bins * channels, channels, first, past, rows, columns, bins, floats(grad_x))


@njit(cache=True)
def spread(grad, start, channels, first, past, rows, columns, bins, grad_x):
    """grad_x += for each bin its gradient, in grad[start:] (P, P, C), times both weights of each of its pixels."""
    (row_at, down, row_begins), (column_at, across, column_begins) = rows, columns
    for p in range(bins):
        for q in range(bins):
            for i in range(row_begins[p], row_begins[p + 1]):
                for j in range(column_begins[q], column_begins[q + 1]):
                    at, share = row_at[i] + column_at[j], down[i] * across[j]
                    for c in range(first, past):
                        grad_x[at + c] += share * grad[start + c]
            start += channels


KERNELS = {"roi_align": roi_align, "roi_align_backward": roi_align_backward}

"""RoIPool, compiled; ``detection/roi_pool.py`` has the definition. The boxes are distributed among the threads."""

import math

import numpy as np
from numba import get_num_threads, prange

from minicnn.fast.numba_kernels.jit import njit
from minicnn.fast.numba_kernels.roi_align import can_pool, flat_map
from minicnn.fast.numba_kernels.simd import floats
from minicnn.fast.scratch import memory
from minicnn.functional.dispatch import REFERENCE


def roi_pool(x, boxes, output_size, spatial_scale):
    """See ``detection.roi_pool.roi_pool``."""
    scaled = boxes * np.float32(spatial_scale)
    if not can_pool(x, scaled):
        return REFERENCE["roi_pool"](x, boxes, output_size, spatial_scale)
    corners = (np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))).astype(np.intp)      # half away from zero, as C rounds
    pooled = memory((len(boxes), output_size, output_size, len(x)), np.float32)
    pool_boxes(*flat_map(x), corners.reshape(-1), output_size, pooled.reshape(-1), get_num_threads())
    return pooled.transpose(0, 3, 1, 2)


@njit(cache=True, parallel=True)
def pool_boxes(x, height, width, channels, row, pixel, corners, bins, pooled, workers):
    """pooled (R, P, P, C) = the maximum of each bin of each box; corners: the flattened (R, 4), x1, y1, x2, y2, whole pixels of the map."""
    for worker in prange(workers):
        for r in range(worker, corners.size // 4, workers):
            rows = edges(corners[4 * r + 1], corners[4 * r + 3], height, bins)
            columns = edges(corners[4 * r], corners[4 * r + 2], width, bins)
            pool(floats(x), channels, row, pixel, rows, columns, bins, floats(pooled), r * bins * bins * channels)


@njit(cache=True, error_model="numpy")
def edges(first, last, length, bins):
    """Along one axis, the first pixel of each bin and the pixel after its last, clipped to the map."""
    f = np.float32
    side = f(max(last - first + 1, 1)) / f(bins)
    begins, ends = np.empty(bins, np.intp), np.empty(bins, np.intp)
    for p in range(bins):
        begins[p] = min(max(int(math.floor(f(p) * side)) + first, 0), length)
        ends[p] = min(max(int(math.ceil(f(p + 1) * side)) + first, 0), length)
    return begins, ends


@njit(cache=True)
def pool(x, channels, row, pixel, rows, columns, bins, pooled, to):
    """pooled[to:] (P, P, C) = the maximum of each bin in each channel, 0 for an empty bin."""
    (top, bottom), (left, right) = rows, columns
    for p in range(bins):
        for q in range(bins):
            least = np.float32(-np.inf if top[p] < bottom[p] and left[q] < right[q] else 0)
            for c in range(to, to + channels):
                pooled[c] = least
            for i in range(top[p], bottom[p]):
                for j in range(left[q], right[q]):
                    at = i * row + j * pixel
                    for c in range(channels):
                        pooled[to + c] = max(pooled[to + c], x[at + c])
            to += channels


KERNELS = {"roi_pool": roi_pool}

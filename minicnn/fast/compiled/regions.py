"""What a detector does with boxes, compiled: suppression, RoIAlign, RoIPool.

Boxes are shared out among the threads, and a pixel's channels, which lie side by side, run through the vectors. Suppression stays on
one thread: each box waits for those before it.

References: those of ``detection/boxes.py``, ``roi_align.py`` and ``roi_pool.py``, which say the same in NumPy.
"""

import math

import numpy as np
from numba import get_num_threads, njit, prange

from minicnn.fast.compiled.simd import WIDTH, constant, floats, fma, load, maximum, splat, store
from minicnn.functional.kernels import TABLE

CHUNK = 64              # boxes compared at a time before it is asked whether one of them overlaps


def nms(boxes, scores, iou_threshold):
    """See ``detection.boxes.nms``; the same boxes to the last bit of an overlap."""
    if boxes.dtype != np.float32:
        return TABLE["nms"](boxes, scores, iou_threshold)
    order = np.argsort(-scores, kind="stable")
    return order[survivors(boxes[order].reshape(-1), below(iou_threshold))]


def below(value):
    """The largest float32 that is at most ``value``: a float32 exceeds the one just where it exceeds the other."""
    rounded = np.float32(value)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > value else rounded


@njit(cache=True, error_model="numpy")
def survivors(boxes, threshold):
    """Places of the boxes that none before them, itself a survivor, overlaps by more than ``threshold``; boxes: R times 4 numbers.

    An overlap is computed in the reference's float32 steps. Survivors' corners lie in columns; past the last one, empty places have
    the overlap NaN, which exceeds nothing.
    """
    count = boxes.size // 4
    keep = np.empty(count, np.intp)
    left, top, right, bottom, area = np.full((5, count + CHUNK), np.float32(np.nan))
    kept = 0
    for i in range(count):
        x1, y1, x2, y2 = boxes[4 * i], boxes[4 * i + 1], boxes[4 * i + 2], boxes[4 * i + 3]
        own = (x2 - x1) * (y2 - y1)
        overlaps = 0
        for start in range(0, kept, CHUNK):
            for j in range(start, start + CHUNK):
                w = max(min(x2, right[j]) - max(x1, left[j]), np.float32(0))
                h = max(min(y2, bottom[j]) - max(y1, top[j]), np.float32(0))
                intersection = w * h
                overlaps |= intersection / (area[j] + own - intersection) > threshold
            if overlaps:
                break
        if not overlaps:
            left[kept], top[kept], right[kept], bottom[kept], area[kept] = x1, y1, x2, y2, own
            keep[kept] = i
            kept += 1
    return keep[:kept]


def roi_align(x, boxes, output_size, spatial_scale, sampling_ratio):
    """See ``detection.roi_align.roi_align``."""
    if not vectors_can(x, boxes):
        return TABLE["roi_align"](x, boxes, output_size, spatial_scale, sampling_ratio)
    memory, height, width, row, pixel = flat(x)
    pooled = np.empty((len(boxes), output_size, output_size, len(x)), np.float32)
    average_boxes(memory, height, width, row, pixel, len(x), (boxes * np.float32(spatial_scale)).reshape(-1), output_size, sampling_ratio,
                  get_num_threads(), pooled.reshape(-1))
    return pooled.transpose(0, 3, 1, 2)


def vectors_can(x, boxes):
    """float32, whole vectors, and boxes somewhere: else the reference computes it, or says what is wrong."""
    return x.dtype == boxes.dtype == np.float32 and len(x) >= WIDTH and np.isfinite(boxes).all()


def flat(x):
    """A map (C, H, W) whose channels are neighbours in memory, or a copy made so, as one row of numbers.

    Returns:
        memory: 1-D; H, W; numbers from row to row and from pixel to pixel.
    """
    x = x.transpose(1, 2, 0)                                                             # (H, W, C)
    row, pixel, channel = (stride // x.itemsize for stride in x.strides)
    if channel != 1 or pixel < x.shape[2] or row < pixel or not x.flags.writeable:
        x = np.array(x, order="C")
        row, pixel = x.shape[1] * x.shape[2], x.shape[2]
    height, width, channels = x.shape
    length = (height - 1) * row + (width - 1) * pixel + channels
    return np.lib.stride_tricks.as_strided(x, (length,), (x.itemsize,)), height, width, row, pixel


@njit(cache=True, parallel=True, error_model="numpy")
def average_boxes(x, height, width, row, pixel, channels, boxes, bins, sampling_ratio, workers, pooled):
    """pooled (R, P, P, C) = A_y x A_x^T for each box; boxes: R times 4 numbers, in pixels of the map."""
    count = boxes.size // 4
    for worker in prange(workers):
        for r in range(worker, count, workers):
            left, top = boxes[4 * r], boxes[4 * r + 1]
            w, h = max(boxes[4 * r + 2] - left, np.float32(1)), max(boxes[4 * r + 3] - top, np.float32(1))
            rows, down, row_ends = shares(top, h, height, bins, sampling_ratio, row)
            columns, across, column_ends = shares(left, w, width, bins, sampling_ratio, pixel)
            average(floats(x), channels, rows, floats(down), row_ends, columns, floats(across), column_ends, floats(pooled),
                    r * bins * bins * channels)


@njit(cache=True, error_model="numpy")
def shares(start, side, length, bins, sampling_ratio, step):
    """One axis of one box: where the pixels are that are read, ``step`` numbers apart, their shares, and the first place of each bin.

    A pixel that several points of a bin read is there once.
    """
    f = np.float32
    bin_side = side / f(bins)
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
def average(x, channels, rows, down, row_begins, columns, across, column_begins, pooled, to):
    """pooled[to:] (P, P, C) = A_y x A_x^T for one box; a last vector that would be too long begins earlier."""
    bins = row_begins.size - 1
    for p in range(bins):
        for q in range(bins):
            for c in range(channels):
                pooled[to + c] = 0
            for i in range(row_begins[p], row_begins[p + 1]):
                for j in range(column_begins[q], column_begins[q + 1]):
                    at, part = rows[i] + columns[j], down[i] * across[j]
                    for c in range(channels):
                        pooled[to + c] += part * x[at + c]
            to += channels

"""What a detector does with boxes, compiled: suppression, RoIAlign forward and backward, RoIPool.

The boxes to be pooled are dealt out to the threads; within a bin whole pixels, whose channels lie side by side, are added or compared,
so that memory is read in long pieces. Suppression runs on one thread, since each box waits for those before it.

``detection/boxes.py``, ``roi_align.py`` and ``roi_pool.py`` say the same in NumPy, and where it comes from.
"""

import math

import numpy as np
from numba import get_num_threads, njit, prange

from minicnn.fast.numba_kernels.simd import floats
from minicnn.fast.numpy_kernels.nms import below
from minicnn.fast.scratch import memory
from minicnn.functional.dispatch import REFERENCE

CHUNK = 64              # boxes compared before it is asked whether one of them overlaps
FAR = 2**20             # pixels; boxes farther out are left to the reference, with what it says of NaN and infinity


def nms(boxes, scores, iou_threshold):
    """``detection.boxes.nms``, with every overlap equal to the last bit."""
    if boxes.dtype != np.float32:
        return REFERENCE["nms"](boxes, scores, iou_threshold)
    order = np.argsort(-scores, kind="stable")
    with np.errstate(invalid="ignore", divide="ignore"):           # 0 / 0 is told of where compiling is turned off
        return order[survivors(boxes[order].reshape(-1), below(iou_threshold))]


@njit(cache=True, error_model="numpy")
def survivors(boxes, threshold):
    """Places of the boxes that no survivor before them overlaps by more than ``threshold``; boxes: R times x1, y1, x2, y2.

    The survivors' corners are kept in columns; past the last stand NaN, whose overlaps exceed nothing. 0 / 0 gives NaN likewise.
    """
    count = boxes.size // 4
    keep = np.empty(count, np.intp)
    left, top, right, bottom, area = np.full((5, count + CHUNK), np.float32(np.nan))
    kept = 0
    for i in range(count):
        x1, y1, x2, y2 = boxes[4 * i], boxes[4 * i + 1], boxes[4 * i + 2], boxes[4 * i + 3]
        own = (x2 - x1) * (y2 - y1)
        overlapped = 0
        for start in range(0, kept, CHUNK):
            for j in range(start, start + CHUNK):
                w = max(min(x2, right[j]) - max(x1, left[j]), np.float32(0))
                h = max(min(y2, bottom[j]) - max(y1, top[j]), np.float32(0))
                intersection = w * h
                overlapped |= intersection / (area[j] + own - intersection) > threshold
            if overlapped:
                break
        if not overlapped:
            left[kept], top[kept], right[kept], bottom[kept], area[kept] = x1, y1, x2, y2, own
            keep[kept] = i
            kept += 1
    return keep[:kept]


def roi_align(x, boxes, output_size, spatial_scale, sampling_ratio):
    """``detection.roi_align.roi_align``."""
    scaled = boxes * np.float32(spatial_scale)
    if not can_pool(x, scaled):
        return REFERENCE["roi_align"](x, boxes, output_size, spatial_scale, sampling_ratio)
    pooled = memory((len(boxes), output_size, output_size, len(x)), np.float32)
    align_boxes(*flat(x), scaled.reshape(-1), output_size, sampling_ratio, pooled.reshape(-1), get_num_threads())
    return pooled.transpose(0, 3, 1, 2)


def roi_align_backward(grad_pooled, x_shape, boxes, spatial_scale, sampling_ratio):
    """``detection.roi_align.roi_align_backward``."""
    scaled = boxes * np.float32(spatial_scale)
    channels, height, width = x_shape
    if not can_pool(grad_pooled, scaled):
        return REFERENCE["roi_align_backward"](grad_pooled, x_shape, boxes, spatial_scale, sampling_ratio)
    grad = np.ascontiguousarray(grad_pooled.transpose(0, 2, 3, 1))
    if not grad.flags.writeable:                                                                # which would compile anew
        grad = grad.copy()
    grad_x = np.zeros((height, width, channels), np.float32)
    spread_boxes(grad.reshape(-1), height, width, channels, scaled.reshape(-1), grad.shape[1], sampling_ratio, grad_x.reshape(-1),
                 get_num_threads())
    return grad_x.transpose(2, 0, 1)


def roi_pool(x, boxes, output_size, spatial_scale):
    """``detection.roi_pool.roi_pool``."""
    scaled = boxes * np.float32(spatial_scale)
    if not can_pool(x, scaled):
        return REFERENCE["roi_pool"](x, boxes, output_size, spatial_scale)
    corners = (np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))).astype(np.intp)      # half away from zero, as C rounds
    pooled = memory((len(boxes), output_size, output_size, len(x)), np.float32)
    pool_boxes(*flat(x), corners.reshape(-1), output_size, pooled.reshape(-1), get_num_threads())
    return pooled.transpose(0, 3, 1, 2)


def can_pool(x, boxes):
    return x.dtype == boxes.dtype == np.float32 and bool((np.abs(boxes) < FAR).all())


def flat(x):
    """A map (C, H, W) as a row of numbers: without copying, if each pixel's channels are neighbours in memory.

    Returns:
        numbers: 1-D; H, W, C; how many numbers lie from row to row, and from pixel to pixel.
    """
    x = x.transpose(1, 2, 0)
    (height, width, channels), (row, pixel, channel) = x.shape, (stride // 4 for stride in x.strides)
    if channel != 1 or pixel < channels or row < width * pixel or not x.flags.writeable:         # not writeable would compile anew
        x, row, pixel = np.array(x, order="C"), width * channels, channels
    numbers = np.lib.stride_tricks.as_strided(x, ((height - 1) * row + (width - 1) * pixel + channels,), (4,))
    return numbers, height, width, channels, row, pixel


@njit(cache=True, parallel=True)
def align_boxes(x, height, width, channels, row, pixel, boxes, bins, sampling_ratio, pooled, workers):
    """pooled (R, P, P, C) = A_y x A_x^T for each box; boxes: R times x1, y1, x2, y2, in pixels of the map."""
    for worker in prange(workers):
        for r in range(worker, boxes.size // 4, workers):
            rows = shares(boxes[4 * r + 1], boxes[4 * r + 3], height, bins, sampling_ratio, row)
            columns = shares(boxes[4 * r], boxes[4 * r + 2], width, bins, sampling_ratio, pixel)
            align(floats(x), channels, rows, columns, bins, floats(pooled), r * bins * bins * channels)


@njit(cache=True, error_model="numpy")
def shares(start, end, length, bins, sampling_ratio, step):
    """One axis of one box, as ``roi_align.shares``, without the zeros.

    Returns:
        at: where each pixel that is read begins, ``step`` numbers after the one before; a pixel is there once for a bin.
        share: what it gives to the bin.
        begins: (P + 1,), the place of each bin's first pixel in both.
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
    """pooled[to:] (P, P, C): in each bin the pixels where its rows and columns cross, each times both shares."""
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
    """grad_x (H, W, C) += A_y^T grad A_x for each box, grad (R, P, P, C); boxes overlap, so each thread takes all, and some channels."""
    for worker in prange(workers):
        first, past = worker * channels // workers, (worker + 1) * channels // workers
        for r in range(boxes.size // 4):
            rows = shares(boxes[4 * r + 1], boxes[4 * r + 3], height, bins, sampling_ratio, width * channels)
            columns = shares(boxes[4 * r], boxes[4 * r + 2], width, bins, sampling_ratio, channels)
            spread(floats(grad), r * bins * bins * channels, channels, first, past, rows, columns, bins, floats(grad_x))


@njit(cache=True)
def spread(grad, start, channels, first, past, rows, columns, bins, grad_x):
    """grad_x += each bin's gradient, in grad[start:] (P, P, C), times both shares of the pixels where its rows and columns cross."""
    (row_at, down, row_begins), (column_at, across, column_begins) = rows, columns
    for p in range(bins):
        for q in range(bins):
            for i in range(row_begins[p], row_begins[p + 1]):
                for j in range(column_begins[q], column_begins[q + 1]):
                    at, share = row_at[i] + column_at[j], down[i] * across[j]
                    for c in range(first, past):
                        grad_x[at + c] += share * grad[start + c]
            start += channels


@njit(cache=True, parallel=True)
def pool_boxes(x, height, width, channels, row, pixel, corners, bins, pooled, workers):
    """pooled (R, P, P, C): the largest of each bin of each box; corners: R times x1, y1, x2, y2, whole pixels of the map."""
    for worker in prange(workers):
        for r in range(worker, corners.size // 4, workers):
            rows = edges(corners[4 * r + 1], corners[4 * r + 3], height, bins)
            columns = edges(corners[4 * r], corners[4 * r + 2], width, bins)
            pool(floats(x), channels, row, pixel, rows, columns, bins, floats(pooled), r * bins * bins * channels)


@njit(cache=True, error_model="numpy")
def edges(first, last, length, bins):
    """The first pixel of each bin and the one past its last, clipped to the map."""
    f = np.float32
    side = f(max(last - first + 1, 1)) / f(bins)
    begins, ends = np.empty(bins, np.intp), np.empty(bins, np.intp)
    for p in range(bins):
        begins[p] = min(max(int(math.floor(f(p) * side)) + first, 0), length)
        ends[p] = min(max(int(math.ceil(f(p + 1) * side)) + first, 0), length)
    return begins, ends


@njit(cache=True)
def pool(x, channels, row, pixel, rows, columns, bins, pooled, to):
    """pooled[to:] (P, P, C): channel by channel the largest of each bin, 0 of an empty one."""
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


KERNELS = {"nms": nms, "roi_align": roi_align, "roi_align_backward": roi_align_backward, "roi_pool": roi_pool}

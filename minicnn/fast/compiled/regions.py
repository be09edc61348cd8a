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


@njit(cache=True)
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

"""Non-maximum suppression, compiled. It runs on one thread, since each box depends on those before it.

``detection/boxes.py`` has the definition.
"""

import numpy as np

from minicnn.fast.numba_kernels.jit import njit
from minicnn.fast.numpy_kernels.nms import below
from minicnn.functional.dispatch import REFERENCE

CHUNK = 64              # survivors compared with a box before it is checked whether one of them overlaps


def nms(boxes, scores, iou_threshold):
    """``detection.boxes.nms``; every overlap equals the reference's to the last bit."""
    if boxes.dtype != np.float32:
        return REFERENCE["nms"](boxes, scores, iou_threshold)
    order = np.argsort(-scores, kind="stable")
    with np.errstate(invalid="ignore", divide="ignore"):           # 0 / 0 warns where compilation is turned off
        return order[survivors(boxes[order].reshape(-1), below(iou_threshold))]


@njit(cache=True, error_model="numpy")
def survivors(boxes, threshold):
    """Indices of the boxes whose overlap with no survivor before them exceeds ``threshold``.

    Args:
        boxes: the flattened (R, 4), x1, y1, x2, y2, by descending score.
        threshold: float32.

    The survivors' corners are kept in five arrays, padded with NaN: overlaps with NaN, and those of 0 / 0, exceed nothing.
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


KERNELS = {"nms": nms}

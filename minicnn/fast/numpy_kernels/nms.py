"""Suppression of thousands of boxes in NumPy: in blocks, so that few large operations take the place of many small ones."""

import numpy as np

from minicnn.functional.dispatch import REFERENCE

BLOCK = 64              # boxes that are settled at a time
COLUMNS = 1024          # later boxes compared with them at a time: the arrays of 64 times so many stay in the cache


def nms(boxes, scores, iou_threshold):
    """``detection.boxes.nms``, with every overlap equal to the last bit.

    The highest block of those left is settled: of its boxes, from the first down, each one still standing fells those of the block
    that it overlaps. What stands then fells all others at once.
    """
    if boxes.dtype != np.float32:
        return REFERENCE["nms"](boxes, scores, iou_threshold)
    threshold = below(iou_threshold)
    left = np.argsort(-scores, kind="stable")
    x1, y1, x2, y2 = boxes[left].T
    columns = np.stack([x1, y1, x2, y2, (x2 - x1) * (y2 - y1)])                                      # (5, R)
    keep = [left[:0]]
    while left.size:
        block, columns = columns[:, :BLOCK], columns[:, BLOCK:]
        over = overlap(block, block, threshold)
        stands = np.ones(len(over), bool)
        for i in range(len(over)):
            if stands[i]:
                stands[i + 1:] &= ~over[i, i + 1:]
        keep.append(left[:BLOCK][stands])
        rest = np.ones(columns.shape[1], bool)
        for start in range(0, len(rest), COLUMNS):
            part = slice(start, start + COLUMNS)
            rest[part] = ~overlap(block[:, stands], columns[:, part], threshold).any(axis=0)
        left, columns = left[BLOCK:][rest], columns[:, rest]
    return np.concatenate(keep)


def overlap(a, b, threshold):
    """Whether each of some boxes (5, K) overlaps each of others (5, L) by more than a float32 threshold: (K, L) bool.

    The steps of ``box_iou``, on whole columns (x1, y1, x2, y2, area) and with little fresh memory.
    """
    w, h = (np.minimum(a[high, :, None], b[high]) for high in (2, 3))
    for side, low in ((w, 0), (h, 1)):
        side -= np.maximum(a[low, :, None], b[low])
        np.maximum(side, 0, out=side)
    w *= h                                                                                           # the intersection
    np.add(a[4, :, None], b[4], out=h)
    h -= w                                                                                           # the union
    with np.errstate(invalid="ignore", divide="ignore"):
        w /= h
    return w > threshold


def below(value):
    """The largest float32 that is not above ``value``: what exceeds the one, of float32 numbers, exceeds the other."""
    rounded = np.float32(value)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > value else rounded


KERNELS = {"nms": nms}

"""Non-maximum suppression in NumPy, block by block: few large operations instead of many small ones."""

import numpy as np

from minicnn.functional.dispatch import REFERENCE

BLOCK = 64              # boxes that are decided at a time
COLUMNS = 1024          # later boxes compared with a block at a time: arrays of BLOCK x COLUMNS stay in the cache


def nms(boxes, scores, iou_threshold):
    """``detection.boxes.nms``; every overlap equals the reference's to the last bit.

    In each round, the block of boxes with the highest remaining scores is decided: from the first on, each box that is still kept
    removes those of the block that it overlaps. Then the kept boxes of the block remove all later boxes that they overlap, at once.
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
        kept = np.ones(len(over), bool)
        for i in range(len(over)):
            if kept[i]:
                kept[i + 1:] &= ~over[i, i + 1:]
        keep.append(left[:BLOCK][kept])
        rest = np.ones(columns.shape[1], bool)
        for start in range(0, len(rest), COLUMNS):
            part = slice(start, start + COLUMNS)
            rest[part] = ~overlap(block[:, kept], columns[:, part], threshold).any(axis=0)
        left, columns = left[BLOCK:][rest], columns[:, rest]
    return np.concatenate(keep)


def overlap(a, b, threshold):
    """Whether the IoU of boxes a (5, K) and b (5, L) exceeds a float32 threshold: (K, L) bool.

    The steps of ``box_iou``, on rows x1, y1, x2, y2, area, with few temporary arrays.
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
    """The largest float32 that is not above ``value``; a float32 number exceeds it if and only if it exceeds ``value``."""
    rounded = np.float32(value)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > value else rounded


KERNELS = {"nms": nms}

"""Boxes: x1, y1, x2, y2 in pixels, continuous coordinates: a box's width is x2 - x1.

Decoding, clipping, overlap and non-maximum suppression, each in torchvision's float32 steps, so that a box at the edge of a
threshold falls on the same side.
"""

import math

import numpy as np

from minicnn.functional.dispatch import operation

LOG_MAX_SCALE = math.log(1000 / 16)     # an exponent's bound: a box grows by no more than 62.5 times
HALF = np.float32(0.5)
TRICK_BOXES = 1000                      # up to so many boxes torchvision suppresses all groups in one pass


def decode(deltas, boxes, weights):
    """Move and scale boxes by what a network predicted:

        cx' = dx w + cx,  cy' = dy h + cy,  w' = w exp(dw),  h' = h exp(dh)

    Args:
        deltas: (R, 4 K) float32: dx, dy, dw, dh for each of K classes, each multiplied by its weight.
        boxes: (R, 4).
        weights: of dx, dy, dw, dh: (1, 1, 1, 1) in the RPN, (10, 10, 5, 5) in the box head.

    Returns:
        boxes: (R, K, 4).

    Reference: Girshick et al., Rich feature hierarchies (2014), appendix C, equations 1 to 4; the weights stand for the standard
    deviations of the targets in Girshick's Fast R-CNN code.
    """
    dx, dy, dw, dh = (deltas[:, i::4] / weight for i, weight in enumerate(np.array(weights, np.float32)))       # (R, K) each
    cx, cy, w, h = (values[:, None] for values in centres(boxes))                                               # (R, 1) each
    cx, cy = dx * w + cx, dy * h + cy
    w, h = (np.exp(np.minimum(d, np.float32(LOG_MAX_SCALE))) * side for d, side in ((dw, w), (dh, h)))
    return np.stack([cx - HALF * w, cy - HALF * h, cx + HALF * w, cy + HALF * h], axis=-1)


def encode(targets, boxes, weights):
    """The deltas with which ``decode`` moves boxes to their targets:

        dx = wx (cx' - cx) / w,  dy = wy (cy' - cy) / h,  dw = ww log(w' / w),  dh = wh log(h' / h)

    Args:
        targets, boxes: (R, 4), each with an area.
        weights: see ``decode``.

    Returns:
        deltas: (R, 4).

    Reference: Girshick et al., Rich feature hierarchies (2014), appendix C, equations 6 to 9.
    """
    wx, wy, ww, wh = np.array(weights, np.float32)
    (cx, cy, w, h), (to_cx, to_cy, to_w, to_h) = (centres(some) for some in (boxes, targets))
    return np.stack([wx * (to_cx - cx) / w, wy * (to_cy - cy) / h, ww * np.log(to_w / w), wh * np.log(to_h / h)], axis=-1)


def centres(boxes):
    """cx, cy, w and h of boxes (R, 4), (R,) each."""
    x1, y1, x2, y2 = boxes.T
    w, h = x2 - x1, y2 - y1
    return x1 + HALF * w, y1 + HALF * h, w, h


def clip(boxes, size):
    """Move corners into an image of size (h, w): x to [0, w], y to [0, h]."""
    h, w = size
    return np.clip(boxes, 0, np.array([w, h, w, h], np.float32))


def are_large(boxes, min_size):
    """(R,) bool: both sides at least ``min_size`` pixels."""
    return ((boxes[:, 2:] - boxes[:, :2]) >= np.float32(min_size)).all(axis=1)


def areas(boxes):
    """(R,) square pixels."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def box_iou(a, b):
    """Intersection over union of each box of a (R, 4) with each of b (S, 4): (R, S); NaN where both have no area."""
    corner = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])      # (R, S, 2): w, h
    corner = np.maximum(corner, 0)
    intersection = corner[..., 0] * corner[..., 1]
    with np.errstate(invalid="ignore"):
        return intersection / (areas(a)[:, None] + areas(b) - intersection)


def top(scores, k):
    """Places of the ``k`` highest scores (R,), highest first, equal ones in their given order; of fewer than k, all of them."""
    negated = -scores
    if k >= len(scores):
        return np.argsort(negated, kind="stable")
    least = np.partition(negated, k - 1)[k - 1]                    # the k-th, found without sorting: so few of many are left to sort
    places = np.flatnonzero(~(negated > least))                    # a NaN stays, and comes last
    return places[np.argsort(negated[places], kind="stable")[:k]]


@operation
def nms(boxes, scores, iou_threshold):
    """Non-maximum suppression: from the highest score down, keep a box and drop those that overlap it by *more than* a threshold.

    Args:
        boxes: (R, 4) float32; scores: (R,).
        iou_threshold: float64; an overlap is compared with it exactly, so that 0.3 as float32, a little more, exceeds 0.3.

    Returns:
        keep: (S,) int, places of the boxes that stay, by score descending; equal scores in their given order.

    Reference: Girshick et al., Rich feature hierarchies (2014), section 2.2.
    """
    left = np.argsort(-scores, kind="stable")
    keep = []
    while left.size:
        first, left = left[0], left[1:]
        keep.append(first)
        iou = box_iou(boxes[first:first + 1], boxes[left])[0].astype(np.float64)
        left = left[~(iou > iou_threshold)]                        # NaN, of two boxes without area, stays
    return np.array(keep, np.intp)


def batched_nms(boxes, scores, groups, iou_threshold):
    """``nms`` within each group (a class, a level of the pyramid); the result is ordered by score over all groups.

    As torchvision does it: few boxes are moved apart, each group to a place of its own, and suppressed at once. The moved
    coordinates are rounded, which can change an overlap's last digits; many boxes are suppressed group by group as they are.
    """
    if not len(boxes):
        return np.empty(0, np.intp)
    if len(boxes) <= TRICK_BOXES:
        offsets = groups.astype(np.float32) * (boxes.max() + np.float32(1))
        return nms(boxes + offsets[:, None], scores, iou_threshold)
    keep = []
    for group in np.unique(groups):
        places = np.flatnonzero(groups == group)
        keep.append(places[nms(boxes[places], scores[places], iou_threshold)])
    keep = np.sort(np.concatenate(keep))
    return keep[np.argsort(-scores[keep], kind="stable")]

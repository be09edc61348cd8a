"""Boxes: decoding, clipping, overlap (IoU) and non-maximum suppression (NMS).

A box is x1, y1, x2, y2 in pixels, in continuous coordinates: its width is x2 - x1. Every computation takes torchvision's float32 steps, so
that an overlap or score close to a threshold falls on the same side.

Letters: R and S boxes, K classes.
"""

import math
from collections.abc import Sequence

import numpy as np

from minicnn.functional import checks
from minicnn.functional.dispatch import check_of, operation

LOG_MAX_SCALE = math.log(1000 / 16)     # bound of dw and dh: torchvision's limit, a box grows by at most 62.5 times
HALF = np.float32(0.5)
TRICK_BOXES = 1000                      # up to this number of boxes, torchvision suppresses all groups in one pass


def decode(deltas: np.ndarray, boxes: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Move and scale boxes by predicted deltas:

        cx' = dx w + cx,  cy' = dy h + cy,  w' = w exp(dw),  h' = h exp(dh)

    Args:
        deltas: (R, 4 K) float32: dx, dy, dw, dh for each of K classes, each multiplied by its weight.
        boxes: (R, 4), anchors or proposals.
        weights: of dx, dy, dw, dh: (1, 1, 1, 1) in the RPN, (10, 10, 5, 5) in the box head. They scale the deltas to about unit variance.

    Returns:
        boxes: (R, K, 4).

    Raises:
        ValueError: deltas are not (R, 4 K), or boxes not (R, 4).

    Reference: Girshick et al., Rich feature hierarchies (2014), appendix C, equations 1 to 4; the weights stand for the standard
    deviations of the targets in Girshick's Fast R-CNN code.

    >>> decode(np.float32([[0.5, 0, 0, 0]]), np.float32([[0, 0, 10, 20]]), (1, 1, 1, 1)).tolist()       # half a width to the right
    [[[5.0, 0.0, 15.0, 20.0]]]
    """
    check_boxes("decode", boxes, "boxes")
    if deltas.ndim != 2 or len(deltas) != len(boxes) or deltas.shape[1] % 4:
        raise ValueError(f"decode: got deltas {deltas.shape} for boxes {boxes.shape}, expected ({len(boxes)}, a multiple of 4).")
    dx, dy, dw, dh = (deltas[:, i::4] / weight for i, weight in enumerate(np.array(weights, np.float32)))       # (R, K) each
    cx, cy, w, h = (values[:, None] for values in centres(boxes))                                               # (R, 1) each
    cx, cy = dx * w + cx, dy * h + cy
    w, h = (np.exp(np.minimum(d, np.float32(LOG_MAX_SCALE))) * side for d, side in ((dw, w), (dh, h)))
    return np.stack([cx - HALF * w, cy - HALF * h, cx + HALF * w, cy + HALF * h], axis=-1)


def encode(targets: np.ndarray, boxes: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """The deltas that move boxes to their targets, the inverse of ``decode``:

        dx = wx (cx' - cx) / w,  dy = wy (cy' - cy) / h,  dw = ww log(w' / w),  dh = wh log(h' / h)

    Args:
        targets, boxes: (R, 4), each with an area.
        weights: see ``decode``.

    Returns:
        deltas: (R, 4).

    Raises:
        ValueError: targets or boxes are not (R, 4).

    Reference: Girshick et al., Rich feature hierarchies (2014), appendix C, equations 6 to 9.

    >>> encode(np.float32([[5, 0, 15, 20]]), np.float32([[0, 0, 10, 20]]), (1, 1, 1, 1)).tolist()
    [[0.5, 0.0, 0.0, 0.0]]
    """
    check_boxes("encode", boxes, "boxes")
    checks.floating("encode", targets=targets)
    checks.shape("encode", "targets", targets, boxes.shape)
    wx, wy, ww, wh = np.array(weights, np.float32)
    (cx, cy, w, h), (to_cx, to_cy, to_w, to_h) = (centres(corners) for corners in (boxes, targets))
    return np.stack([wx * (to_cx - cx) / w, wy * (to_cy - cy) / h, ww * np.log(to_w / w), wh * np.log(to_h / h)], axis=-1)


def centres(boxes):
    """Centre cx, cy, width and height of boxes (R, 4), (R,) each."""
    x1, y1, x2, y2 = boxes.T
    w, h = x2 - x1, y2 - y1
    return x1 + HALF * w, y1 + HALF * h, w, h


def clip(boxes: np.ndarray, size: tuple) -> np.ndarray:
    """Clip boxes (..., 4) to an image of size (h, w): x to [0, w], y to [0, h]; ValueError for another last axis.

    >>> clip(np.float32([[-5, 3, 70, 90]]), (48, 64)).tolist()
    [[0.0, 3.0, 64.0, 48.0]]
    """
    if np.shape(boxes)[-1:] != (4,):
        raise ValueError(f"clip: got boxes {np.shape(boxes)}, expected (..., 4): x1, y1, x2, y2.")
    h, w = size
    return np.clip(boxes, 0, np.array([w, h, w, h], np.float32))


def are_large(boxes, min_size):
    """Whether both sides of each box (R, 4) are at least ``min_size`` pixels: (R,) bool."""
    return ((boxes[:, 2:] - boxes[:, :2]) >= np.float32(min_size)).all(axis=1)


def areas(boxes):
    """The areas of boxes (R, 4): (R,), square pixels."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of each box of ``a`` with each of ``b``.

    Args:
        a: (R, 4). b: (S, 4).

    Returns:
        iou: (R, S), 0 to 1; NaN where both boxes have no area.

    Raises:
        ValueError: a or b are not (R, 4).
        TypeError: they are of unsigned integers, whose differences would wrap round.

    >>> box_iou(np.float32([[0, 0, 10, 10]]), np.float32([[0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 10]])).tolist()
    [[1.0, 0.5, 0.0]]
    """
    check_boxes("box_iou", a, "a", "fi")
    check_boxes("box_iou", b, "b", "fi")
    sides = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])       # (R, S, 2): w, h
    sides = np.maximum(sides, 0)
    intersection = sides[..., 0] * sides[..., 1]
    with np.errstate(invalid="ignore"):
        return intersection / (areas(a)[:, None] + areas(b) - intersection)


def top(scores, k):
    """Indices of the ``k`` highest of scores (R,), by descending score, equal ones in their given order; all of them if R < k."""
    negated = -scores
    if k >= len(scores):
        return np.argsort(negated, kind="stable")
    least = np.partition(negated, k - 1)[k - 1]                    # the k-th, found without sorting, so that few are left to sort
    index = np.flatnonzero(~(negated > least))                     # a NaN stays, and comes last
    return index[np.argsort(negated[index], kind="stable")[:k]]


@operation
def nms(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Non-maximum suppression: by descending score, keep a box and drop those that overlap it by *more than* a threshold.

    Args:
        boxes: (R, 4) float32. scores: (R,).
        iou_threshold: compared in float64, so that an overlap of 0.3 in float32, which is a little more than 0.3, exceeds 0.3.

    Returns:
        keep: (S,) int, indices of the boxes that stay, by descending score; equal scores in their given order.

    Raises:
        ValueError: boxes are not (R, 4), or scores not (R,).
        TypeError: they are not of one floating dtype.

    Reference: Girshick et al., Rich feature hierarchies (2014), section 2.2.

    >>> boxes = np.float32([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
    >>> nms(boxes, np.float32([0.8, 0.9, 0.5]), 0.5).tolist()
    [1, 2]
    """
    left = np.argsort(-scores, kind="stable")
    keep = []
    while left.size:
        first, left = left[0], left[1:]
        keep.append(first)
        iou = box_iou(boxes[first:first + 1], boxes[left])[0].astype(np.float64)
        left = left[~(iou > iou_threshold)]                        # NaN, of two boxes without area, stays
    return np.array(keep, np.intp)


@check_of(nms)
def check_nms(boxes, scores, iou_threshold):
    checks.one_dtype("nms", boxes=boxes, scores=scores)
    check_boxes("nms", boxes, "boxes")
    checks.shape("nms", "scores", scores, boxes.shape[:1])


def check_boxes(function, boxes, name, kinds="f"):
    """Raise TypeError unless boxes are of these kinds of numbers, ValueError unless they are (R, 4)."""
    if checks.kind(boxes) not in kinds:
        checks.floating(function, **{name: boxes})
    checks.shape(function, name, boxes, ("R", 4))


def batched_nms(boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, iou_threshold: float) -> np.ndarray:
    """``nms`` within each group (a class, or a map of the pyramid).

    As in torchvision, few boxes are moved apart, each group to an area of its own, and suppressed in one pass. The moved coordinates are
    rounded, which can change an overlap's last digits; many boxes are suppressed group by group where they are.

    Args:
        boxes: (R, 4) float32. scores: (R,). groups: (R,) int. iou_threshold: see ``nms``.

    Returns:
        keep: (S,) int, indices of the boxes that stay, by descending score over all groups.

    Raises:
        ValueError, TypeError: as for ``nms``, or groups are not (R,).
    """
    check_nms(boxes, scores, iou_threshold)
    checks.shape("batched_nms", "groups", groups, boxes.shape[:1])
    if not len(boxes):
        return np.empty(0, np.intp)
    if len(boxes) <= TRICK_BOXES:
        offsets = groups.astype(np.float32) * (boxes.max() + np.float32(1))
        return nms(boxes + offsets[:, None], scores, iou_threshold)
    keep = []
    for group in np.unique(groups):
        index = np.flatnonzero(groups == group)
        keep.append(index[nms(boxes[index], scores[index], iou_threshold)])
    kept = np.sort(np.concatenate(keep))
    return kept[np.argsort(-scores[kept], kind="stable")]

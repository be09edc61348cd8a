"""Training targets: which anchor or proposal stands for which object, and the sample of them that the losses are computed on.

RPN and box head are trained alike. Every anchor or proposal is compared with the ground-truth boxes: one that overlaps an object well is
positive, one that overlaps none is background. A fixed number of both is drawn at random, so that the many background boxes do not drown
the few objects.

Letters: G ground-truth objects, R boxes (anchors or proposals), P positive and Q negative boxes in the sample.

Reference: Girshick, Fast R-CNN (2015), section 2.3, "Mini-batch sampling"; Ren et al., Faster R-CNN (2015), section 3.1.2.
"""

from typing import NamedTuple

import numpy as np

from minicnn.detection.boxes import box_iou

BELOW, BETWEEN = -1, -2         # what ``match`` returns for a box without an object


class GroundTruth(NamedTuple):
    """The objects of one image: boxes (G, 4) float32 in pixels of the resized image, labels (G,) int64 of at least 1."""

    boxes: np.ndarray
    labels: np.ndarray


def match(iou: np.ndarray, high: float, low: float, low_quality: bool = False) -> np.ndarray:
    """Match each box to the object that it overlaps most.

    Args:
        iou: (G, R) overlaps of G objects with R boxes.
        high: least IoU of a match.
        low: IoU below which a box is background. Boxes between the two thresholds are left out of training.
        low_quality: also match every object's best boxes (several if they are equally good), however small the IoU, each to the object
            that *the box* overlaps most. The RPN needs it, since an object may have no good anchor.

    Returns:
        index: (R,) int: the object's row, ``BELOW`` (background) or ``BETWEEN`` (neither).

    Raises:
        ValueError: iou is not (G, R), or low exceeds high.

    Reference: Ren et al., section 3.1.2, conditions (i), low_quality, and (ii), high; torchvision's Matcher.

    >>> iou = np.array([[0.8, 0.5, 0.1]], np.float32)           # one object, three anchors
    >>> match(iou, high=0.7, low=0.3).tolist()                  # the object, BETWEEN, BELOW
    [0, -2, -1]
    >>> match(iou / 2, high=0.7, low=0.3).tolist()
    [-2, -1, -1]
    >>> match(iou / 2, high=0.7, low=0.3, low_quality=True).tolist()
    [0, -1, -1]
    """
    if iou.ndim != 2 or not low <= high:
        raise ValueError(f"match: got iou {iou.shape}, high={high}, low={low}, expected (G, R), and low at most high.")
    if not len(iou):
        return np.full(iou.shape[1], BELOW)
    best, index = iou.max(axis=0), iou.argmax(axis=0)
    matched = np.where(best < np.float32(low), BELOW, np.where(best < np.float32(high), BETWEEN, index))
    if low_quality:
        best_of_object = (iou == iou.max(axis=1, keepdims=True)).any(axis=0)
        matched[best_of_object] = index[best_of_object]
    return matched


def assign(boxes, ground_truth, high, low, low_quality=False):
    """The label and the ground-truth box of each of R boxes.

    Args:
        boxes: (R, 4) anchors or proposals.
        ground_truth: the image's ``GroundTruth``.
        high, low, low_quality: see ``match``.

    Returns:
        labels: (R,) int64: the object's label, 0 for background, -1 for boxes left out of training.
        true_boxes: (R, 4): the object's box; where there is no object, the box itself.
    """
    index = match(box_iou(ground_truth.boxes, boxes), high, low, low_quality)
    positive = index >= 0
    labels, true_boxes = np.where(index == BETWEEN, -1, 0), boxes.copy()
    labels[positive], true_boxes[positive] = ground_truth.labels[index[positive]], ground_truth.boxes[index[positive]]
    return labels, true_boxes


def sample(labels, batch_size, positive_fraction, permutation):
    """Draw a random sample of positive (label > 0) and negative boxes (label 0).

    Args:
        labels: (R,) int, from ``assign``.
        batch_size: size of the sample. Missing positive boxes are replaced by negative ones; missing negative ones are not replaced.
        positive_fraction: largest share of positive boxes in ``batch_size``.
        permutation: function n -> the numbers 0 to n - 1 in some order, such as a Generator's ``permutation``; the first ones are drawn.
            It is called for the positive boxes first.

    Returns:
        positive, negative: (P,), (Q,) int, indices into labels.
    """
    positive, negative = np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)
    count = min(len(positive), int(batch_size * positive_fraction))
    positive = positive[permutation(len(positive))[:count]]
    return positive, negative[permutation(len(negative))[:batch_size - count]]

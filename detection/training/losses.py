"""What a detector learns from: which anchor or proposal stands for which object, a sample of them, and two losses on it.

The RPN and the box head learn alike. Every box is compared with the true ones; well matched boxes are positive, badly matched ones are
background; of both a fixed number is drawn; a classification loss runs over the sample, and a regression loss over its positive part.

Reference: Girshick, Fast R-CNN (2015), section 2.3; Ren et al., Faster R-CNN (2015), section 3.1.2, equations 1 and 2.
"""

from typing import NamedTuple

import numpy as np

from minicnn import functional as F
from minicnn.detection.boxes import box_iou

BELOW, BETWEEN = -1, -2         # what ``match`` says of a box without an object
BETA = 1 / 9                    # of the smooth L1 losses: torchvision's, from Detectron


class Target(NamedTuple):
    """The objects of one image: boxes (G, 4) float32 in the pixels of the batch, labels (G,) int64 of at least 1."""

    boxes: np.ndarray
    labels: np.ndarray


def match(iou, high, low, low_quality=False):
    """Give boxes to objects.

    Args:
        iou: (G, R) overlaps of G objects with R boxes.
        high: a box belongs to the object that it overlaps most, if by at least this;
        low: it belongs to none if by less than this.
        low_quality: give every object's best boxes, equal ones included, back to *their own* best objects, however low; in the RPN,
            where an object may have no good anchor.

    Returns:
        places: (R,) int: the object, ``BELOW`` (background) or ``BETWEEN`` (neither).

    Reference: Ren et al., section 3.1.2, conditions (i) and (ii); torchvision's Matcher.
    """
    if not len(iou):
        return np.full(iou.shape[1], BELOW)
    best, places = iou.max(axis=0), iou.argmax(axis=0)
    matched = np.where(best < np.float32(low), BELOW, np.where(best < np.float32(high), BETWEEN, places))
    if low_quality:
        chosen = (iou == iou.max(axis=1, keepdims=True)).any(axis=0)
        matched[chosen] = places[chosen]
    return matched


def assign(boxes, target, high, low, low_quality=False):
    """The labels and true boxes of boxes (R, 4).

    Returns:
        labels: (R,) int64: an object's label, 0 for background, -1 for what counts as neither.
        true_boxes: (R, 4): the object's box; where there is none the box itself.
    """
    places = match(box_iou(target.boxes, boxes), high, low, low_quality)
    found = places >= 0
    labels, true_boxes = np.where(places == BETWEEN, -1, 0), boxes.copy()
    labels[found], true_boxes[found] = target.labels[places[found]], target.boxes[places[found]]
    return labels, true_boxes


def sample(labels, batch_size, positive_fraction, permutation):
    """Draw places of positive (label > 0) and negative ones (0).

    Args:
        labels: (R,) int.
        batch_size: so many in all; places for positives that there are not go to negatives, the reverse is not so.
        positive_fraction: at most this share is positive.
        permutation: n -> the numbers 0 to n - 1 in some order, such as a Generator's ``permutation``; the first ones are drawn.

    Returns:
        positive, negative: (P,), (Q,) int.
    """
    positive, negative = np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)
    count = min(len(positive), int(batch_size * positive_fraction))
    positive = positive[permutation(len(positive))[:count]]
    return positive, negative[permutation(len(negative))[:batch_size - count]]


def rpn_losses(objectness, deltas, wanted, targets, positive, negative):
    """Of the RPN: is there an object, and where.

    Args:
        objectness: (R,) logits; deltas: (R, 4); of all images' anchors together.
        wanted: (R,), 1 for an object, 0 for background, or a probability.
        targets: (P, 4), what the deltas at ``positive`` should be.
        positive, negative: (P,), (Q,) the sample.

    Returns:
        losses: objectness: mean cross-entropy over the sample; rpn_box_reg: sum of smooth L1 over positives / (P + Q).
        pullback: scale -> the gradients (R,) and (R, 4) of scale times their sum.
    """
    sampled = np.concatenate([positive, negative])
    wanted, count = wanted[sampled].astype(objectness.dtype), max(len(sampled), 1)
    losses = {"loss_objectness": F.binary_cross_entropy_with_logits(objectness[sampled], wanted),
              "loss_rpn_box_reg": F.smooth_l1_loss(deltas[positive], targets, BETA, "sum") / count}

    def pullback(scale):
        grad_objectness, grad_deltas = np.zeros_like(objectness), np.zeros_like(deltas)
        grad_objectness[sampled] = scale * F.binary_cross_entropy_with_logits_backward(objectness[sampled], wanted)
        grad_deltas[positive] = scale * F.smooth_l1_loss_backward(deltas[positive], targets, BETA, "sum") / count
        return grad_objectness, grad_deltas
    return losses, pullback


def fastrcnn_losses(logits, deltas, labels, targets, wanted=None):
    """Of the box head: which class, and where exactly.

    Args:
        logits: (R, K); deltas: (R, 4 K), four for each class; of the sampled proposals of all images.
        labels: (R,) int, 0 for background.
        targets: (R, 4), what the deltas of the label's class should be.
        wanted: (R, K), the classes' probabilities; None: the labels are certain.

    Returns:
        losses: classifier: mean cross-entropy; box_reg: sum of smooth L1 over objects / R.
        pullback: scale -> the gradients (R, K) and (R, 4 K) of scale times their sum.
    """
    rows, wanted = np.flatnonzero(labels > 0), labels if wanted is None else wanted
    by_class = deltas.reshape(*logits.shape, 4)
    predicted, targets, count = by_class[rows, labels[rows]], targets[rows], max(len(labels), 1)
    losses = {"loss_classifier": F.cross_entropy(logits, wanted) if len(labels) else 0.0,
              "loss_box_reg": F.smooth_l1_loss(predicted, targets, BETA, "sum") / count}

    def pullback(scale):
        grad_deltas = np.zeros_like(by_class)
        grad_deltas[rows, labels[rows]] = scale * F.smooth_l1_loss_backward(predicted, targets, BETA, "sum") / count
        return scale * F.cross_entropy_backward(logits, wanted), grad_deltas.reshape(deltas.shape)
    return losses, pullback


def together(one, other, prefix):
    """Two (losses, pullback) as one; prefix: what "loss_" becomes in the other's names."""
    losses = {**one[0], **{name.replace("loss_", prefix, 1): loss for name, loss in other[0].items()}}
    return losses, lambda scale: [a + b for a, b in zip(one[1](scale), other[1](scale))]

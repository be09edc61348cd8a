"""The four losses of Faster R-CNN: a classification and a box regression loss for the RPN, and the same two for the box head.

The classification loss runs over the whole sample of boxes, the regression loss over its positive part. Each function returns the losses
and a pullback, which gives their gradient with respect to the network's outputs.

Letters: R boxes, P positive and Q negative ones in the sample, K classes with the background as class 0.

Reference: Girshick, Fast R-CNN (2015), section 2.3, equations 1 to 3; Ren et al., Faster R-CNN (2015), section 3.1.2, equation 1.
"""

import numpy as np

from minicnn import functional as F

BETA = 1 / 9                    # of the smooth L1 losses: torchvision's value, from Detectron


def rpn_losses(objectness, deltas, probabilities, targets, positive, negative):
    """The RPN's losses: is there an object, and where.

    Args:
        objectness: (R,) logits; deltas: (R, 4); of the anchors of all images of the batch.
        probabilities: (R,), what the objectness should be: 1 for an object, 0 for background, or a teacher's probability.
        targets: (P, 4), what the deltas at ``positive`` should be.
        positive, negative: (P,), (Q,) int, the sample.

    Returns:
        losses: {"loss_objectness": mean binary cross-entropy over the sample, "loss_rpn_box_reg": smooth L1 summed over the positive
            anchors, divided by P + Q}.
        pullback: scale -> the gradients (R,) and (R, 4) of scale times the losses' sum.
    """
    sampled = np.concatenate([positive, negative])
    probabilities, count = probabilities[sampled].astype(objectness.dtype), max(len(sampled), 1)
    losses = {"loss_objectness": F.binary_cross_entropy_with_logits(objectness[sampled], probabilities),
              "loss_rpn_box_reg": F.smooth_l1_loss(deltas[positive], targets, BETA, "sum") / count}

    def pullback(scale):
        grad_objectness, grad_deltas = np.zeros_like(objectness), np.zeros_like(deltas)
        grad_objectness[sampled] = scale * F.binary_cross_entropy_with_logits_backward(objectness[sampled], probabilities)
        grad_deltas[positive] = scale * F.smooth_l1_loss_backward(deltas[positive], targets, BETA, "sum") / count
        return grad_objectness, grad_deltas
    return losses, pullback


def fastrcnn_losses(logits, deltas, labels, targets, probabilities=None):
    """The box head's losses: which class, and where exactly.

    Args:
        logits: (R, K); deltas: (R, 4 K), four for each class; of the sampled proposals of all images of the batch.
        labels: (R,) int, 0 for background.
        targets: (R, 4), what the deltas of the labelled class should be; rows of background are not used.
        probabilities: (R, K), a teacher's class probabilities; None: the labels are certain.

    Returns:
        losses: {"loss_classifier": mean cross-entropy, "loss_box_reg": smooth L1 summed over the objects, divided by R}.
        pullback: scale -> the gradients (R, K) and (R, 4 K) of scale times the losses' sum.
    """
    rows, probabilities = np.flatnonzero(labels > 0), labels if probabilities is None else probabilities
    by_class = deltas.reshape(*logits.shape, 4)
    predicted, targets, count = by_class[rows, labels[rows]], targets[rows], max(len(labels), 1)
    losses = {"loss_classifier": F.cross_entropy(logits, probabilities) if len(labels) else 0.0,
              "loss_box_reg": F.smooth_l1_loss(predicted, targets, BETA, "sum") / count}

    def pullback(scale):
        grad_deltas = np.zeros_like(by_class)
        grad_deltas[rows, labels[rows]] = scale * F.smooth_l1_loss_backward(predicted, targets, BETA, "sum") / count
        return scale * F.cross_entropy_backward(logits, probabilities), grad_deltas.reshape(deltas.shape)
    return losses, pullback


def add_losses(first, second, prefix):
    """Two (losses, pullback) pairs on the same outputs as one; prefix: replaces "loss_" in the second's names."""
    losses = {**first[0], **{name.replace("loss_", prefix, 1): loss for name, loss in second[0].items()}}
    return losses, lambda scale: [a + b for a, b in zip(first[1](scale), second[1](scale))]

"""One training step: the forward pass of RPN and box head on sampled boxes, the losses, the backward pass, the optimizer.

``detector_losses`` is the whole forward pass of training. In inference the same layers run, but every proposal is classified and nothing
is sampled; see ``faster_rcnn.py``.

Letters: N images, R anchors of an image over all maps, P positive and Q negative ones in the sample, K classes.

Reference: Ren et al., Faster R-CNN (2015), sections 3.1.2 and 3.2, "approximate joint training": no gradient flows through the
coordinates of the proposals.
"""

import numpy as np

from minicnn.detection import boxes as B
from minicnn.detection.rpn import WEIGHTS
from minicnn.detection.training.losses import fastrcnn_losses, rpn_losses
from minicnn.detection.training.targets import GroundTruth, assign, sample
from minicnn.detection.transform import Transform
from minicnn.optim import clip_grad_norm


def train_step(model, batches, optimizer, permutation, clip_norm=0, cache=None, teacher=None):
    """One step of the optimizer on one or several batches, whose gradients are averaged.

    Args:
        model: a ``FasterRCNN`` in training mode.
        batches: list of (images, ground truth, min_size), from ``batches.draw_batch``.
        optimizer: an ``SGD``.
        permutation: see ``targets.sample``.
        clip_norm: largest norm of the gradient; 0: any.
        cache: a ``FeatureCache``, or None.
        teacher: a ``distillation.Teacher``, or None.

    Returns:
        losses: {name: mean over the batches}, and "loss", their sum; floats.
    """
    means = {}
    for images, ground_truth, min_size in batches:
        batch, state = cache.start(model, images) if cache else model.start(images, min_size)
        ground_truth = [GroundTruth(Transform.scale_boxes(boxes, original, size), labels)
                        for (boxes, labels), original, size in zip(ground_truth, batch.original_sizes, batch.sizes)]
        losses, pullback = detector_losses(model, batch, state, ground_truth, permutation, teacher.outputs(batch) if teacher else None)
        pullback(1 / len(batches))
        for name, loss in losses.items():
            means[name] = means.get(name, 0.0) + loss / len(batches)
    if clip_norm:
        clip_grad_norm(model, clip_norm)
    optimizer.step()
    return {"loss": sum(means.values()), **means}


def detector_losses(model, batch, state, ground_truth, permutation, teacher_outputs=None):
    """The four losses of a batch, and their pullback.

    Args:
        model: a ``FasterRCNN``.
        batch, state: from ``FasterRCNN.start``.
        ground_truth: a ``GroundTruth`` for each image, boxes in pixels of the resized image.
        permutation: see ``targets.sample``. It is called image by image for the RPN, then for the box head, as in torchvision.
        teacher_outputs: a ``distillation.TeacherOutputs`` on the batch, which adds four losses; or None.

    Returns:
        losses: {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg": float}.
        pullback: scale -> None; adds the gradients of scale times the losses' sum to the layers.
    """
    (maps, rpn_outputs), to_backbone_and_rpn = model.vjp(state)
    anchors = model.rpn.anchors(maps, batch)
    proposals = model.rpn.proposals(rpn_outputs, anchors, batch.sizes)
    losses, to_rpn_outputs = rpn_step(model.rpn, rpn_outputs, anchors, ground_truth, permutation, teacher_outputs)
    roi_losses, to_maps = box_head_step(model.roi_heads, maps[:model.pooled_maps], proposals, batch.sizes, ground_truth, permutation,
                                        model.backbone.has_parameters(), teacher_outputs)

    def pullback(scale=1.0):
        to_backbone_and_rpn(to_maps(scale), to_rpn_outputs(scale))
    return {**roi_losses, **losses}, pullback


def rpn_step(rpn, outputs, anchors, ground_truth, permutation, teacher_outputs=None):
    """The RPN's losses on a sample of the anchors, and their pullback.

    Args:
        rpn: a ``RegionProposalNetwork``.
        outputs: for each map objectness (N, R_l) and deltas (N, R_l, 4), from ``rpn.vjp``.
        anchors: for each map (R_l, 4).
        ground_truth, permutation, teacher_outputs: as for ``detector_losses``.

    Returns:
        losses: see ``losses.rpn_losses``.
        pullback: scale -> a gradient for each map's objectness and deltas, in the form of ``outputs``.
    """
    ends = np.cumsum([len(level) for level in anchors])[:-1]
    objectness, deltas = (np.concatenate(arrays, axis=1) for arrays in zip(*outputs))                   # (N, R), (N, R, 4)
    labels, targets, positive, negative = sample_anchors(rpn, np.concatenate(anchors), ground_truth, permutation)
    flat = objectness.reshape(-1), deltas.reshape(-1, 4)                                                # (N R,), (N R, 4)
    own = rpn_losses(*flat, labels > 0, targets, positive, negative)
    losses, to_flat = teacher_outputs.add_rpn_losses(own, *flat, positive, negative) if teacher_outputs else own

    def pullback(scale):
        grads = (grad.reshape(whole.shape) for grad, whole in zip(to_flat(scale), (objectness, deltas)))
        return list(zip(*(np.split(grad, ends, axis=1) for grad in grads)))
    return losses, pullback


def sample_anchors(rpn, anchors, ground_truth, permutation):
    """Match the anchors of every image with its objects, and draw a sample.

    Args:
        rpn: a ``RegionProposalNetwork``, whose thresholds and sizes are taken.
        anchors: (R, 4), of all maps.
        ground_truth, permutation: as for ``detector_losses``.

    Returns:
        labels: (N R,) int64, see ``targets.assign``; targets: (P, 4), the deltas from positive anchors to their objects.
        positive, negative: (P,), (Q,) int, indices into labels.
    """
    labels, targets, positive, negative = [], [], [], []
    for i, objects in enumerate(ground_truth):
        image_labels, true_boxes = assign(anchors, objects, rpn.fg_iou_thresh, rpn.bg_iou_thresh, low_quality=True)
        chosen, others = sample(image_labels, rpn.batch_size_per_image, rpn.positive_fraction, permutation)
        labels.append(image_labels)
        targets.append(B.encode(true_boxes[chosen], anchors[chosen], WEIGHTS))
        positive.append(chosen + i * len(anchors))
        negative.append(others + i * len(anchors))
    return tuple(map(np.concatenate, (labels, targets, positive, negative)))


def box_head_step(roi_heads, maps, proposals, sizes, ground_truth, permutation, input_gradient=True, teacher_outputs=None):
    """The box head's losses on a sample of the proposals, and their pullback.

    Args:
        roi_heads: a ``RoIHeads``.
        maps: list of (N, C, H_l, W_l), the maps to pool from.
        proposals: for each image (R_n, 4). sizes: (h, w) of each image in the batch.
        ground_truth, permutation, teacher_outputs: as for ``detector_losses``.
        input_gradient: whether the maps need a gradient.

    Returns:
        losses: see ``losses.fastrcnn_losses``.
        pullback: scale -> a gradient for each map, or None without ``input_gradient``; adds the head's.
    """
    proposals, labels, targets = sample_proposals(roi_heads, proposals, ground_truth, permutation)
    (logits, deltas), to_maps = roi_heads.vjp(maps, proposals, sizes, input_gradient)                   # (R, K), (R, 4 K)
    own = fastrcnn_losses(logits, deltas, labels, targets)
    losses, to_outputs = teacher_outputs.add_fastrcnn_losses(own, logits, deltas, labels, proposals) if teacher_outputs else own
    return losses, lambda scale: to_maps(*to_outputs(scale))


def sample_proposals(roi_heads, proposals, ground_truth, permutation):
    """Match the proposals of every image, and its ground-truth boxes as further proposals, with its objects, and draw a sample.

    Returns:
        proposals: for each image (R_n, 4), the sample in its given order.
        labels: (R,) int64, 0 for background; targets: (R, 4), the deltas from proposals to their objects; of all images.
    """
    sampled, labels, targets = [], [], []
    for boxes, objects in zip(proposals, ground_truth):
        boxes = np.concatenate([boxes, objects.boxes])
        image_labels, true_boxes = assign(boxes, objects, roi_heads.fg_iou_thresh, roi_heads.bg_iou_thresh)
        rows = np.sort(np.concatenate(sample(image_labels, roi_heads.batch_size_per_image, roi_heads.positive_fraction, permutation)))
        sampled.append(boxes[rows])
        labels.append(image_labels[rows])
        targets.append(B.encode(true_boxes[rows], boxes[rows], roi_heads.bbox_reg_weights))
    return sampled, np.concatenate(labels), np.concatenate(targets)

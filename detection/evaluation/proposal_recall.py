"""Recall of the region proposal network: the share of the objects that it offers to the box head at all."""

import numpy as np

from minicnn.detection.evaluation.ranking import overlaps
from minicnn.hooks import watch

COUNTS = (50, 100, 300)     # numbers of proposals


def proposal_recall(annotated, proposals, counts=COUNTS, iou_threshold=0.5):
    """The share of the objects, of any class, that one of an image's first proposals overlaps by at least ``iou_threshold``.

    Args:
        annotated: ``AnnotatedImages``; difficult objects and crowds do not count.
        proposals: for each image (R, 4) in its pixels, by descending objectness.
        counts: numbers of first proposals.
        iou_threshold: least IoU.

    Returns:
        {count: recall}, None where there are no objects.

    Reference: Ren et al., Faster R-CNN (2015), section 4.1, "recall-to-IoU".
    """
    found, objects = dict.fromkeys(counts, 0), 0
    for image, boxes in zip(annotated.images, proposals, strict=True):
        gt_boxes = image.boxes[~(image.difficult | image.crowd)].astype(np.float64)
        objects += len(gt_boxes)
        near = overlaps(np.asarray(boxes, np.float64), gt_boxes) >= iou_threshold           # (R, G)
        for count in counts:
            found[count] += int(near[:count].any(axis=0).sum())
    return {count: number / objects if objects else None for count, number in found.items()}


def with_proposals(model, image):
    """Run a detector, and also return the proposals that its box head classified.

    Args:
        model: a ``FasterRCNN``.
        image: (3, H, W) float32 in [0, 1].

    Returns:
        found: boxes (D, 4), scores (D,), labels (D,).
        proposals: (R, 4) in the image's pixels, by descending objectness.
    """
    outputs = []
    with watch(model, {"rpn": lambda maps, batch, proposals: outputs.append((proposals[0], batch.sizes[0], batch.original_sizes[0]))}):
        found, = model([image])
    return found, model.transform.scale_boxes(*outputs[0])

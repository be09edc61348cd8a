"""How many objects the region proposal network offers to the box head at all."""

import numpy as np

from minicnn.detection.evaluation.ranking import overlaps
from minicnn.hooks import watch

COUNTS = (50, 100, 300)


def proposal_recall(annotated, proposals, counts=COUNTS, iou_threshold=0.5):
    """The share of the objects, of any class, that one of an image's first proposals overlaps by ``iou_threshold`` at least.

    Args:
        annotated: an ``AnnotatedImages``; difficult objects and crowds do not count.
        proposals: of each image (R, 4) in its pixels, best first.
        counts: numbers of proposals.

    Returns:
        {count: recall}, None where there are no objects.

    Reference: Ren et al., Faster R-CNN (2015), section 4.1, "recall-to-IoU".
    """
    found, objects = dict.fromkeys(counts, 0), 0
    for image, boxes in zip(annotated.images, proposals, strict=True):
        truths = image.boxes[~(image.difficult | image.crowd)].astype(np.float64)
        objects += len(truths)
        near = overlaps(np.asarray(boxes, np.float64), truths) >= iou_threshold             # (R, G)
        for count in counts:
            found[count] += int(near[:count].any(axis=0).sum())
    return {count: number / objects if objects else None for count, number in found.items()}


def with_proposals(model, image):
    """Run a detector, and see what its box head looked at.

    Args:
        model: a ``FasterRCNN``.
        image: (3, H, W) float32 in [0, 1].

    Returns:
        found: boxes (D, 4), scores (D,), labels (D,).
        proposals: (R, 4) in the image's pixels, best first.
    """
    seen = []
    with watch(model, {"rpn": lambda maps, batch, proposals: seen.append((proposals[0], batch.sizes[0], batch.original_sizes[0]))}):
        found, = model([image])
    return found, model.transform.scale_boxes(*seen[0])

"""True and false positives by the rules of PASCAL VOC."""

import numpy as np

from minicnn.detection.evaluation.ranking import IGNORED, TRUE_POSITIVE, overlaps


def voc_outcomes(ranking, iou_threshold=0.5):
    """The outcome of each detection of one class.

    By descending score, a detection is matched with the object that it overlaps most, and is a true positive if that object was still
    free; every further detection of the object is a false positive.

    VOC counts pixels from 1 and both corners inside, so that its overlaps have + 1 in every side. A box x1, y1, x2, y2 here is
    x1 + 1, y1 + 1, x2, y2 there, and its side x2 - (x1 + 1) + 1 = x2 - x1: the overlap is the ordinary one.

    Args:
        ranking: a ``Ranking``.
        iou_threshold: the IoU must *exceed* it; of equal overlaps the first object counts.

    Returns:
        outcomes: (D,) int8; ``IGNORED`` where the matched object is difficult.

    Reference: Everingham et al., The PASCAL VOC challenge (2010), section 4.2: the overlap "must exceed 0.5"; the development kit's
        VOCevaldet.m, which differs in that exactly 0.5 is enough.
    """
    outcomes = np.zeros(len(ranking.scores), np.int8)
    free = np.ones(len(ranking.gt_boxes), bool)
    for detections, objects in ranking.by_image():
        iou = overlaps(ranking.boxes[detections], ranking.gt_boxes[objects])                # (D, G) of this image
        near = iou.max(axis=1) > iou_threshold
        for detection, best in zip(detections[near], objects[iou[near].argmax(axis=1)]):
            if ranking.ignored[best]:
                outcomes[detection] = IGNORED
            elif free[best]:
                outcomes[detection], free[best] = TRUE_POSITIVE, False
    return outcomes

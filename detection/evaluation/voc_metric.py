"""Which detections are right by the rules of PASCAL VOC."""

import numpy as np

from minicnn.detection.evaluation.ranking import IGNORED, RIGHT, overlaps


def voc_hits(ranking, iou_threshold=0.5):
    """Go down the ranking: a detection is for the object that it overlaps most, and right if that was still free.

    VOC counts pixels from 1 and both corners inside, so that its overlaps have + 1 in every side. A box x1, y1, x2, y2 here is
    x1 + 1, y1 + 1, x2, y2 there, and its side x2 - (x1 + 1) + 1 = x2 - x1: the overlap is the ordinary one.

    Args:
        ranking: a ``Ranking``.
        iou_threshold: an object is met by *more than* that; of equal overlaps the first object counts.

    Returns:
        hits: (D,) int8; ``IGNORED`` where the object is difficult, ``WRONG`` for every further detection of an object.

    Reference: Everingham et al., The PASCAL VOC challenge (2010), section 4.2: the overlap "must exceed 0.5"; the development kit's
        VOCevaldet.m, which differs in that exactly 0.5 is enough.
    """
    hits = np.zeros(len(ranking.scores), np.int8)
    free = np.ones(len(ranking.truths), bool)
    for detections, truths in ranking.by_image():
        iou = overlaps(ranking.boxes[detections], ranking.truths[truths])                   # (D, G) of this image
        near = iou.max(axis=1) > iou_threshold
        for detection, truth in zip(detections[near], truths[iou[near].argmax(axis=1)]):
            if ranking.ignored[truth]:
                hits[detection] = IGNORED
            elif free[truth]:
                hits[detection], free[truth] = RIGHT, False
    return hits

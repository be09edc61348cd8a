"""Average precision: from which detections are right to one number.

Going down the ranking, precision is the share of right ones so far, recall the share of the objects found so far:

    precision = TP / (TP + FP),    recall = TP / objects

Every rule averages, over recall, the envelope: at each recall the best precision that is reached there or later. Recall grows only
where a detection is right, and the envelope's corners lie there too; so average precision is a sum over the right detections alone,

    AP = sum_i gain_i * max_{j >= i} precision_j

and the rules differ in the gain: the recall that detection i adds, or the share of fixed recall levels that it is the first to reach.

Reference: Everingham et al., The PASCAL Visual Object Classes (VOC) challenge (2010), section 4.2, for eleven levels; the VOC 2010
development kit, for the area; Lin et al., Microsoft COCO (2014), and its evaluation code, for 101 levels.
"""

import numpy as np

from minicnn.detection.evaluation.ranking import IGNORED, RIGHT

# as the kits write them: 0.1 * 3 is 0.30000000000000004, and a recall of exactly 3/10 does not reach it
VOC07_LEVELS = np.arange(0, 1.1, 0.1)
COCO_LEVELS = np.linspace(0, 1, 101)
AREA = None                 # no levels: the area under the envelope
WEIGHED_AT_ONCE = 2**22     # detections times weightings: some tens of MB


def average_precision(images, hits, rules, objects, weights=None):
    """Average precision of one class.

    An image of weight 3 counts as three equal images: copies of a right detection stand one behind the other, and the envelope
    of what lies between them is that of the last. So a bootstrap weighs images and matches nothing again.

    Args:
        images: (D,) int, each detection's image, the surest detection first.
        hits: (T, D), each ``RIGHT``, ``WRONG`` or ``IGNORED``, by T ways to tell.
        rules: T, for each of these the recall levels, or ``AREA``.
        objects: (P,) int, in each image.
        weights: (R, P) int, how often each image counts; None: once.

    Returns:
        (T, R) float64; NaN where there are no objects.
    """
    weights = np.ones((1, len(objects)), np.int32) if weights is None else weights
    end = np.flatnonzero((hits == RIGHT).any(axis=0)).max(initial=-1) + 1                   # what comes later changes nothing
    images, hits = images[:end], hits[:, :end]
    step = max(1, WEIGHED_AT_ONCE // max(1, end))
    return np.concatenate([weighed(images, hits, rules, objects, weights[start:start + step])
                           for start in range(0, len(weights), step)], axis=1)


def weighed(images, hits, rules, objects, weights):
    """``average_precision`` by as many weightings as there is memory for at once."""
    def sums(values):
        return np.cumsum(values, axis=1, dtype=weights.dtype)
    total = weights @ objects                                                               # (R,)
    weight = weights.take(images, axis=1)                                                 # (R, D)
    seen = sums(weight)
    averages = np.empty((len(hits), len(weights)))
    for average, hit, levels in zip(averages, hits, rules):
        right, ignored = np.flatnonzero(hit == RIGHT), np.flatnonzero(hit == IGNORED)
        true = sums(weight.take(right, axis=1))                                             # (R, I), at each right one
        left_out = sums(np.pad(weight.take(ignored, axis=1), ((0, 0), (1, 0))))
        counted = seen.take(right, axis=1) - left_out.take(np.searchsorted(ignored, right), axis=1)
        envelope = np.maximum.accumulate((true / np.maximum(counted, 1))[:, ::-1], axis=1)[:, ::-1]
        recall = true / np.maximum(total, 1)[:, None]
        reached = recall if levels is AREA else np.searchsorted(levels, recall, side="right") / len(levels)
        average[:] = (np.diff(reached, axis=1, prepend=0) * envelope).sum(axis=1)
    averages[:, total == 0] = np.nan
    return averages


def precision_recall(hits, objects):
    """The curve of one class: at every right detection recall and precision, both (I,).

    Args:
        hits: (D,), the surest first.
        objects: their number.
    """
    counted = hits[hits != IGNORED]
    right = np.flatnonzero(counted == RIGHT)
    true = np.arange(1, len(right) + 1)
    return true / max(objects, 1), true / (right + 1)

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

from minicnn.detection.ranking import IGNORED, RIGHT

# as the kits write them: 0.1 * 3 is 0.30000000000000004, and a recall of exactly 3/10 does not reach it
VOC07_LEVELS = np.arange(0, 1.1, 0.1)
COCO_LEVELS = np.linspace(0, 1, 101)
AREA = None                 # no levels: the area under the envelope
WEIGHED_AT_ONCE = 2**22     # detections times weightings: some tens of MB


def average_precision(pictures, hits, objects, rules, weights=None):
    """Average precision of one class.

    A picture of weight 3 counts as three equal pictures: copies of a right detection stand one behind the other, and the envelope
    of what lies between them is that of the last. So a bootstrap weighs pictures and matches nothing again.

    Args:
        pictures: (D,) int, each detection's picture, the surest detection first.
        hits: (T, D), each ``RIGHT``, ``WRONG`` or ``IGNORED``, by T ways to tell.
        objects: (P,) int, in each picture.
        rules: for each of K, the recall levels, or ``AREA``.
        weights: (R, P) int, how often each picture counts; None: once.

    Returns:
        (K, T, R) float64; NaN where there are no objects.
    """
    weights = np.ones((1, len(objects)), np.int64) if weights is None else weights
    step = max(1, WEIGHED_AT_ONCE // max(1, len(pictures)))
    parts = [weighed(pictures, hits, objects, rules, weights[start:start + step]) for start in range(0, len(weights), step)]
    return np.concatenate(parts, axis=2)


def weighed(pictures, hits, objects, rules, weights):
    """``average_precision`` by as many weightings as there is memory for at once."""
    total = weights @ objects                                                               # (R,)
    weight = weights[:, pictures]                                                           # (R, D)
    seen = np.cumsum(weight, axis=1)
    found = np.empty((len(rules), len(hits), len(weights)))
    for t, hit in enumerate(hits):
        right, ignored = np.flatnonzero(hit == RIGHT), np.flatnonzero(hit == IGNORED)
        true = np.cumsum(weight[:, right], axis=1)                                          # (R, I), at each right one
        left_out = np.cumsum(np.pad(weight[:, ignored], ((0, 0), (1, 0))), axis=1)
        counted = seen[:, right] - left_out[:, np.searchsorted(ignored, right)]
        envelope = np.maximum.accumulate((true / np.maximum(counted, 1))[:, ::-1], axis=1)[:, ::-1]
        recall = true / np.maximum(total, 1)[:, None]
        for k, levels in enumerate(rules):
            reached = recall if levels is AREA else np.searchsorted(levels, recall, side="right") / len(levels)
            found[k, t] = (np.diff(reached, axis=1, prepend=0) * envelope).sum(axis=1)
    found[:, :, total == 0] = np.nan
    return found


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

"""Average precision: one number from a ranking of true and false positives.

Going down the ranking, precision is the share of true positives among the detections so far, recall the share of the objects that were
found so far:

    precision = TP / (TP + FP),    recall = TP / objects

Every rule averages, over recall, the envelope of precision: at each recall the best precision that is reached there or later. Recall rises
only at true positives, and the envelope's corners lie there too; so average precision is a sum over the true positives alone,

    AP = sum_i gain_i * max_{j >= i} precision_j

and the rules differ in the gain: the recall that detection i adds (area under the envelope), or the share of fixed recall levels that it
is the first to reach.

Letters: D detections of one class, I true positives, T rules, P images, R weightings of the images.

Reference: Everingham et al., The PASCAL Visual Object Classes (VOC) challenge (2010), section 4.2, for eleven levels; the VOC 2010
development kit, for the area; Lin et al., Microsoft COCO (2014), and its evaluation code, for 101 levels.
"""

import numpy as np

from minicnn.detection.evaluation.ranking import IGNORED, TRUE_POSITIVE

# as the development kits write them: 0.1 * 3 is 0.30000000000000004, and a recall of exactly 3/10 does not reach it
VOC07_LEVELS = np.arange(0, 1.1, 0.1)
COCO_LEVELS = np.linspace(0, 1, 101)
AREA = None                 # no levels: the area under the envelope
WEIGHED_AT_ONCE = 2**22     # detections times weightings: some tens of MB


def average_precision(images: np.ndarray, outcomes: np.ndarray, rules: list, objects: np.ndarray,
                      weights: np.ndarray | None = None) -> np.ndarray:
    """Average precision of one class, by several rules.

    An image of weight 3 counts as three equal images: the copies of a true positive follow one another, and the envelope between them is
    that of the last. So a bootstrap weighs images, and matches nothing again.

    Args:
        images: (D,) int, each detection's image, by descending score.
        outcomes: (T, D), each ``TRUE_POSITIVE``, ``FALSE_POSITIVE`` or ``IGNORED``.
        rules: for each row of outcomes the recall levels, or ``AREA``.
        objects: (P,) int, number of objects in each image.
        weights: (R, P) int, how often each image counts; None: once.

    Returns:
        (T, R) float64; NaN where there are no objects.

    >>> outcomes = np.array([[TRUE_POSITIVE, 0, TRUE_POSITIVE]])          # 0: a false positive
    >>> average_precision(np.array([0, 0, 0]), outcomes, [AREA], np.array([2])).round(4).tolist()      # (1 + 2/3) / 2
    [[0.8333]]
    """
    weights = np.ones((1, len(objects)), np.int32) if weights is None else weights
    end = np.flatnonzero((outcomes == TRUE_POSITIVE).any(axis=0)).max(initial=-1) + 1       # later detections change nothing
    images, outcomes = images[:end], outcomes[:, :end]
    step = max(1, WEIGHED_AT_ONCE // max(1, end))
    return np.concatenate([weighed(images, outcomes, rules, objects, weights[start:start + step])
                           for start in range(0, len(weights), step)], axis=1)


def weighed(images, outcomes, rules, objects, weights):
    """``average_precision`` by a number of weightings for which the memory suffices."""
    def sums(values):
        return np.cumsum(values, axis=1, dtype=weights.dtype)
    total = weights @ objects                                                               # (R,)
    weight = weights.take(images, axis=1)                                                   # (R, D)
    count = sums(weight)
    averages = np.empty((len(outcomes), len(weights)))
    for average, outcome, levels in zip(averages, outcomes, rules):
        positive, ignored = np.flatnonzero(outcome == TRUE_POSITIVE), np.flatnonzero(outcome == IGNORED)
        true = sums(weight.take(positive, axis=1))                                          # (R, I), at each true positive
        left_out = sums(np.pad(weight.take(ignored, axis=1), ((0, 0), (1, 0))))
        counted = count.take(positive, axis=1) - left_out.take(np.searchsorted(ignored, positive), axis=1)
        envelope = np.maximum.accumulate((true / np.maximum(counted, 1))[:, ::-1], axis=1)[:, ::-1]
        recall = true / np.maximum(total, 1)[:, None]
        reached = recall if levels is AREA else np.searchsorted(levels, recall, side="right") / len(levels)
        average[:] = (np.diff(reached, axis=1, prepend=0) * envelope).sum(axis=1)
    averages[:, total == 0] = np.nan
    return averages


def precision_recall(outcomes, objects):
    """The precision-recall curve of one class, at its true positives.

    Args:
        outcomes: (D,), by descending score.
        objects: number of objects.

    Returns:
        recall, precision: (I,) each.
    """
    counted = outcomes[outcomes != IGNORED]
    positive = np.flatnonzero(counted == TRUE_POSITIVE)
    true = np.arange(1, len(positive) + 1)
    return true / max(objects, 1), true / (positive + 1)

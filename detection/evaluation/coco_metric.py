"""COCO's metric: true and false positives at ten IoU thresholds and for four ranges of object size, and its twelve numbers.

Letters: A area ranges, T thresholds, D detections and G objects of one class, K classes.

Reference: Lin et al., Microsoft COCO: common objects in context (2014); https://cocodataset.org/#detection-eval; COCOeval.evaluateImg
and accumulate in its evaluation code, whose order decides between equals. COCO's images are ordered by id, ours as in the data set.
"""

import numpy as np

from minicnn.detection.evaluation.average_precision import COCO_LEVELS, average_precision
from minicnn.detection.evaluation.ranking import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, overlaps

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RULES = [COCO_LEVELS] * len(THRESHOLDS)
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}      # square pixels, ends included
MOST = 100                  # detections of a class in an image that count


def coco_matches(ranking):
    """The object that each detection is matched with.

    Args:
        ranking: a ``Ranking``.

    Returns:
        matched: (A, T, D) int32, indices of objects in the ranking; -1 for none.
    """
    matched = np.full((len(AREAS), len(THRESHOLDS), len(ranking.scores)), -1, np.int32)
    ignored = ignored_ground_truth(ranking)
    for detections, objects in ranking.by_image():
        detections = detections[:MOST]
        crowd = ranking.crowd[objects]
        iou = overlaps(ranking.boxes[detections], ranking.gt_boxes[objects], crowd)
        index = match(iou, ignored[:, objects], crowd)
        matched[:, :, detections] = np.where(index < 0, -1, objects[0] + index)
    return matched


def match(iou, ignored, crowd):
    """Match the detections of one image, by descending score, with the objects that are still free.

    A detection takes the object that it overlaps most, the last of equals; an ignored object only if no other overlaps enough. A crowd
    may be taken any number of times.

    Args:
        iou: (D, G), by descending score; ignored: (A, G) bool; crowd: (G,) bool.

    Returns:
        index: (A, T, D) int, of objects; -1 for none.
    """
    count = iou.shape[1]
    free = np.ones((len(ignored), len(THRESHOLDS), count), bool)
    index = np.full((len(ignored), len(THRESHOLDS), len(iou)), -1)
    for d in np.flatnonzero(iou.max(axis=1) >= THRESHOLDS[0]):
        near = free & (iou[d] >= THRESHOLDS[:, None])                                       # (A, T, G)
        first = near & ~ignored[:, None]
        near = np.where(first.any(axis=2, keepdims=True), first, near)
        best = count - 1 - np.where(near, iou[d], -1)[:, :, ::-1].argmax(axis=2)            # (A, T)
        found = near.any(axis=2)
        index[:, :, d] = np.where(found, best, -1)
        area, threshold = np.nonzero(found & ~crowd[best])
        free[area, threshold, best[area, threshold]] = False
    return index


def coco_outcomes(ranking, matched):
    """The outcome of each detection: (A, T, D) int8.

    An unmatched detection is a false positive, unless its own area is out of the range; then, or beyond the hundredth of its image, or
    matched with an ignored object, it is ignored.

    Args:
        ranking: a ``Ranking``. matched: (A, T, D), from ``coco_matches``.
    """
    ignored = ignored_ground_truth(ranking)
    area = (ranking.boxes[:, 2:] - ranking.boxes[:, :2]).prod(axis=1)
    outcomes = np.empty(matched.shape, np.int8)
    for a, (low, high) in enumerate(AREAS.values()):
        unmatched = np.where((area < low) | (area > high), IGNORED, FALSE_POSITIVE)         # (D,)
        by_object = np.append(np.where(ignored[a], IGNORED, TRUE_POSITIVE), 0)              # (G + 1,); the last, at -1, is never taken
        outcomes[a] = np.where(matched[a] < 0, unmatched, by_object[matched[a]])
    outcomes[:, :, ranking.ranks() >= MOST] = IGNORED
    return outcomes


def ignored_ground_truth(ranking):
    """(A, G) bool: the objects that do not count in each range of areas."""
    return np.array([ranking.ignored | (ranking.areas < low) | (ranking.areas > high) for low, high in AREAS.values()])


def coco_numbers(rankings, all_outcomes):
    """COCO's twelve numbers.

    Args:
        rankings: a ``Ranking`` for each class; all_outcomes: for each class (A, T, D).

    Returns:
        {"AP": mean over classes and thresholds, "AP50", "AP75": at one threshold, "AP small" ... "AP large": of objects of that area,
        "AR1", "AR10", "AR100": mean recall by that number of detections of a class in an image, "AR small" ... "AR large": by 100}. A
        class without objects of a size is left out of the mean; a number is None where all classes are.
    """
    precision, recalls = [], []
    for ranking, outcomes in zip(rankings, all_outcomes):
        ignored, ranks = ignored_ground_truth(ranking), ranking.ranks()
        counts = (~ignored).sum(axis=1)                                                     # (A,)
        precision.append([average_precision(np.zeros_like(ranking.images), outcomes[a], RULES, counts[a:a + 1])[:, 0]
                          for a in range(len(AREAS))])
        positives = [(outcomes[:, :, ranks < most] == TRUE_POSITIVE).sum(axis=2) for most in (1, 10, MOST)]
        with np.errstate(invalid="ignore"):
            recalls.append([found / counts[:, None] for found in positives])
    precision, recalls = np.array(precision), np.array(recalls)                             # (K, A, T) and (K, 3, A, T)
    numbers = {"AP": precision[:, 0], "AP50": precision[:, 0, 0], "AP75": precision[:, 0, 5]}
    numbers |= {f"AP {name}": precision[:, a] for a, name in enumerate(AREAS) if a}
    numbers |= {f"AR{most}": recalls[:, m, 0] for m, most in enumerate((1, 10, MOST))}
    numbers |= {f"AR {name}": recalls[:, 2, a] for a, name in enumerate(AREAS) if a}
    return {name: mean(values) for name, values in numbers.items()}


def mean(values):
    """The mean of the values that are not NaN; None if all are."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else None

"""COCO's metric: which detections are right at ten thresholds and among objects of four sizes, and its twelve numbers.

Dimensions: A areas, T thresholds, D detections and G objects of one class, K classes.

Reference: Lin et al., Microsoft COCO: common objects in context (2014); https://cocodataset.org/#detection-eval; COCOeval.evaluateImg
and accumulate in its evaluation code, whose order decides between equals. Its images go by ascending id, ours as the set has them.
"""

import numpy as np

from minicnn.detection.evaluation.average_precision import COCO_LEVELS, average_precision
from minicnn.detection.evaluation.ranking import IGNORED, RIGHT, WRONG, overlaps

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RULES = [COCO_LEVELS] * len(THRESHOLDS)
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}      # square pixels, ends included
MOST = 100                  # detections of a class in an image that are looked at


def coco_partners(ranking):
    """The object that each detection is matched with.

    Args:
        ranking: a ``Ranking``.

    Returns:
        partners: (A, T, D) int32, places of objects in the ranking; -1 for none.
    """
    partners = np.full((len(AREAS), len(THRESHOLDS), len(ranking.scores)), -1, np.int32)
    ignored = ignored_truths(ranking)
    for detections, truths in ranking.by_image():
        detections = detections[:MOST]
        crowd = ranking.crowd[truths]
        iou = overlaps(ranking.boxes[detections], ranking.truths[truths], crowd)
        places = match(iou, ignored[:, truths], crowd)
        partners[:, :, detections] = np.where(places < 0, -1, truths[0] + places)
    return partners


def match(iou, ignored, crowd):
    """One image: the surest detection chooses first, among the objects left that it overlaps enough.

    It takes the one that it overlaps most, the last of equals; an ignored object only if no other is left; a crowd any number of times.

    Args:
        iou: (D, G), the surest detection first; ignored: (A, G) bool; crowd: (G,) bool.

    Returns:
        places: (A, T, D) int, of objects; -1 for none.
    """
    count = iou.shape[1]
    free = np.ones((len(ignored), len(THRESHOLDS), count), bool)
    places = np.full((len(ignored), len(THRESHOLDS), len(iou)), -1)
    for d in np.flatnonzero(iou.max(axis=1) >= THRESHOLDS[0]):
        near = free & (iou[d] >= THRESHOLDS[:, None])                                       # (A, T, G)
        first = near & ~ignored[:, None]
        near = np.where(first.any(axis=2, keepdims=True), first, near)
        best = count - 1 - np.where(near, iou[d], -1)[:, :, ::-1].argmax(axis=2)            # (A, T)
        met = near.any(axis=2)
        places[:, :, d] = np.where(met, best, -1)
        area, threshold = np.nonzero(met & ~crowd[best])
        free[area, threshold, best[area, threshold]] = False
    return places


def coco_hits(ranking, partners):
    """What the matches say of each detection: (A, T, D) int8.

    One without a partner is wrong, unless its own area is out of the range; one beyond the hundredth of its image is ignored.
    """
    ignored = ignored_truths(ranking)
    area = (ranking.boxes[:, 2:] - ranking.boxes[:, :2]).prod(axis=1)
    hits = np.empty(partners.shape, np.int8)
    for a, (low, high) in enumerate(AREAS.values()):
        alone = np.where((area < low) | (area > high), IGNORED, WRONG)                      # (D,)
        verdicts = np.append(np.where(ignored[a], IGNORED, RIGHT), 0)                       # (G + 1,); the last, -1, is never taken
        hits[a] = np.where(partners[a] < 0, alone, verdicts[partners[a]])
    hits[:, :, ranking.ranks() >= MOST] = IGNORED
    return hits


def ignored_truths(ranking):
    """(A, G) bool: objects that do not count in each range of areas."""
    return np.array([ranking.ignored | (ranking.areas < low) | (ranking.areas > high) for low, high in AREAS.values()])


def coco_numbers(rankings, all_hits):
    """The twelve numbers.

    Args:
        rankings: of each class; all_hits: of each class (A, T, D).

    Returns:
        {"AP": mean over classes and thresholds, "AP50", "AP75": at one threshold, "AP small" ... "AP large": of objects of that area,
        "AR1", "AR10", "AR100": mean recall by so many detections of a class in an image, "AR small" ... "AR large": by 100}; a class
        without objects of a size is left out of its mean; None where all are.
    """
    precision, recalls = [], []
    for ranking, hits in zip(rankings, all_hits):
        ignored, ranks = ignored_truths(ranking), ranking.ranks()
        counts = (~ignored).sum(axis=1)                                                     # (A,)
        precision.append([average_precision(np.zeros_like(ranking.images), hits[a], RULES, counts[a:a + 1])[:, 0]
                          for a in range(len(AREAS))])
        right = [(hits[:, :, ranks < most] == RIGHT).sum(axis=2) for most in (1, 10, MOST)]
        with np.errstate(invalid="ignore"):
            recalls.append([found / counts[:, None] for found in right])
    precision, recalls = np.array(precision), np.array(recalls)                             # (K, A, T) and (K, 3, A, T)
    numbers = {"AP": precision[:, 0], "AP50": precision[:, 0, 0], "AP75": precision[:, 0, 5]}
    numbers |= {f"AP {name}": precision[:, a] for a, name in enumerate(AREAS) if a}
    numbers |= {f"AR{most}": recalls[:, m, 0] for m, most in enumerate((1, 10, MOST))}
    numbers |= {f"AR {name}": recalls[:, 2, a] for a, name in enumerate(AREAS) if a}
    return {name: mean(values) for name, values in numbers.items()}


def mean(values):
    """The mean of those that are numbers; None if there is none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else None

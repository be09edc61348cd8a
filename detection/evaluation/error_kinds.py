"""TIDE: the false positives and missed objects of a detector by kind, and how much average precision each kind costs.

A false positive, at COCO's threshold 0.5, is of the first kind that fits (TIDE's name in brackets):

    place       [Loc]   overlaps an object of its class, but only by 0.1 to 0.5
    class       [Cls]   overlaps an object of another class by at least 0.5
    duplicate   [Dupe]  overlaps an object of its class that a detection of higher score has found
    background  [Bkg]   overlaps no object by more than 0.1
    both        [Both]  any other: wrong class, and wrong place too

An object is missed [Miss] if it was not found, and no error of place or class is about it.

Letters: K classes, N detections of all classes, W false positives, G objects.

Reference: Bolya, Foley, Hays, Hoffman, TIDE: a general toolbox for identifying object detection errors (2020), section 2, and its program
for what the paper leaves open. Differs: ignored objects, the limit of 100 detections and the recall levels to their last digit are COCO's,
and classes without objects are left out of means.
"""

import numpy as np

from minicnn.detection.evaluation.average_precision import COCO_LEVELS, average_precision
from minicnn.detection.evaluation.ranking import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, common, overlaps

FOUND, BACKGROUND = 0.5, 0.1        # IoUs: t_f and t_b of the paper
KINDS = ("class", "place", "both", "duplicate", "background", "missed")


def error_kinds(rankings, all_outcomes, all_matched):
    """Count the errors by kind, and correct them, one kind at a time.

    An error of class or place becomes a true positive, if its object is free and no error of higher score is about it; all other errors
    are removed, and missed objects no longer counted. The gain in mean AP at 0.5 is the kind's dAP.

    Args:
        rankings: a ``Ranking`` for each class.
        all_outcomes: for each class (D,), at IoU 0.5; all_matched: for each class (D,), indices of objects.

    Returns:
        {kind: {"count", "dAP"}}; dAP is None where no class has objects.
    """
    scores, images, boxes = (np.concatenate([getattr(ranking, key) for ranking in rankings]) for key in ("scores", "images", "boxes"))
    labels = np.repeat(np.arange(len(rankings)), [len(ranking.scores) for ranking in rankings])
    outcomes = np.concatenate(all_outcomes)
    objects = counted_ground_truth(rankings, all_outcomes, all_matched)
    kinds, targets = kinds_of(np.flatnonzero(outcomes == FALSE_POSITIVE), images, boxes, labels, objects)

    order = np.argsort(-scores[targets[:, 0]], kind="stable")
    wanted, first = np.unique(targets[order, 1], return_index=True)                 # objects that errors are about,
    corrected = targets[order[first], 0]                                            # and of each the error of highest score
    missed = ~objects["taken"]
    missed[wanted] = False
    counts = np.bincount(objects["labels"], minlength=len(rankings))

    def mean_ap(labels, outcomes, kept, counts_left):
        values = [class_ap(scores, outcomes, kept & (labels == label), counts_left[label]) for label in range(len(rankings))
                  if counts[label]]
        return float(np.mean(values)) if values else None
    before = mean_ap(labels, outcomes, np.ones(len(scores), bool), counts)
    result = {}
    for number, kind in enumerate(KINDS):
        new_labels, new_outcomes, kept, counts_left = labels.copy(), outcomes.copy(), kinds != number, counts
        if kind == "missed":
            counts_left = counts - np.bincount(objects["labels"][missed], minlength=len(rankings))
        here = kinds[corrected] == number
        new_labels[corrected[here]] = objects["labels"][wanted[here]]
        new_outcomes[corrected[here]], kept[corrected[here]] = TRUE_POSITIVE, True
        after = mean_ap(new_labels, new_outcomes, kept, counts_left)
        # below 0 only by a step of the recall levels: 0, as in the authors' program
        result[kind] = {"count": int(missed.sum() if kind == "missed" else (kinds == number).sum()),
                        "dAP": None if before is None else max(after - before, 0.0)}
    return result


def counted_ground_truth(rankings, all_outcomes, all_matched):
    """The objects that count, of all classes, image by image: {"images", "labels", "boxes", "taken": found by a true positive}."""
    columns = {"images": [], "labels": [], "boxes": [], "taken": []}
    for label, (ranking, outcomes, matched) in enumerate(zip(rankings, all_outcomes, all_matched)):
        taken = np.zeros(len(ranking.gt_boxes), bool)
        taken[matched[outcomes == TRUE_POSITIVE]] = True
        counts = ~ranking.ignored
        for key, values in (("images", ranking.gt_images), ("labels", np.full(len(taken), label)), ("boxes", ranking.gt_boxes),
                            ("taken", taken)):
            columns[key].append(values[counts])
    columns = {key: np.concatenate(values) for key, values in columns.items()}
    order = np.argsort(columns["images"], kind="stable")
    return {key: values[order] for key, values in columns.items()}


def kinds_of(false_positives, images, boxes, labels, objects):
    """The kind of each false positive.

    Args:
        false_positives: (W,) indices into all N detections.
        images, boxes, labels: of all N detections.
        objects: see ``counted_ground_truth``.

    Returns:
        kinds: (N,) indices into ``KINDS``, -1 for detections that are no false positives.
        targets: (M, 2): detections that would be true positives if they were corrected, and the free objects that they are about.
    """
    kinds, targets = np.full(len(images), -1), [np.empty((0, 2), np.int64)]
    kinds[false_positives] = KINDS.index("background")                              # those in images without objects stay so
    false_positives = false_positives[np.argsort(images[false_positives], kind="stable")]
    for start, end, first, last in common(images[false_positives], objects["images"]):
        mine, its = false_positives[start:end], slice(first, last)
        iou = overlaps(boxes[mine], objects["boxes"][its])                          # (W, G) of this image
        same, taken = labels[mine][:, None] == objects["labels"][its], objects["taken"][its]
        own, other, used = np.where(same, iou, 0), np.where(same, 0, iou), np.where(same & taken, iou, 0)
        near = own.max(axis=1)
        tests = {"place": (near >= BACKGROUND) & (near <= FOUND), "class": other.max(axis=1) >= FOUND,
                 "duplicate": used.max(axis=1) >= FOUND, "background": iou.max(axis=1) <= BACKGROUND}
        kinds[mine] = np.select(list(tests.values()), [KINDS.index(kind) for kind in tests], KINDS.index("both"))
        for kind, by in (("place", own), ("class", other)):
            target, its_kind = by.argmax(axis=1), kinds[mine] == KINDS.index(kind)
            free = its_kind & ~taken[target]
            targets.append(np.stack([mine[free], first + target[free]], axis=1))
    return kinds, np.concatenate(targets)


def class_ap(scores, outcomes, kept, objects):
    """AP at one threshold of the detections that are kept; 0 where no object is left."""
    index = np.flatnonzero(kept & (outcomes != IGNORED))
    index = index[np.argsort(-scores[index], kind="stable")]
    value = average_precision(np.zeros_like(index), outcomes[index][None], [COCO_LEVELS], np.array([objects]))[0, 0]
    return np.nan_to_num(value)

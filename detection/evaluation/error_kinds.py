"""Why a detector loses: six kinds of errors, and how much average precision each of them costs.

A wrong detection, at COCO's threshold 0.5, is of the first kind that fits:

    place       overlaps an object of its class, but by 0.1 to 0.5 only
    class       overlaps an object of another class by 0.5 at least
    duplicate   overlaps an object of its class that a surer one has found
    background  overlaps no object by more than 0.1
    both        any other: wrong class, and wrong place too

An object is missed if it was not found, and no error of place or class is about it.

Reference: Bolya, Foley, Hays, Hoffman, TIDE: a general toolbox for identifying object detection errors (2020), section 2 (there Loc,
Cls, Dupe, Bkg, Both, Miss), and its program for what the paper leaves open. Differs: ignored objects, the limit of 100
detections and the recall levels to their last digit are COCO's, and classes without objects are in no mean.
"""

import numpy as np

from minicnn.detection.evaluation.average_precision import COCO_LEVELS, average_precision
from minicnn.detection.evaluation.ranking import IGNORED, RIGHT, WRONG, common, overlaps

FOUND, BACKGROUND = 0.5, 0.1        # overlaps: t_f and t_b of the paper
KINDS = ("class", "place", "both", "duplicate", "background", "missed")


def error_kinds(rankings, all_hits, all_partners):
    """Count the errors, and mend them, one kind at a time.

    An error of class or place becomes right, if the object is free and no surer one is about it; all others are removed, and
    missed objects no longer counted. What the mean AP at 0.5 gains is the kind's dAP.

    Args:
        rankings: of each of K classes; all_hits: (D,) of each, at 0.5; all_partners: (D,) of each, places of objects.

    Returns:
        {kind: {"count", "dAP"}}; dAP is None where no class has objects.
    """
    scores, images, boxes = (np.concatenate([getattr(one, key) for one in rankings]) for key in ("scores", "images", "boxes"))
    labels = np.repeat(np.arange(len(rankings)), [len(one.scores) for one in rankings])
    hits = np.concatenate(all_hits)
    truths = counted_truths(rankings, all_hits, all_partners)
    kinds, targets = kinds_of(np.flatnonzero(hits == WRONG), images, boxes, labels, truths)

    order = np.argsort(-scores[targets[:, 0]], kind="stable")
    wanted, first = np.unique(targets[order, 1], return_index=True)                 # of each object wanted, the surest
    mended = targets[order[first], 0]
    missed = ~truths["taken"]
    missed[wanted] = False
    objects = np.bincount(truths["labels"], minlength=len(rankings))

    def mean_ap(labels, hits, kept, left):
        """left: objects of each class that are still counted."""
        values = [class_ap(scores, hits, kept & (labels == label), left[label]) for label in range(len(rankings)) if objects[label]]
        return float(np.mean(values)) if values else None

    every = np.ones(len(scores), bool)
    before = mean_ap(labels, hits, every, objects)
    result = {}
    for number, kind in enumerate(KINDS):
        new_labels, new_hits, kept, left = labels.copy(), hits.copy(), kinds != number, objects
        if kind == "missed":
            left = objects - np.bincount(truths["labels"][missed], minlength=len(rankings))
        places = kinds[mended] == number
        new_labels[mended[places]] = truths["labels"][wanted[places]]
        new_hits[mended[places]], kept[mended[places]] = RIGHT, True
        after = mean_ap(new_labels, new_hits, kept, left)
        # below 0 only by a step of the recall levels: 0, as in the authors' program
        result[kind] = {"count": int(missed.sum() if kind == "missed" else (kinds == number).sum()),
                        "dAP": None if before is None else max(after - before, 0.0)}
    return result


def counted_truths(rankings, all_hits, all_partners):
    """The objects that count, of all classes, image by image: {"pictures", "labels", "boxes", "taken"}."""
    columns = {"pictures": [], "labels": [], "boxes": [], "taken": []}
    for label, (ranking, hits, partners) in enumerate(zip(rankings, all_hits, all_partners)):
        taken = np.zeros(len(ranking.truths), bool)
        taken[partners[hits == RIGHT]] = True
        counts = ~ranking.ignored
        for key, values in (("pictures", ranking.truth_images), ("labels", np.full(len(taken), label)), ("boxes", ranking.truths),
                            ("taken", taken)):
            columns[key].append(values[counts])
    columns = {key: np.concatenate(values) for key, values in columns.items()}
    order = np.argsort(columns["pictures"], kind="stable")
    return {key: values[order] for key, values in columns.items()}


def kinds_of(wrong, images, boxes, labels, truths):
    """Tell the wrong detections apart.

    Args:
        wrong: (W,) places of the wrong ones among all N.
        images, boxes, labels: of all N detections.
        truths: see ``counted_truths``.

    Returns:
        kinds: (N,) places in ``KINDS``, -1 for those that are not wrong.
        targets: (M, 2): detections that would be right if they were mended, and the free objects that they are about.
    """
    kinds, targets = np.full(len(images), -1), [np.empty((0, 2), np.int64)]
    kinds[wrong] = KINDS.index("background")                                        # those in images without objects stay so
    wrong = wrong[np.argsort(images[wrong], kind="stable")]
    for start, end, first, last in common(images[wrong], truths["pictures"]):
        mine, its = wrong[start:end], slice(first, last)
        iou = overlaps(boxes[mine], truths["boxes"][its])                           # (W, G) of this image
        same, taken = labels[mine][:, None] == truths["labels"][its], truths["taken"][its]
        own, other, used = np.where(same, iou, 0), np.where(same, 0, iou), np.where(same & taken, iou, 0)
        near = own.max(axis=1)
        tests = {"place": (near >= BACKGROUND) & (near <= FOUND), "class": other.max(axis=1) >= FOUND,
                 "duplicate": used.max(axis=1) >= FOUND, "background": iou.max(axis=1) <= BACKGROUND}
        kinds[mine] = np.select(list(tests.values()), [KINDS.index(kind) for kind in tests], KINDS.index("both"))
        for kind, by in (("place", own), ("class", other)):
            target, its_kind = by.argmax(axis=1), kinds[mine] == KINDS.index(kind)
            some = its_kind & ~taken[target]
            targets.append(np.stack([mine[some], first + target[some]], axis=1))
    return kinds, np.concatenate(targets)


def class_ap(scores, hits, kept, objects):
    """AP at one threshold of the detections that are kept; 0 where no object is left."""
    places = np.flatnonzero(kept & (hits != IGNORED))
    places = places[np.argsort(-scores[places], kind="stable")]
    value = average_precision(np.zeros_like(places), hits[places][None], [COCO_LEVELS], np.array([objects]))[0, 0]
    return np.nan_to_num(value)

"""COCO's metric in plain loops, detection by detection and object by object as in its own code: an oracle for ours."""

import numpy as np

THRESHOLDS, LEVELS = np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101)
AREAS = {"all": (0, 1e10), "small": (0, 1024), "medium": (1024, 9216), "large": (9216, 1e10)}


def area_of(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def overlap(box, truth, crowd):
    width, height = min(box[2], truth[2]) - max(box[0], truth[0]), min(box[3], truth[3]) - max(box[1], truth[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (area_of(box) if crowd else area_of(box) + area_of(truth) - width * height)


def evaluate_image(rows, truths, threshold, low, high, most):
    """rows: (score, box); truths: (box, ignored, crowd, area), of one class -> ([(score, hit or None if it does not count)], objects)."""
    truths = [(box, ignored or area < low or area > high, crowd) for box, ignored, crowd, area in truths]
    truths.sort(key=lambda truth: truth[1])
    taken, verdicts = set(), []
    for score, box in sorted(rows, key=lambda row: -row[0])[:most]:
        best, at = threshold, None
        for g, (truth, ignored, crowd) in enumerate(truths):
            if g in taken and not crowd:
                continue
            if at is not None and not truths[at][1] and ignored:
                break
            if overlap(box, truth, crowd) >= best:
                best, at = overlap(box, truth, crowd), g
        if at is None:
            verdicts.append((score, None if not low <= area_of(box) <= high else False))
        else:
            taken.add(at)
            verdicts.append((score, None if truths[at][1] else True))
    return verdicts, sum(not ignored for _, ignored, _ in truths)


def evaluate(annotated, found, label, threshold, name, most):
    """(AP, recall) of one class at one threshold among objects of one size; None without objects."""
    verdicts, objects = [], 0
    for image, (boxes, scores, labels) in zip(annotated.images, found):
        rows = [(float(score), [float(side) for side in box]) for box, score, one in zip(boxes, scores, labels) if one == label]
        truths = [([float(side) for side in box], difficult or crowd, crowd, area) for box, one, difficult, crowd, area in
                  zip(image.boxes, image.labels, image.difficult, image.crowd, image.areas) if one == label]
        some, count = evaluate_image(rows, truths, threshold, *AREAS[name], most)
        verdicts += some
        objects += count
    if not objects:
        return None
    true, curve = 0, []
    for number, (_, hit) in enumerate((one for one in sorted(verdicts, key=lambda one: -one[0]) if one[1] is not None), start=1):
        true += hit
        curve.append((true / objects, true / number))
    reached = [max((precision for recall, precision in curve if recall >= level), default=0) for level in LEVELS]
    return float(np.mean(reached)), true / objects


def numbers(annotated, found):
    """The twelve numbers, None for those without objects."""
    def mean(place, thresholds=THRESHOLDS, name="all", most=100):
        values = [evaluate(annotated, found, label, threshold, name, most) for label in range(1, len(annotated.class_names))
                  for threshold in thresholds]
        values = [value[place] for value in values if value is not None]
        return float(np.mean(values)) if values else None
    sizes = list(AREAS)[1:]
    return {"AP": mean(0), "AP50": mean(0, THRESHOLDS[:1]), "AP75": mean(0, THRESHOLDS[5:6]),
            **{f"AP {size}": mean(0, name=size) for size in sizes}, **{f"AR{most}": mean(1, most=most) for most in (1, 10, 100)},
            **{f"AR {size}": mean(1, name=size) for size in sizes}}

"""The images in which a detector is worst."""

import numpy as np

from minicnn.data.images import as_image, read_reduced
from minicnn.detection.evaluation.ranking import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE
from minicnn.errors import InputError

SHOWN_ABOVE = 0.5               # score of the detections that count here
VERDICTS = {TRUE_POSITIVE: "true positive", FALSE_POSITIVE: "false positive", IGNORED: "ignored"}


def worst_images(evaluation, most=8):
    """The images with most missed objects and false positives, of the detections with a score above a half.

    Args:
        evaluation: an ``Evaluation``.
        most: largest number of images.

    Returns:
        list of {"name", "pixels", "missed", "truths", "found"}, see ``minicnn.report.detection_page.write_report``; images without errors
        and images that cannot be read are left out.
    """
    count = len(evaluation.annotated.images)
    missed, false = {}, np.zeros(count, np.int64)
    for ranking, matches in zip(evaluation.rankings, evaluation.matches):
        sure = matches.scores > SHOWN_ABOVE
        missed[ranking.name] = matches.objects - np.bincount(matches.images[sure & (matches.voc == TRUE_POSITIVE)], minlength=count)
        false += np.bincount(matches.images[sure & (matches.voc == FALSE_POSITIVE)], minlength=count)
    errors = sum(missed.values()) + false
    worst = []
    for index in np.argsort(-errors, kind="stable"):
        if errors[index] == 0 or len(worst) == most:
            break
        try:
            read = read_reduced(evaluation.annotated.images[index].path)
        except InputError:
            continue
        counts = {name: int(numbers[index]) for name, numbers in missed.items() if numbers[index]}
        worst.append({**drawn_boxes(evaluation, index, read.reduced), "pixels": as_image(read.values), "missed": counts})
    return worst


def drawn_boxes(evaluation, index, reduced):
    """{"name", "truths", "found"} of the image of that index, boxes in its pixels as it is read: reduced by that factor."""
    image, names = evaluation.annotated.images[index], evaluation.annotated.class_names
    truths = [(box, names[label], not (difficult or crowd)) for box, label, difficult, crowd in
              zip((image.boxes / reduced).tolist(), image.labels, image.difficult, image.crowd)]
    found = [((ranking.boxes[i] / reduced).tolist(), ranking.name, float(ranking.scores[i]), VERDICTS[matches.voc[i]])
             for ranking, matches in zip(evaluation.rankings, evaluation.matches)
             for i in np.flatnonzero((ranking.images == index) & (ranking.scores > SHOWN_ABOVE))]
    return {"name": image.name, "truths": truths, "found": found}

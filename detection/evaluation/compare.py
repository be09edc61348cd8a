"""Two detectors on the same images: is one better, or were the images kind to it?

Both are resampled by the same draws, so that the interval is of the difference itself.
"""

import numpy as np

from minicnn.detection.evaluation.bootstrap import LEVEL, REPLICATES, interval, resampled
from minicnn.detection.evaluation.evaluate import class_means
from minicnn.detection.evaluation.matches import DAMAGED, RULES, Matches
from minicnn.errors import InputError


def compare(first, second, rng, names=("the first", "the second")):
    """Compare two evaluations.

    Args:
        first, second: documents of ``match_document``.
        rng: a Generator.
        names: what messages call them.

    Returns:
        {"pictures": number, "level", "replicates", "mAP": {rule: {"first", "second", "difference": second - first, "interval": of the
        difference}}, "per_class": {class: {rule: the same}}}; None for what a class without objects does not have.

    Raises:
        InputError: they are of different images or objects, or damaged.
    """
    check(first, second, names)
    count, classes = len(first["pictures"]), list(first["classes"])
    weights = np.vstack([np.ones((1, count), np.int32), resampled(count, rng)])             # the first row: the images as they are
    values = []
    for document, name in zip((first, second), names):
        try:
            matches = [Matches.from_document(document["classes"][one], count) for one in classes]
        except DAMAGED as error:
            raise damaged(name, error) from error
        values.append(np.array([one.average_precisions(weights) for one in matches]))       # (K, 3, 1 + R)
    means = [np.stack([class_means(one[:, k]) for k in range(len(RULES))]) for one in values]
    return {"pictures": count, "level": LEVEL, "replicates": REPLICATES, "mAP": differences(*means),
            "per_class": {name: differences(*pair) for name, *pair in zip(classes, *values)}}


def differences(first, second):
    """(3, 1 + R) each -> {rule: {"first", "second", "difference", "interval"}}."""
    return {rule: {"first": number(a[0]), "second": number(b[0]), "difference": number(b[0] - a[0]), "interval": interval((b - a)[1:])}
            for rule, a, b in zip(RULES, first, second)}


def number(value):
    return None if np.isnan(value) else float(value)


def check(first, second, names):
    """Refuse what cannot be compared: raises InputError."""
    for document, name in zip((first, second), names):
        try:
            fine = all(isinstance(one, str) for one in (document["truths"], *document["pictures"])) and len(document["pictures"]) > 0
            fine = fine and isinstance(document["classes"], dict) and len(document["classes"]) > 0
        except DAMAGED as error:
            raise damaged(name, error) from error
        if not fine:
            raise damaged(name, "its images, truths or classes are of other kinds")
    if first["pictures"] != second["pictures"]:
        a, b = (set(document["pictures"]) for document in (first, second))
        how = f"{len(a - b)} are only in {names[0]}, {len(b - a)} only in {names[1]}" if a != b else "their order differs"
        raise InputError(f"got evaluations of different images ({how}), expected the same ones. Evaluate both on the same data and "
                         "split.")
    if set(first["classes"]) != set(second["classes"]) or first["truths"] != second["truths"]:
        raise InputError(f"got evaluations whose objects differ in {names[0]} and {names[1]}, expected the same images with the same "
                         "annotations. Evaluate both on the same data.")


def damaged(name, error):
    return InputError(f"got {name}, whose matches cannot be read ({type(error).__name__ if isinstance(error, Exception) else 'content'}: "
                      f"{str(error)[:80]}), expected what 'minicnn evaluate --json' writes for a detector. Make the file again.")

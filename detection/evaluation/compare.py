"""Comparing two detectors on the same images: is one better, or is the difference within chance?

Both are resampled by the same draws, so that the interval is of the difference itself.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from minicnn.detection.evaluation.bootstrap import LEVEL, REPLICATES, interval, resampled
from minicnn.detection.evaluation.evaluate import class_means
from minicnn.detection.evaluation.matches import DAMAGED, RULES, Matches
from minicnn.errors import InputError


def compare(first: dict, second: dict, rng: np.random.Generator, names: tuple = ("the first", "the second")) -> dict:
    """Compare two evaluations.

    Args:
        first, second: what ``Evaluation.match_document`` returned; ``read_evaluation(path)["matches"]`` reads it from a file.
        rng: draws the bootstrap's replicates.
        names: what error messages call the two.

    Returns:
        {"pictures": number, "level", "replicates", "mAP": {rule: {"first", "second", "difference": second - first, "interval": of the
        difference}}, "per_class": {class: {rule: the same}}}; a class without objects has None.

    Raises:
        InputError: they are of different images or objects, or damaged.
    """
    check(first, second, names)
    count, classes = len(first["pictures"]), list(first["classes"])
    weights = np.vstack([np.ones((1, count), np.int32), resampled(count, rng)])             # the first row: the images as they are
    values = []
    for document, name in zip((first, second), names):
        try:
            matches = [Matches.from_document(document["classes"][class_name], count) for class_name in classes]
        except DAMAGED as error:
            raise damaged(name, error) from error
        values.append(np.array([one_class.average_precisions(weights) for one_class in matches]))       # (K, 3, 1 + R)
    means = [np.stack([class_means(of_detector[:, k]) for k in range(len(RULES))]) for of_detector in values]
    return {"pictures": count, "level": LEVEL, "replicates": REPLICATES, "mAP": differences(*means),
            "per_class": {name: differences(*pair) for name, *pair in zip(classes, *values)}}


def read_evaluation(path: str | Path) -> dict:
    """Read what ``minicnn evaluate --json`` wrote for a detector.

    Raises:
        InputError: the file cannot be read, or is no evaluation of a detector.
    """
    try:
        document = json.loads(Path(path).read_bytes())           # bytes: PowerShell writes UTF-16
        if not isinstance(document, dict) or not isinstance(document.get("matches"), dict):
            raise ValueError("it has no matches")
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror or error}), expected an evaluation. Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"got {path}, which is no evaluation of a detector ({str(error)[:80]}), expected what 'minicnn evaluate --json' "
                         "writes. Give such a file.") from error
    return document


def differences(first, second):
    """(3, 1 + R) each -> {rule: {"first", "second", "difference", "interval"}}."""
    return {rule: {"first": number(a[0]), "second": number(b[0]), "difference": number(b[0] - a[0]), "interval": interval((b - a)[1:])}
            for rule, a, b in zip(RULES, first, second)}


def number(value):
    return None if np.isnan(value) else float(value)


def check(first, second, names):
    """Raise InputError for evaluations that cannot be compared."""
    for document, name in zip((first, second), names):
        try:
            valid = all(isinstance(text, str) for text in (document["truths"], *document["pictures"])) and len(document["pictures"]) > 0
            valid = valid and isinstance(document["classes"], dict) and len(document["classes"]) > 0
        except DAMAGED as error:
            raise damaged(name, error) from error
        if not valid:
            raise damaged(name, "its images, ground truth or classes have wrong types")
    if first["pictures"] != second["pictures"]:
        a, b = (set(document["pictures"]) for document in (first, second))
        how = f"{len(a - b)} are only in {names[0]}, {len(b - a)} only in {names[1]}" if a != b else "their order differs"
        raise InputError(f"got evaluations of different images ({how}), expected the same ones. Evaluate both on the same data and "
                         "split.")
    if set(first["classes"]) != set(second["classes"]) or first["truths"] != second["truths"]:
        raise InputError(f"got evaluations whose objects differ in {names[0]} and {names[1]}, expected the same images with the same "
                         "annotations. Evaluate both on the same data.")


def damaged(name, error):
    """The InputError for a damaged evaluation."""
    return InputError(f"got {name}, whose matches cannot be read ({type(error).__name__ if isinstance(error, Exception) else 'content'}: "
                      f"{str(error)[:80]}), expected what 'minicnn evaluate --json' writes for a detector. Make the file again.")

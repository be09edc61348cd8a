"""Detections from files, whatever program wrote them, as the evaluation takes them.

Two forms (``write_detections`` writes them): VOC's, a folder with a file ``comp4_det_test_CLASS.txt`` for each class; and the JSON of
``minicnn detect --json``. Classes and images are found by their names.
"""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np

from minicnn.data.annotated import shown
from minicnn.detection.evaluation.write_detections import NO_CLASS, comp4_file
from minicnn.errors import InputError

LONGEST = 40                # characters of a line that a message quotes


def read_detections(path, annotated):
    """Read detections.

    Args:
        path: a folder of comp4 files, or a JSON file.
        annotated: ``AnnotatedImages``, whose images and classes the detections are of.

    Returns:
        found: for each image (boxes (D, 4) float64, in continuous pixels, scores (D,) float64, labels (D,) int64), in the files' order.
        left_out: {image: number of detections} of images that the data set does not have.

    Raises:
        InputError: the files cannot be read, are damaged, or have other classes.
    """
    path = Path(path)
    rows = comp4_rows(path, annotated.class_names) if path.is_dir() else json_rows(path, annotated.class_names)
    indices = indices_by_name(annotated)
    found = [([], [], []) for _ in annotated.images]
    left_out = {}
    for name, label, score, box in rows:
        index = indices.get(name)
        if index is None:
            left_out[name] = left_out.get(name, 0) + 1
        else:
            for column, value in zip(found[index], (box, score, label)):
                column.append(value)
    if left_out and not any(scores for _, scores, _ in found):
        raise InputError(f"got detections in {path} of images such as {shown(next(iter(left_out)))}, none of which is among the "
                         f"{len(annotated.images)} of the data, such as {shown(annotated.images[0].name)}. Choose the split they are "
                         "of.")
    return [(np.array(boxes, np.float64).reshape(-1, 4), np.array(scores, np.float64), np.array(labels, np.int64))
            for boxes, scores, labels in found], left_out


def indices_by_name(annotated):
    """{name: index of the image} for all names that an image may go by: its own, its file's, its file's without the suffix."""
    indices = {}
    for name in (lambda image: image.name, lambda image: Path(image.path).name, lambda image: Path(image.path).stem):
        for index, image in enumerate(annotated.images):
            indices.setdefault(name(image), index)
    return indices


def comp4_rows(folder, class_names):
    """(image, label, score, box) of each line, class by class. VOC's box x1 + 1, y1 + 1, x2, y2 is ours x1, y1, x2, y2."""
    files = {comp4_file(name): label for label, name in enumerate(class_names) if label}
    there = {path.name: path for path in sorted(folder.glob(comp4_file("*").replace("_.txt", "*.txt")))}
    if not there:
        raise InputError(f"got the folder {folder}, expected files {comp4_file('CLASS')} in it. Give the folder that has them, or a "
                         "JSON file.")
    there.pop(comp4_file(NO_CLASS), None)
    check_classes(f"the files in {folder}", there, files)
    for name, label in files.items():
        for number, line in enumerate(read_text(there[name]).splitlines(), start=1):
            if line.strip():
                yield comp4_row(line, label, f"{there[name]}, line {number}")


def comp4_row(line, label, where):
    """(image, label, score, box) of one line: image, score, xmin, ymin, xmax, ymax."""
    image, *texts = line.split()
    try:
        score, x1, y1, x2, y2 = map(float, texts)
    except ValueError:
        raise InputError(f"got {line[:LONGEST]!r} in {where}, expected an image and five numbers: score, xmin, ymin, xmax, ymax. "
                         "Mend the line.") from None
    return image, label, *checked(score, (x1 - 1, y1 - 1, x2, y2), where)


def json_rows(path, class_names):
    """(image, label, score, box) of each detection of the JSON that ``minicnn detect`` writes."""
    labels = {name: label for label, name in enumerate(class_names) if label}
    rows = json_document(path)
    check_classes(f"the detections in {path}", {name for _, found in rows for name, *_ in found} - {NO_CLASS}, labels,
                  complete=False)
    (image, count), = Counter(image for image, _ in rows).most_common(1) or [("", 0)]
    if count > 1:
        raise InputError(f"got the image {shown(image)} {count} times in {path}, expected each once. Remove the others.")
    for image, found in rows:
        for name, score, box in found:
            if name != NO_CLASS:
                yield Path(image).stem, labels[name], *checked(score, box, f"{path}, {shown(image)}")


def json_document(path):
    """[(image, [(name, score, box)])] from the JSON of ``minicnn detect``; raises InputError if it is damaged."""
    try:
        document = json.loads(read_text(path))
        if not isinstance(document, list):
            raise TypeError(f"a {type(document).__name__}, no list")
        return [(str(row["image"]), [json_detection(found) for found in row["detections"]]) for row in document]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise InputError(f"got {path}, which cannot be read ({type(error).__name__}: {str(error)[:100]}), expected the rows that \"minicnn "
                         "detect --json\" writes. Make the file again.") from error


def json_detection(found):
    """(name, score, box) of one detection; raises ValueError, TypeError, KeyError or OverflowError if it is damaged."""
    name, score, box = found["name"], found["score"], found["box"]
    if not isinstance(name, str) or len(box) != 4 or any(isinstance(value, (str, bool)) for value in (score, *box)):
        raise ValueError("a detection without name, score and four sides")
    return name, float(score), tuple(map(float, box))


def checked(score, box, where):
    """(score, box) if they are finite and the box is not inside out; else raises InputError."""
    if not all(map(math.isfinite, (score, *box))):
        raise InputError(f"got a number in {where}, that is not finite, expected a score and four sides. Check the program that wrote it.")
    x1, y1, x2, y2 = box
    if x2 < x1 or y2 < y1:
        raise InputError(f"got a box in {where}, that is inside out ({x1:g}, {y1:g}, {x2:g}, {y2:g} in continuous pixels), expected "
                         "its right and lower side last. Exchange them.")
    return score, box


def check_classes(source, got, expected, complete=True):
    """Raise InputError for classes in ``source`` that the data does not have and, if it must be ``complete``, for missing ones."""
    extra, missing = sorted(set(got) - set(expected)), sorted(set(expected) - set(got)) if complete else []
    if extra or missing:
        texts = [f"{word} {', '.join(map(shown, names[:5]))}{', ...' * (len(names) > 5)}" for word, names in
                 (("not of the data:", extra), ("missing:", missing)) if names]
        raise InputError(f"got other classes than the data's in {source} ({'; '.join(texts)}), expected the same {len(expected)}. Choose "
                         "the data that they are of.")


def read_text(path):
    """The text of a file; raises InputError."""
    try:
        return Path(path).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"got {path}, which is no text, expected detections. Check the path.") from error
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror or error}), expected detections. Check the path.") from error

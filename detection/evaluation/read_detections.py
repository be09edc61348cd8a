"""Detections from files, whatever program wrote them, as the evaluation takes them.

``write_detections`` writes three of the forms: VOC's, a folder with a file ``comp4_det_test_CLASS.txt`` for each class; and JSON and CSV of
``minicnn detect``. The fourth is the JSON of COCO's results. Classes are found by their names, images as ``match_images`` says.
"""

import csv
import io
import json
import math
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minicnn.data.annotated import shown
from minicnn.detection.evaluation.match_images import ID, PATH, STEM, match_images
from minicnn.detection.evaluation.write_detections import CSV_HEADER, NO_CLASS, check_class_names, comp4_classes, comp4_file
from minicnn.errors import InputError
from minicnn.files import decoded

LONGEST = 40                # characters of a line that a message quotes
FORMS = "the JSON or CSV of \"minicnn detect\", or COCO's results"


@dataclass
class Listed:
    """What a file lists.

    Args:
        form: of the images' names, see ``match_images``.
        rows: {image: [(class, score, box)]}.
        sizes: {image: (width, height)}, where the file has them.
        notes: a line for each thing that was taken for granted.
    """

    form: str
    rows: dict = field(default_factory=dict)
    sizes: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)


@dataclass
class ReadDetections:
    """The detections of a data set's images.

    Args:
        found: for each image (boxes (D, 4) float64, in continuous pixels, scores (D,) float64, labels (D,) int64), in the files' order.
        left_out: {image: number of detections} of images that the data set does not have.
        resized: {index of the image: a line} of images that were of another size than in the data set, so that no box fits.
        notes: a line for each thing that was taken for granted or is not counted.
    """

    found: list
    left_out: dict
    resized: dict
    notes: list


def read_detections(path, annotated):
    """Read detections.

    Args:
        path: a folder of comp4 files, or a file: JSON or CSV of ``minicnn detect``, or JSON of COCO's results, whose categories are those
            of a COCO data set.
        annotated: ``AnnotatedImages``, whose images and classes the detections are of. Detections of other classes are left out.

    Returns:
        A ``ReadDetections``.

    Raises:
        InputError: the files cannot be read, are damaged, have none of the data's classes, or names of images that are not clear.
    """
    path = Path(path)
    listed = read_comp4(path, annotated) if path.is_dir() else read_file(path, annotated)
    notes = [*listed.notes, *keep_classes(listed.rows, annotated.class_names, path)]
    indices, more = match_images(listed.rows, annotated, path, listed.form)
    left_out = {image: len(detections) for image, detections in listed.rows.items() if detections and image not in indices}
    if left_out and not any(listed.rows[image] for image in indices):
        raise InputError(f"got detections in {path} of images such as {shown(next(iter(left_out)))}, none of which is among the "
                         f"{len(annotated.images)} of the data, such as {shown(annotated.images[0].name)}. Choose the split they are "
                         "of.")
    if len(indices) < len(annotated.images):
        more.append(f"{len(annotated.images) - len(indices):,} of {len(annotated.images):,} images are not named in {path}: nothing counts "
                    "as found in them.")
    rows = {index: listed.rows[image] for image, index in indices.items()}
    found = [columns(rows.get(index, ()), annotated.class_names) for index in range(len(annotated.images))]
    return ReadDetections(found, left_out, resized_images(listed, indices, annotated, path), [*notes, *more])


def columns(rows, class_names):
    """boxes (D, 4) float64, scores (D,) float64 and labels (D,) int64 of D rows (class, score, box)."""
    names, scores, boxes = zip(*rows) if rows else ((), (), ())
    return (np.array(boxes, np.float64).reshape(-1, 4), np.array(scores, np.float64),
            np.array([class_names.index(name) for name in names], np.int64))


def resized_images(listed, indices, annotated, path):
    """{index: a line} of images whose size in the file is not that in the data set."""
    lines = {}
    for image, size in listed.sizes.items():
        one = annotated.images[indices[image]] if image in indices else None
        if one is not None and size != (one.width, one.height):
            lines[indices[image]] = (f"got {shown(image)} in {path} of {size[0]} x {size[1]} pixels, expected {one.width} x {one.height} "
                                     "as in its annotation. It is left out.")
    return lines


def keep_classes(rows, class_names, path):
    """Remove detections of other classes than the data's from ``rows``; a line about them, if there are any."""
    known = set(class_names[1:]) - {NO_CLASS}
    counts = Counter(name for detections in rows.values() for name, *_ in detections)
    others = {name: count for name, count in counts.items() if name not in known and name != NO_CLASS}
    if others and not known & set(counts):
        raise no_class(f"the detections in {path}", others, known)
    if len(others) + (NO_CLASS in counts):
        for image, detections in rows.items():
            rows[image] = [one for one in detections if one[0] in known]
    return other_classes(others)


def other_classes(counts):
    """A line about detections of classes that the data does not have, {name: number}; no line if there are none."""
    if not counts:
        return []
    named = [f"{shown(name)} ({count:,})" for name, count in sorted(counts.items())[:5]]
    return [f"{sum(counts.values()):,} detections of {len(counts)} classes that the data does not have are left out: {', '.join(named)}"
            f"{', ...' * (len(counts) > 5)}."]


def no_class(source, got, expected):
    """The InputError for a source that has none of the data's classes."""
    texts = [f"{', '.join(map(shown, sorted(names)[:5]))}{', ...' * (len(names) > 5)}" for names in (got, expected)]
    return InputError(f"got only classes in {source} that are not of the data: {texts[0]}, expected some of {texts[1]}. Choose the data "
                      "that they are of.")


def read_comp4(folder, annotated):
    """The ``Listed`` of a folder of comp4 files. VOC's box x1 + 1, y1 + 1, x2, y2 is ours x1, y1, x2, y2."""
    start, end = comp4_file("CLASS").split("CLASS")
    there = {unicodedata.normalize("NFC", path.name): path for path in sorted(folder.glob(f"{start}*{end}"))}
    if not there:
        raise InputError(f"got the folder {folder}, expected files {comp4_file('CLASS')} in it. Give the folder that has them, or a "
                         "JSON or CSV file.")
    there.pop(comp4_file(NO_CLASS), None)
    classes = comp4_classes(annotated.class_names)
    check_class_names(classes)
    names = {unicodedata.normalize("NFC", comp4_file(name)): name for name in classes}
    listed = Listed(STEM, notes=absent_files(folder, there, names, annotated))
    for file, path in there.items():
        name = names.get(file, file.removeprefix(start).removesuffix(end))
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            if line.strip():
                image, *detection = comp4_row(line, f"{path}, line {number}")
                listed.rows.setdefault(image, []).append((name, *detection))
    return listed


def absent_files(folder, there, names, annotated):
    """A line about classes with objects that have no file; raises InputError if others have: they may be the same under other names.

    Args:
        there: names of the files in the folder; names: {name of the file: class} of the data's.
    """
    with_objects = {annotated.class_names[label] for image in annotated.images for label in image.labels}
    absent = sorted(file for file, name in names.items() if file not in there and name in with_objects)
    extra = sorted(set(there) - set(names))
    listed = [f"{', '.join(map(shown, files[:5]))}{', ...' * (len(files) > 5)}" for files in (extra, absent)]
    if extra and absent:
        raise InputError(f"got other classes than the data's in the files in {folder} (not of the data: {listed[0]}; missing: "
                         f"{listed[1]}), expected a file for each of the data's. Rename them, or choose the data that they are of.")
    if not set(names) & set(there):
        raise no_class(f"the files in {folder}", extra, names)
    line = f"{len(absent)} of {len(names)} classes have no file in {folder}: nothing counts as found of them ({listed[1]})."
    return [line] * bool(absent)


def comp4_row(line, where):
    """(image, score, box) of one line: image, score, xmin, ymin, xmax, ymax."""
    image, *texts = line.split()
    try:
        score, x1, y1, x2, y2 = map(float, texts)
    except ValueError:
        raise InputError(f"got {line[:LONGEST]!r} in {where}, expected an image and five numbers: score, xmin, ymin, xmax, ymax. "
                         "Mend the line.") from None
    return image, *checked(score, (x1 - 1, y1 - 1, x2, y2), where)


def read_file(path, annotated):
    """The ``Listed`` of a file in one of the ``FORMS``."""
    text = read_text(path)
    if set(CSV_HEADER) - {"label"} <= set(text.partition("\n")[0].replace('"', "").strip().split(",")):
        return read_csv(path, text)
    document = json_document(path, text)
    try:
        if any("image_id" in row for row in document):
            return coco_rows(path, document, annotated)
        rows = [(str(row["image"]), size_of(row), [json_detection(found) for found in row["detections"]]) for row in document]
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise unreadable(path, error) from error
    listed = Listed(PATH)
    for image, size, found in rows:
        if image in listed.rows:
            count = sum(image == other for other, *_ in rows)
            raise InputError(f"got the image {shown(image)} {count} times in {path}, expected each once. Remove the others.")
        listed.rows[image] = [(name, *checked(score, box, f"{path}, {shown(image)}")) for name, score, box in found]
        if size is not None:
            listed.sizes[image] = size
    return listed


def json_document(path, text):
    """The list in a JSON file; raises InputError if it is damaged."""
    try:
        document = json.loads(text)
        if not isinstance(document, list):
            raise TypeError(f"a {type(document).__name__}, no list")
    except (ValueError, TypeError, RecursionError) as error:
        raise unreadable(path, error) from error
    return document


def unreadable(path, error):
    """The InputError for a file in none of the ``FORMS``."""
    return InputError(f"got {path}, which cannot be read ({type(error).__name__}: {str(error)[:100]}), expected {FORMS}. Make the file "
                      "again.")


def json_detection(found):
    """(name, score, box) of one detection; raises ValueError, TypeError, KeyError or OverflowError if it is damaged."""
    name, score, box = found["name"], found["score"], found["box"]
    if not isinstance(name, str):
        raise ValueError("a detection without name, score and four sides")
    return name, *numbers(score, box)


def numbers(score, box):
    """(score, box) as floats; raises ValueError, TypeError or OverflowError if they are not numbers."""
    if len(box) != 4 or any(isinstance(value, (str, bool)) for value in (score, *box)):
        raise ValueError("a detection without name, score and four sides")
    return float(score), tuple(map(float, box))


def size_of(row):
    """(width, height) in a row of ``minicnn detect``; None if it has none."""
    size = row.get("width"), row.get("height")
    return size if all(type(side) is int for side in size) else None


def read_csv(path, text):
    """The ``Listed`` of CSV with a header; a row without name, score and box is an image without detections."""
    listed = Listed(PATH)
    table = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in table:
            image, name, *texts = (row[key] for key in CSV_HEADER if key != "label")
            if None in texts:
                raise ValueError("too few columns")
            found = listed.rows.setdefault(image, [])
            if name or any(texts):
                score, *box = map(float, texts)
                found.append((name, *checked(score, tuple(box), f"{path}, line {table.line_num}")))
    except (ValueError, TypeError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"got {path}, line {table.line_num}, which cannot be read ({str(error)[:100]}), expected {','.join(CSV_HEADER)}. "
                         "Mend the line.") from error
    return listed


def coco_rows(path, document, annotated):
    """The ``Listed`` of COCO's results: image_id, category_id, bbox (x, y, width, height), score."""
    if not annotated.category_ids:
        raise InputError(f"got {path}, COCO's results, whose categories are numbers, expected a data set in COCO's form to name them. Give "
                         "its .json to --data.")
    images, categories = ([plain(row[key]) for row in document] for key in ("image_id", "category_id"))
    check_categories(set(categories), annotated.category_ids, path)
    listed = Listed(ID if all(type(image) is int for image in images) else STEM)
    for index, (row, image, category) in enumerate(zip(document, images, categories)):
        score, (x, y, width, height) = numbers(row["score"], row["bbox"])
        name = annotated.category_ids.get(category, f"category {category}")
        detection = name, *checked(score, (x, y, x + width, y + height), f"{path}, entry {index} of the list")
        listed.rows.setdefault(str(image), []).append(detection)
    return listed


def plain(value):
    """A whole number that is written as a float as an int; all else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def check_categories(got, known, path):
    """Raise InputError for ids of categories that are not whole numbers, or that are the data's but for the number they start from."""
    if not all(type(category) is int for category in got):
        raise ValueError("a category_id that is no whole number")
    for step in (1, -1):
        if not got <= known.keys() and {category + step for category in got} <= known.keys():
            raise InputError(f"got the categories {min(got)} to {max(got)} in {path}, expected the data's, {min(known)} to {max(known)}: "
                             f"they seem to count from {'0' if step == 1 else '1'}. Write them as the data does.")


def checked(score, box, where):
    """(score, box) if they are finite and the box is not inside out; else raises InputError."""
    if not all(map(math.isfinite, (score, *box))):
        raise InputError(f"got a number in {where}, that is not finite, expected a score and four sides. Check the program that wrote it.")
    x1, y1, x2, y2 = box
    if x2 < x1 or y2 < y1:
        raise InputError(f"got a box in {where}, that is inside out ({x1:g}, {y1:g}, {x2:g}, {y2:g} in continuous pixels), expected "
                         "its right and lower side last. Exchange them.")
    return score, box


def read_text(path):
    """The text of a file, as it is written; raises InputError."""
    try:
        return decoded(Path(path).read_bytes())
    except UnicodeDecodeError as error:
        raise InputError(f"got {path}, which is no text, expected detections. Check the path.") from error
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror or error}), expected detections. Check the path.") from error

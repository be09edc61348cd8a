"""Detections of many images as text: JSON, CSV, and the files of PASCAL VOC's competition 4.

All take a list of rows, one for each image: {"image", "width", "height", "detections": [{"label", "name", "score", "box"}],
"milliseconds"}, boxes x1, y1, x2, y2 in continuous pixels.
"""

import csv
import io
import json
import re
from collections import Counter
from pathlib import Path

from minicnn.errors import InputError
from minicnn.files import atomic_write

LONGEST_FILE_NAME = 255         # bytes, on most file systems
CSV_HEADER = ("image", "label", "name", "score", "x1", "y1", "x2", "y2")
NO_CLASS = "N/A"                # COCO's name for unused labels


def write_detections(target, rows, form, class_names):
    """Write detections to a file, or for "comp4" to a folder of files.

    Args:
        target: the file or the existing folder; None: do not write.
        rows: see above.
        form: "json", "csv" or "comp4".
        class_names: of all classes, the background first; for "comp4".

    Returns:
        The text of "json" and "csv", None for "comp4".
    """
    if form == "comp4":
        for name, text in comp4_texts(rows, comp4_classes(class_names)).items():
            write_text(Path(target, name), text)
        return None
    text = csv_text(rows) if form == "csv" else json_text(rows)
    if target is not None:
        write_text(target, text)
    return text


def result_files(target, form, class_names):
    """The files that ``write_detections`` writes; "-" and None are none.

    Raises:
        InputError: class names cannot be file names of comp4.
    """
    if form != "comp4":
        return [] if target in (None, "-") else [str(target)]
    check_class_names(names := comp4_classes(class_names))
    return [str(Path(target, comp4_file(name))) for name in names]


def write_text(path, text):
    with atomic_write(path) as file:
        file.write(text.encode())


def json_text(rows):
    """The rows as JSON."""
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def csv_text(rows):
    """A header, then a line for each detection."""
    text = io.StringIO()
    table, quoting = (csv.writer(text, lineterminator="\n", quoting=quoting) for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    table.writerow(CSV_HEADER)
    for row in rows:
        for found in row["detections"]:
            # before Python 3.13 a carriage return alone is not quoted
            writer = quoting if "\r" in row["image"] + found["name"] else table
            writer.writerow((row["image"], found["label"], found["name"], found["score"], *found["box"]))
    return text.getvalue()


def comp4_texts(rows, class_names):
    """VOC's result files: a line ``image-id score xmin ymin xmax ymax`` for each detection of the class.

    Args:
        rows: see above; an image's id is its file name without the suffix.
        class_names: of all classes, without the background; a class without detections gets an empty file.

    Returns:
        texts: {file name: text}.

    Reference: Everingham, Winn, The PASCAL Visual Object Classes Challenge 2007 development kit, "detection task". There pixels
        are counted from 1 and both corners lie inside, so that x1, y1, x2, y2 become x1 + 1, y1 + 1, x2, y2.
    """
    lines = {comp4_file(name): [] for name in class_names}
    for row in rows:
        for found in row["detections"]:
            x1, y1, x2, y2 = found["box"]
            numbers = " ".join(map(str, (found["score"], x1 + 1, y1 + 1, x2, y2)))
            lines.setdefault(comp4_file(found["name"]), []).append(f"{Path(row['image']).stem} {numbers}\n")
    return {file: "".join(texts) for file, texts in lines.items()}


def comp4_file(name):
    """The file name of a class; characters that could lead out of the folder become underscores."""
    name = re.sub(r"[^\w. -]", "_", name)
    return f"comp4_det_test_{name}.txt"


def comp4_classes(class_names):
    """The classes that have a comp4 file: all but the background and COCO's unused labels."""
    return [name for name in class_names[1:] if name != NO_CLASS]


def check_comp4(paths):
    """Raise InputError for images whose ids would be equal, or would break the lines of comp4 files."""
    ids = [Path(str(path).encode(errors="replace").decode()).stem for path in paths]        # as they are written
    (name, count), = Counter(ids).most_common(1)
    if count > 1:
        raise InputError(f"got {count} images named {name}, expected different names: comp4 knows an image by its name without "
                         "folder and suffix. Rename one, or take --format json.")
    spaced = [name for name in ids if name.split() != [name] or name.startswith("\ufeff")]
    if spaced:
        name = spaced[0]
        raise InputError(f"got an image named {name!r}, expected no spaces: in comp4's lines they separate the columns. Rename it, or "
                         "take --format json.")


def check_class_names(class_names):
    """Raise InputError for classes that would share a comp4 file, or whose file name would be too long."""
    for file, count in Counter(map(comp4_file, class_names)).items():
        if count > 1 or len(file.encode()) > LONGEST_FILE_NAME:
            raise InputError(f"got {count} classes for the file {file[:80]}, expected one class, and a name of at most "
                             f"{LONGEST_FILE_NAME} bytes. Take --format json.")

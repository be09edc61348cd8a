"""Detections of many images as text: JSON, CSV, and the files of PASCAL VOC's competition 4.

All take a list of rows, one an image: {"image", "width", "height", "detections": [{"label", "name", "score", "box"}],
"milliseconds"}, boxes x1, y1, x2, y2 in continuous pixels.
"""

import csv
import io
import json
import re
from collections import Counter
from pathlib import Path

from minicnn.errors import InputError

LONGEST_FILE_NAME = 255         # bytes, on most file systems
CSV_HEADER = ("image", "label", "name", "score", "x1", "y1", "x2", "y2")


def json_text(rows):
    """The rows as they are."""
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def csv_text(rows):
    """A header, then a line for each detection."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(CSV_HEADER)
    for row in rows:
        table.writerows((row["image"], one["label"], one["name"], one["score"], *one["box"]) for one in row["detections"])
    return text.getvalue()


def comp4_texts(rows, class_names):
    """VOC's files of results: a line ``image-id score xmin ymin xmax ymax`` for each detection of the class.

    Args:
        rows: see above; an image's id is its file name without the suffix.
        class_names: of all classes, without the background; one that was not found has an empty file.

    Returns:
        texts: {file name: text}.

    Reference: Everingham, Winn, The PASCAL Visual Object Classes Challenge 2007 development kit, "detection task". There pixels
        are counted from 1 and both corners lie inside, so that x1, y1, x2, y2 become x1 + 1, y1 + 1, x2, y2.
    """
    lines = {comp4_file(name): [] for name in class_names}
    for row in rows:
        for one in row["detections"]:
            x1, y1, x2, y2 = one["box"]
            numbers = " ".join(map(str, (one["score"], x1 + 1, y1 + 1, x2, y2)))
            lines.setdefault(comp4_file(one["name"]), []).append(f"{Path(row['image']).stem} {numbers}\n")
    return {file: "".join(some) for file, some in lines.items()}


def comp4_file(name):
    """The file of a class; what could lead out of the folder becomes an underscore."""
    name = re.sub(r"[^\w. -]", "_", name)
    return f"comp4_det_test_{name}.txt"


def check_comp4(paths):
    """Refuse images whose ids would be the same, or would break the line: raises InputError."""
    ids = [Path(path).stem for path in paths]
    (name, count), = Counter(ids).most_common(1)
    if count > 1:
        raise InputError(f"got {count} images named {name}, expected different names: comp4 knows an image by its name without "
                         "folder and suffix. Rename one, or take --format json.")
    if any(name.split() != [name] for name in ids):
        name = next(name for name in ids if name.split() != [name])
        raise InputError(f"got an image named {name!r}, expected no spaces: in comp4's lines they part the columns. Rename it, or take "
                         "--format json.")


def check_class_names(class_names):
    """Refuse classes that would share a file, or whose file's name would be too long: raises InputError."""
    for file, count in Counter(map(comp4_file, class_names)).items():
        if count > 1 or len(file.encode()) > LONGEST_FILE_NAME:
            raise InputError(f"got {count} classes for the file {file[:80]}, expected a class each, and a name of at most "
                             f"{LONGEST_FILE_NAME} bytes. Take --format json.")

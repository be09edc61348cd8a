"""The results of a detector on many images, kept in a file: also when the run is interrupted, which another then continues."""

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minicnn.detection.detect import DetectedImage, printable
from minicnn.detection.evaluation.write_detections import CSV_HEADER, write_detections
from minicnn.errors import InputError
from minicnn.files import interrupts_held

ROW = {"image": str, "width": int, "height": int, "detections": list, "milliseconds": dict}     # what a row of JSON has at least
DETECTION = {"label": int, "name": str, "score": float, "box": list}
CONTINUED = ("json", "csv")


class Results:
    """The results of a list of images. They are written at the end of the block; after Ctrl-C or an error, those that are finished.

        with Results("found.json", paths, model, resume=True) as results:
            for image in detect_images(model, results.missing()):
                results.add(image)

    Args:
        target: the file, for "comp4" an existing folder; "-" is standard output, None nowhere.
        paths: the images.
        model: the ``FasterRCNN``, for its class names and limits.
        form: "json", "csv" or "comp4", see ``write_detections``.
        resume: take up the rows that ``target`` holds, if it exists. A row does not say which weights and sizes it was made with: what
            can be told is refused, the rest is the caller's to keep as it was. In CSV an image without detections has no row, so it
            is missing.

    Attributes:
        rows: {path: row} of the images that are done.

    Raises:
        InputError: ``target`` cannot be continued: it is damaged, or of other images, classes or limits. It is left as it is.
    """

    def __init__(self, target: str | Path | None, paths: Sequence[Path], model: Any, form: str = "json", resume: bool = False):
        self.target, self.paths, self.form, self.class_names = target, paths, form, model.record["class_names"]
        self.rows: dict[Path, dict[str, Any]] = {}
        if resume:
            if form not in CONTINUED or target in (None, "-"):
                raise InputError("got nothing to resume, expected a file of results, as json or csv. Give it to --json.")
            self.rows = rows_in(Path(str(target)), form, paths, model) if Path(str(target)).exists() else {}

    def missing(self) -> list[Path]:
        """The images that have no row yet."""
        return [path for path in self.paths if path not in self.rows]

    def add(self, image: DetectedImage) -> None:
        """Take the results of an image."""
        self.rows[image.path] = image.document()

    def write(self) -> None:
        """Write the rows so far, in the order of the paths."""
        rows = [self.rows[path] for path in self.paths if path in self.rows]
        if self.target == "-":
            sys.stdout.write(write_detections(None, rows, self.form, self.class_names))
            sys.stdout.flush()
        elif self.target is not None:
            with interrupts_held():
                write_detections(self.target, rows, self.form, self.class_names)

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is None or self.rows:
            self.write()
        if isinstance(error, KeyboardInterrupt):
            error.args = (self.progress(),)

    def progress(self) -> str:
        """How far the work has come, in words."""
        text = f"after {len(self.rows)} of {len(self.paths)} images"
        if self.rows and self.target not in (None, "-"):
            text += f", which are in {self.target}"
            if self.form in CONTINUED:
                text += ": add --resume to the same command to go on"
        return text


def rows_in(target, form, paths, model):
    """{path: row} of the images that a file of results has rows of."""
    try:
        text = target.read_bytes().decode("utf-8")             # as it is: a name may hold a carriage return
        found = rows_of_csv(text) if form == "csv" else rows_of_json(text)
    except OSError as error:
        raise InputError(f"cannot read {target} ({error.strerror or error}), expected results. Check the path.") from error
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, csv.Error) as error:
        raise unfit(target, f"cannot be read as {form} ({type(error).__name__}: {str(error)[:100]})") from error
    often = Counter(map(printable, paths))
    for image, count in Counter(row["image"] for row in found).items():
        if count > often[image]:
            raise unfit(target, f"has {count} rows of the image {image[:80]!r}, which the images to detect in have {often[image]} times")
    for row in found:
        for one in row["detections"]:
            check_detection(target, one, model)
    rows = {row["image"]: row for row in found}
    # an image that shares its printable name with another is done again: its row does not say which of them it is of
    return {path: rows[name] for path in paths if (name := printable(path)) in rows and often[name] == 1}


def check_detection(target, one, model):
    """Raise InputError for a detection that the model would not have made."""
    least, label = model.roi_heads.score_thresh, one["label"]
    if not 0 < label < model.num_classes or one["name"] != model.class_name(label):
        raise unfit(target, f"has the class {one['name'][:80]!r} as number {label}, which the detector has not")
    if one["score"] <= least:
        raise unfit(target, f"has a score of {one['score']:g}, which the threshold {least:g} leaves out")


def rows_of_json(text):
    """The rows of ``write_detections.json_text``; raises ValueError, TypeError or KeyError for others."""
    rows = json.loads(text)
    if not isinstance(rows, list):
        raise TypeError(f"a {type(rows).__name__}, no list")
    for row in rows:
        check_types(row, ROW)
        for one in row["detections"]:
            check_types(one, DETECTION)
            if len(one["box"]) != 4 or not all(isinstance(side, float) for side in one["box"]):
                raise ValueError("a box without four sides")
    return rows


def check_types(row, types):
    for key, kind in types.items():
        if not isinstance(row[key], kind):
            raise TypeError(f"{key} is a {type(row[key]).__name__}")


def rows_of_csv(text):
    """The rows of ``write_detections.csv_text``, as far as CSV has them; raises ValueError or csv.Error for other text."""
    head, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    if tuple(head) != CSV_HEADER or not text.endswith("\n"):
        raise ValueError(f"no line {','.join(CSV_HEADER)}, or half a line at the end")
    rows = {}
    for image, label, name, score, *box in lines:
        one = {"label": int(label), "name": name, "score": float(score), "box": list(map(float, box))}
        if len(box) != 4:
            raise ValueError("a line without eight columns")
        rows.setdefault(image, {"image": image, "detections": []})["detections"].append(one)
    return list(rows.values())


def unfit(target, why):
    """The InputError for a file that is not to be continued."""
    return InputError(f"got {target} to resume, which {why}, expected the results of the same command, interrupted. Give --json another "
                      "file, or leave out --resume.")

"""Annotated images and detections, made by hand and at random; and cases of the metrics with known results."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from minicnn.data.annotated import BACKGROUND, AnnotatedImage, AnnotatedImages

CASES = Path(__file__).parents[3] / "shared" / "data" / "map_cases"


def case(name):
    """The folder of a case with known results; tests that need it are skipped where it is missing."""
    if not (CASES / name).is_dir():
        pytest.skip(f"the cases with known results are not in {CASES}")
    return CASES / name


def image(name, truths, areas=None):
    """An image of 100 x 100 pixels.

    Args:
        truths: (label, box) or (label, box, "difficult" or "crowd") each.
        areas: of each; None: of the boxes.
    """
    boxes = np.array([box for _, box, *_ in truths], np.float32).reshape(-1, 4)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) if areas is None else areas
    flags = {flag: np.array([flag in more for _, _, *more in truths], bool) for flag in ("difficult", "crowd")}
    return AnnotatedImage(name, Path(f"{name}.jpg"), 100, 100, boxes, np.array([label for label, *_ in truths], np.int64),
                            flags["difficult"], flags["crowd"], np.asarray(areas, np.float64))


def annotated(images, classes=("cat", "dog")):
    return AnnotatedImages([BACKGROUND, *classes], images)


def detections(*rows):
    """boxes, scores and labels of one image, from rows of (label, score, box)."""
    return (np.array([box for *_, box in rows], np.float64).reshape(-1, 4), np.array([score for _, score, _ in rows], np.float64),
            np.array([label for label, *_ in rows], np.int64))


NOTHING = detections()


def random_set(rng, images=12, classes=3, most=5, detections=8, crowd=True, ties=True):
    """Random boxes on whole pixels, and detections that are right, missing, duplicate or of another class; one class has no objects.

    Every number is exact in float32, and many overlaps are equal.
    """
    set_, found = [], []
    for number in range(images):
        count = int(rng.integers(0, most + 1))
        corner = rng.integers(0, 80, (count, 2))
        boxes = np.hstack([corner, corner + rng.integers(4, 160, (count, 2))]).astype(np.float32)
        labels = rng.integers(1, classes, count)                                        # none of the last class
        kinds = rng.choice(3, count, p=[0.7, 0.2, 0.1])
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * rng.choice([0.5, 1], count)
        set_.append(AnnotatedImage(f"{number:03}", Path(f"{number:03}.jpg"), 200, 200, boxes, labels, kinds == 1,
                                     (kinds == 2) & crowd, areas.astype(np.float64)))
        many = int(rng.integers(0, detections + 1))
        near = boxes[rng.integers(0, count, many)] if count else np.tile(np.float32([10, 10, 60, 60]), (many, 1))
        moved = near + rng.integers(-6, 7, (many, 4)) * rng.choice([0, 1, 4], (many, 1))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        own = labels[rng.integers(0, count, many)] if count else np.ones(many, np.int64)
        scores = rng.integers(1, 10, many) / 16 if ties else rng.permutation(10_000)[:many] / 16_384 + number / 2**20
        found.append((moved.astype(np.float64), scores, np.where(rng.random(many) < 0.7, own, rng.integers(1, classes + 1, many))))
    return annotated(set_, [f"class {label}" for label in range(1, classes + 1)]), found


def read_gzipped(path):
    return json.loads(gzip.decompress(path.read_bytes()))


def coco_case():
    """100 images of COCO val2014 in the order of their ids, the made-up detections in them, and the known results."""
    folder = case("coco_val2014_fakebbox100")
    truth, rows = (read_gzipped(folder / name) for name in ("ground_truth.json.gz", "detections.json.gz"))
    categories = {one["id"]: label for label, one in enumerate(truth["categories"], start=1)}

    def corners(box):
        x, y, w, h = box
        return x, y, x + w, y + h
    images, found = [], []
    for row in sorted(truth["images"], key=lambda row: row["id"]):
        mine = [one for one in truth["annotations"] if one["image_id"] == row["id"]]
        images.append(image(str(row["id"]), [(categories[one["category_id"]], corners(one["bbox"])) for one in mine],
                                [one["area"] for one in mine]))
        found.append(detections(*[(categories[one["category_id"]], one["score"], corners(one["bbox"])) for one in rows
                                  if one["image_id"] == row["id"]]))
    return annotated(images, [one["name"] for one in truth["categories"]]), found, json.loads((folder / "expected.json").read_text())

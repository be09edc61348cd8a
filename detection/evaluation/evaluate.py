"""Evaluating a detector: all metrics of its detections in annotated images.

``evaluate_detector`` runs the detector on every image (``run_detector.py``) and calls ``evaluate``, the measuring. There, ``ranking`` sorts
detections and objects by class; ``voc_metric`` and ``coco_metric`` decide which detections are true positives; ``average_precision``
makes numbers of that, ``bootstrap`` their intervals, ``error_kinds`` the reasons.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from minicnn.data.annotated import AnnotatedImages, shown
from minicnn.detection.evaluation.average_precision import precision_recall
from minicnn.detection.evaluation.bootstrap import LEVEL, REPLICATES, interval, resampled
from minicnn.detection.evaluation.coco_metric import coco_matches, coco_numbers, coco_outcomes, mean
from minicnn.detection.evaluation.error_kinds import error_kinds
from minicnn.detection.evaluation.matches import RULES, Matches
from minicnn.detection.evaluation.proposal_recall import proposal_recall
from minicnn.detection.evaluation.ranking import TRUE_POSITIVE, rank
from minicnn.detection.evaluation.read_detections import read_detections
from minicnn.detection.evaluation.run_detector import run_detector
from minicnn.detection.evaluation.voc_metric import voc_outcomes
from minicnn.detection.faster_rcnn import FasterRCNN
from minicnn.errors import InputError


@dataclass
class Evaluation:
    """The figures of a detector, and what they were computed from.

    Args:
        rankings: list of ``Ranking``; matches: list of ``Matches``; for each class without the background.
        document: the figures, see ``evaluate``.
        annotated: the images that were evaluated.
        problems: list of str, a line for each image that was left out.
        notes: list of str, a line for each thing that was taken for granted or is not counted, such as detections of other classes.
    """

    rankings: list
    matches: list
    document: dict
    annotated: AnnotatedImages
    problems: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def curves(self) -> dict:
        """{class: (recall (I,), precision (I,)) at each true positive by VOC's rules}."""
        return {ranking.name: precision_recall(matches.voc, matches.objects.sum())
                for ranking, matches in zip(self.rankings, self.matches)}

    def match_document(self) -> dict:
        """What ``compare`` needs: {"pictures": names, "truths": a digest of all objects, "classes": {name: see ``Matches.document``}}."""
        return {"pictures": [image.name for image in self.annotated.images], "truths": digest(self.annotated),
                "classes": {ranking.name: matches.document() for ranking, matches in zip(self.rankings, self.matches)}}


def evaluate_detector(model: FasterRCNN, data: AnnotatedImages, rng: np.random.Generator | None = None, *, source: str = "the detector",
                      on_error: Callable[[InputError], None] | None = None) -> Evaluation:
    """Run a detector on annotated images and measure what it detects.

        evaluation = evaluate_detector(minicnn.load("det.npz"), load_annotated("VOC2007", "test"))
        print(evaluation.document["mAP"]["voc07"])

    Args:
        model: a ``FasterRCNN``. Its classes are matched with the data's by name; detections of others are left out.
        data: the images.
        rng: draws the bootstrap's intervals; None: there are none.
        source: what error messages call the detector, such as its file.
        on_error: called with the error of an image that cannot be read or takes too much memory. Such an image is left out, its error is
            a line of ``problems``.

    Returns:
        An ``Evaluation``.

    Raises:
        InputError: the model lacks a class of which the data has objects, or no image can be read.
    """
    annotated, found, proposals, problems, notes = run_detector(model, data, source, on_error)
    evaluation = evaluate(annotated, found, proposals, rng)
    evaluation.problems, evaluation.notes = problems, notes
    return evaluation


def evaluate_detections(path: str | Path, data: AnnotatedImages, rng: np.random.Generator | None = None, *,
                        on_error: Callable[[InputError], None] | None = None) -> Evaluation:
    """Measure the detections in files.

        evaluation = evaluate_detections("found.csv", load_annotated("VOC2007", "test"))

    Args:
        path: what ``minicnn detect`` wrote (JSON, CSV, or a folder of comp4 files), or COCO's results.
        data: the images. Nothing counts as found in those that the files do not name; those that had another size when the detections
            were made are left out, with a line in ``problems``.
        rng: draws the bootstrap's intervals; None: there are none.
        on_error: called with an error for each image of another size.

    Returns:
        An ``Evaluation``.

    Raises:
        InputError: see ``read_detections``; or all images had another size.
    """
    read = read_detections(path, data)
    kept = [index for index in range(len(data.images)) if index not in read.resized]
    if not kept:
        raise InputError(next(iter(read.resized.values())))
    if on_error is not None:
        for line in read.resized.values():
            on_error(InputError(line))
    evaluation = evaluate(replace(data, images=[data.images[index] for index in kept]), [read.found[index] for index in kept], None, rng)
    evaluation.problems, evaluation.notes = list(read.resized.values()), read.notes
    if read.left_out:
        evaluation.problems.append(f"{sum(read.left_out.values())} detections in {len(read.left_out)} images, such as "
                                   f"{shown(next(iter(read.left_out)))}, are left out: they are not among the {len(data.images)} images of "
                                   "the data.")
    return evaluation


class MeanAveragePrecision:
    """A function of a detector: its mean average precision on given images, such as ``compress_detector`` takes.

        evaluate = MeanAveragePrecision(load_annotated("VOC2007", "val"))
        evaluate(model)["voc07"]

    Images that cannot be read are left out from the first call on, so that all detectors are measured on the same ones.

    Args:
        data, source, on_error: as for ``evaluate_detector``; ``data`` is replaced by the images that could be read.
    """

    def __init__(self, data: AnnotatedImages, source: str = "the detector", on_error: Callable[[InputError], None] | None = None):
        self.data, self.source, self.on_error = data, source, on_error
        self.problems: list[str] = []

    def __call__(self, model: FasterRCNN) -> dict:
        """Mean average precision by rule: {"voc07", "voc10", "coco"}, each a share from 0 to 1."""
        self.data, found, _, problems, _ = run_detector(model, self.data, self.source, self.on_error)
        self.problems += problems
        return evaluate(self.data, found).document["mAP"]


def evaluate(annotated, found, proposals=None, rng=None):
    """Measure detections against the objects of annotated images.

    Args:
        annotated: ``AnnotatedImages``.
        found: for each image (boxes (D, 4), scores (D,), labels (D,)), in continuous pixels.
        proposals: for each image (R, 4), by descending objectness; None: their recall is not measured.
        rng: a Generator, for intervals; None: there are none.

    Returns:
        An ``Evaluation``. Its document: "pictures", "objects", "difficult": numbers; "mAP": {"voc07", "voc10", "coco"}; "per_class":
        {name: {"objects", "detections", "found", "voc07", "voc10", "coco"}}; "coco": the twelve numbers; "errors": see ``error_kinds``;
        with proposals "proposal_recall"; with rng "intervals" of mAP, and of each class. A class without objects has None for every
        average, and is left out of means; difficult objects and crowds are not counted as objects.

    Raises:
        InputError: see ``rank``.
    """
    rankings = rank(annotated, found)
    matches, all_outcomes, all_matched = [], [], []
    for ranking in rankings:
        matched = coco_matches(ranking)
        outcomes = coco_outcomes(ranking, matched)
        matches.append(Matches(ranking.images, ranking.scores, ranking.objects, voc_outcomes(ranking), outcomes[0]))
        all_outcomes.append(outcomes)
        all_matched.append(matched[0, 0])
    document = averages(annotated, rankings, matches)
    document["coco"] = coco_numbers(rankings, all_outcomes)
    document["errors"] = error_kinds(rankings, [outcomes[0, 0] for outcomes in all_outcomes], all_matched)
    if proposals is not None:
        document["proposal_recall"] = {str(count): share for count, share in proposal_recall(annotated, proposals).items()}
    if rng is not None:
        add_intervals(document, matches, len(annotated.images), rng)
    return Evaluation(rankings, matches, document, annotated)


def averages(annotated, rankings, matches):
    """The counts of images and objects, and average precision by class and on average; see ``evaluate``."""
    values = np.array([one_class.average_precisions()[:, 0] for one_class in matches])      # (K, 3)
    per_class = {ranking.name: {"objects": int(one_class.objects.sum()), "detections": len(one_class.scores),
                                "found": int((one_class.voc == TRUE_POSITIVE).sum()), **dict(zip(RULES, map(mean, row)))}
                 for ranking, one_class, row in zip(rankings, matches, values)}
    return {"pictures": len(annotated.images), "objects": sum(row["objects"] for row in per_class.values()),
            "difficult": int(sum((image.difficult | image.crowd).sum() for image in annotated.images)),
            "mAP": {rule: mean(column) for rule, column in zip(RULES, values.T)}, "per_class": per_class}


def add_intervals(document, matches, images, rng):
    """Add the bootstrap's intervals to the document of ``evaluate``; images: their number."""
    weights = resampled(images, rng)
    replicates = np.array([one_class.average_precisions(weights) for one_class in matches])         # (K, 3, R)
    document["intervals"] = {"level": LEVEL, "replicates": REPLICATES,
                             **{rule: interval(class_means(replicates[:, k])) for k, rule in enumerate(RULES)}}
    for name, rows in zip(document["per_class"], replicates):
        document["per_class"][name]["intervals"] = {rule: interval(row) for rule, row in zip(RULES, rows)}


def class_means(values):
    """The mean over classes with objects: (K, R) -> (R,)."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0).sum(axis=0) / there.sum(axis=0)


def digest(annotated):
    """The SHA-256 of all ground truth that the metrics read; the order of the classes makes no difference."""
    text = hashlib.sha256()
    for image in annotated.images:
        names = [annotated.class_names[label] for label in image.labels]
        columns = (column.tolist() for column in (image.boxes, image.difficult, image.crowd, image.areas))
        text.update(repr((image.name, list(zip(names, *columns)))).encode())
    return text.hexdigest()

"""How good a detector is: all metrics of what it found in annotated images.

The way: ``ranking`` sorts detections and objects by class; ``voc_metric`` and ``coco_metric`` tell which are right; ``average_precision``
makes numbers of that, ``bootstrap`` their intervals, ``error_kinds`` the reasons.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from minicnn.detection.evaluation.bootstrap import LEVEL, REPLICATES, interval, resampled
from minicnn.detection.evaluation.coco_metric import coco_hits, coco_numbers, coco_partners, mean
from minicnn.detection.evaluation.error_kinds import error_kinds
from minicnn.detection.evaluation.matches import RULES, Matches
from minicnn.detection.evaluation.proposal_recall import proposal_recall
from minicnn.detection.evaluation.ranking import RIGHT, rank
from minicnn.detection.evaluation.voc_metric import voc_hits


@dataclass
class Evaluation:
    """What was found, class by class, and the figures.

    Args:
        rankings: list of ``Ranking``; matches: list of ``Matches``; of each class without the background.
        document: see ``evaluate``.
    """

    rankings: list
    matches: list
    document: dict


def evaluate(annotated, found, proposals=None, rng=None):
    """Measure detections against the objects of annotated images.

    Args:
        annotated: an ``AnnotatedImages``.
        found: of each image (boxes (D, 4), scores (D,), labels (D,)), in continuous pixels.
        proposals: of each image (R, 4), best first; None: their recall is not told.
        rng: a Generator, for intervals; None: there are none.

    Returns:
        An ``Evaluation``. Its document: "pictures", "objects", "difficult": numbers; "mAP": {"voc07", "voc10", "coco"}; "per_class":
        {name: {"objects", "detections", "found", "voc07", "voc10", "coco"}}; "coco": the twelve numbers; "errors": see ``error_kinds``;
        with proposals "proposal_recall"; with rng "intervals" of mAP, and of each class. A class without objects has None for every
        average, and is in no mean; difficult objects and crowds are no objects.

    Raises:
        InputError: see ``rank``.
    """
    rankings = rank(annotated, found)
    matches, all_hits, partners = [], [], []
    for ranking in rankings:
        partner = coco_partners(ranking)
        hits = coco_hits(ranking, partner)
        matches.append(Matches(ranking.images, ranking.scores, ranking.objects, voc_hits(ranking), hits[0]))
        all_hits.append(hits)
        partners.append(partner[0, 0])
    values = np.array([one.average_precisions()[:, 0] for one in matches])                  # (K, 3)
    per_class = {ranking.name: {"objects": int(one.objects.sum()), "detections": len(one.scores), "found": int((one.voc == RIGHT).sum()),
                                **dict(zip(RULES, map(mean, row)))} for ranking, one, row in zip(rankings, matches, values)}
    document = {
        "pictures": len(annotated.images), "objects": sum(row["objects"] for row in per_class.values()),
        "difficult": int(sum((one.difficult | one.crowd).sum() for one in annotated.images)),
        "mAP": {rule: mean(column) for rule, column in zip(RULES, values.T)}, "per_class": per_class,
        "coco": coco_numbers(rankings, all_hits), "errors": error_kinds(rankings, [hits[0, 0] for hits in all_hits], partners),
    }
    if proposals is not None:
        document["proposal_recall"] = {str(count): share for count, share in proposal_recall(annotated, proposals).items()}
    if rng is not None:
        weights = resampled(len(annotated.images), rng)
        replicates = np.array([one.average_precisions(weights) for one in matches])         # (K, 3, R)
        document["intervals"] = {"level": LEVEL, "replicates": REPLICATES,
                                 **{rule: interval(class_means(replicates[:, k])) for k, rule in enumerate(RULES)}}
        for name, rows in zip(per_class, replicates):
            per_class[name]["intervals"] = {rule: interval(row) for rule, row in zip(RULES, rows)}
    return Evaluation(rankings, matches, document)


def class_means(values):
    """The mean over classes with objects: (K, R) -> (R,)."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0).sum(axis=0) / there.sum(axis=0)


def match_document(annotated, evaluation):
    """What a comparison needs of an evaluation: {"pictures": names, "truths": a digest of all objects, "classes": {name: see Matches}}."""
    return {"pictures": [one.name for one in annotated.images], "truths": digest(annotated),
            "classes": {ranking.name: one.document() for ranking, one in zip(evaluation.rankings, evaluation.matches)}}


def digest(annotated):
    """The SHA-256 of everything that the metrics read of the truth, whatever order the classes have."""
    text = hashlib.sha256()
    for image in annotated.images:
        names = [annotated.class_names[label] for label in image.labels]
        columns = (column.tolist() for column in (image.boxes, image.difficult, image.crowd, image.areas))
        text.update(repr((image.name, list(zip(names, *columns)))).encode())
    return text.hexdigest()

"""Agreement of two detectors: how much of what one finds the other finds, too. No labels are needed.

A detection is *sure* if its score is at least 0.5. A sure detection of one network is *kept* if the other has one of the same class, by
name, with an IoU of at least 0.5 and a score of at least 0.3, one to one. Of the original network A and another one B,

    agreement = (kept of A + kept of B) / (sure of A + sure of B)

and 1 where both are sure of nothing. What A has and is not kept is *lost*; what B has and is not kept is *invented*. The lower score leaves
room for one that is 0.51 in one network and 0.49 in the other.

One to one: the sure detections of one network are matched with detections of the other so that as many as possible have a partner of their
own. That number is unique, whatever the order of the detections, and exchanging A and B only exchanges lost and invented objects. Of the
matchings of that size, the one is taken that keeps the highest scores. The two directions are matched by themselves.

Letters: D detections of an image, P images, R replicates of the bootstrap.

Reference: Kuhn, The Hungarian method for the assignment problem (1955), for augmenting paths; Edmonds, Fulkerson, Transversals and matroid
partition (1965): going down the scores, and never giving up what has a partner, keeps the highest.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn.detection.detect import printable
from minicnn.detection.detections import Detections
from minicnn.detection.evaluation.bootstrap import LEVEL, REPLICATES, interval, resampled
from minicnn.detection.evaluation.ranking import overlaps
from minicnn.errors import InputError

SURE = 0.5              # least score of a detection that is to be kept
LEAST = 0.3             # least score of the other network's detection that keeps it
IOU = 0.5               # least overlap of the two


@dataclass
class Agreement:
    """How far a network agrees with the original, and in what it does not.

    Args:
        images: what the P images are: paths, arrays or names. names: P texts for them.
        model, original: the ``Detections`` of the two networks in each image.
        model_kept, original_kept: for each image (D,) bool, see ``kept``.
        document: the figures, see ``agreement``.
        problems: list of str, a line for each image that was left out.
    """

    images: list
    names: list
    model: list
    original: list
    model_kept: list
    original_kept: list
    document: dict = field(default_factory=dict)
    problems: list = field(default_factory=list)

    def counts(self) -> np.ndarray:
        """(4, P) int64: in each image the original's sure detections, those kept, the model's sure detections, those kept.

        Of several networks on the same images, the same rows of ``resampled`` give paired replicates of a difference.
        """
        return np.array([[(found.scores >= SURE).sum() for found in self.original], [kept.sum() for kept in self.original_kept],
                         [(found.scores >= SURE).sum() for found in self.model], [kept.sum() for kept in self.model_kept]], np.int64)

    def lost(self) -> list:
        """The sure detections of the original that are not kept, by descending score: {"image", "name", "score", "box"} each."""
        return self.rows(self.original, self.original_kept)

    def invented(self) -> list:
        """The same of the model."""
        return self.rows(self.model, self.model_kept)

    def rows(self, all_found, all_kept):
        """The sure detections without a partner, of all images."""
        rows = [{"image": name, "name": found.names[i], "score": float(found.scores[i]), "box": [float(side) for side in found.boxes[i]]}
                for name, found, kept in zip(self.names, all_found, all_kept)
                for i in np.flatnonzero((found.scores >= SURE) & ~kept)]
        return sorted(rows, key=lambda row: -row["score"])


def agreement(found: Sequence[Detections], original: Sequence[Detections], images: Sequence[Any] | None = None,
              rng: np.random.Generator | None = None) -> Agreement:
    """Compare what two networks have found in the same images.

    Args:
        found: the network's ``Detections`` in each of P images, down to a score of ``LEAST`` or less.
        original: the original's, in the same images.
        images: what they are: paths, arrays or names; None: they have numbers.
        rng: draws the bootstrap's interval; None: there is none.

    Returns:
        An ``Agreement``. Its document: "pictures": P; "agreement"; "thresholds": {"score", "other_score", "iou"}; "original": {"objects",
        "kept", "lost"}, "network": {"objects", "kept", "invented"}, where objects are sure detections; "per_class": {name: {"agreement",
        "original", "lost", "network", "invented"}}, for classes with sure detections, by name; "lost", "invented": lists, see
        ``Agreement.lost``; "per_image": for each {"image", "original", "lost", "network", "invented"}; with rng "interval", "level",
        "replicates".

    Raises:
        InputError: they are of different numbers of images, or of none.

    >>> cat = Detections(np.float32([[0, 0, 10, 10]]), np.array([1]), np.float32([0.9]), ["cat"])
    >>> both = Detections(np.float32([[0, 0, 10, 8], [40, 0, 50, 9]]), np.array([1, 1]), np.float32([0.4, 0.7]), ["cat", "cat"])
    >>> document = agreement([both], [cat]).document
    >>> document["agreement"], document["original"]                                     # (1 + 0) / (1 + 1): 0.4 is not sure
    (0.5, {'objects': 1, 'kept': 1, 'lost': 0})
    >>> [(row["score"] > 0.6, row["box"]) for row in document["invented"]]
    [(True, [40.0, 0.0, 50.0, 9.0])]
    """
    if not len(found) == len(original) > 0 or (images is not None and len(images) != len(found)):
        raise InputError(f"got detections of {len(found)} images of one network and of {len(original)} of the other, expected those of the "
                         "same images, at least one. Give an empty list of detections where nothing was found.")
    images = list(range(len(found))) if images is None else list(images)
    names = [printable(image) if isinstance(image, (str, os.PathLike)) else f"image {i}" for i, image in enumerate(images)]
    result = Agreement(images, names, list(found), list(original), [kept(*pair) for pair in zip(found, original)],
                       [kept(*pair) for pair in zip(original, found)])
    result.document = document_of(result)
    if rng is not None:
        there, keeping, offered, accepted = result.counts()
        weights = resampled(len(images), rng).astype(np.int64)
        replicates = share(weights @ (keeping + accepted), weights @ (there + offered))
        result.document.update(interval=interval(replicates), level=LEVEL, replicates=REPLICATES)
    return result


def kept(found: Detections, others: Detections) -> np.ndarray:
    """Which detections in an image another network has, too: (D,) bool, False for those that are not sure.

    >>> a = Detections(np.float32([[0, 0, 10, 10], [0, 0, 10, 9]]), np.array([1, 1]), np.float32([0.9, 0.8]), ["cat", "cat"])
    >>> b = Detections(np.float32([[0, 0, 10, 10]]), np.array([7]), np.float32([0.3]), ["cat"])
    >>> kept(a, b).tolist(), kept(b, a).tolist()
    ([True, False], [False])
    """
    sure, there = np.flatnonzero(found.scores >= SURE), np.flatnonzero(others.scores >= LEAST)
    is_kept = np.zeros(len(found.scores), bool)
    if not sure.size or not there.size:
        return is_kept
    iou = overlaps(np.asarray(found.boxes[sure], np.float64), np.asarray(others.boxes[there], np.float64))
    same = np.array([[found.names[i] == others.names[j] for j in there] for i in sure])
    options = [np.flatnonzero(row).tolist() for row in (iou >= IOU) & same]
    partners: dict[int, int] = {}
    for i in np.argsort(-found.scores[sure], kind="stable").tolist():
        is_kept[sure[i]] = augment(i, options, partners)
    return is_kept


def augment(start, options, partners):
    """Give one more detection a partner; those that have one keep one, if not the same.

    Args:
        start: the detection. options: for each detection the list of its possible partners.
        partners: {partner: its detection}, changed in place.

    Returns:
        Whether there is one. By breadth-first search, so that the shortest chain of exchanges is found.
    """
    came, queue = {}, deque([start])            # came: {partner: the detection that it was reached from}
    own = {i: j for j, i in partners.items()}
    while queue:
        i = queue.popleft()
        for j in options[i]:
            if j in came:
                continue
            came[j] = i
            if j in partners:
                queue.append(partners[j])
                continue
            while j is not None:                # free: every detection on the way takes the partner that was found from it
                partners[j], j = came[j], own.get(came[j])
            return True
    return False


def share(some, whole):
    """some / whole, and 1 where there is nothing: two networks that find nothing agree."""
    whole = np.asarray(whole)
    return np.where(whole > 0, some / np.maximum(whole, 1), 1.0)


def document_of(result):
    """The figures of an ``Agreement`` as plain values, without the interval."""
    counts = result.counts()
    there, keeping, offered, accepted = counts.sum(axis=1).tolist()
    lost, invented = result.lost(), result.invented()
    return {"pictures": len(result.images), "agreement": float(share(keeping + accepted, there + offered)),
            "thresholds": {"score": SURE, "other_score": LEAST, "iou": IOU},
            "original": {"objects": there, "kept": keeping, "lost": len(lost)},
            "network": {"objects": offered, "kept": accepted, "invented": len(invented)},
            "per_class": per_class(result, lost, invented), "lost": lost, "invented": invented,
            "per_image": [{"image": name, "original": a, "lost": a - b, "network": c, "invented": c - d}
                          for name, (a, b, c, d) in zip(result.names, counts.T.tolist())]}


def per_class(result, lost, invented):
    """{class name: {"agreement", "original", "lost", "network", "invented"}} of classes with sure detections."""
    columns = {"original": sure_names(result.original), "lost": [row["name"] for row in lost],
               "network": sure_names(result.model), "invented": [row["name"] for row in invented]}
    rows = {}
    for name in sorted({*columns["original"], *columns["network"]}):
        row = {title: names.count(name) for title, names in columns.items()}
        whole = row["original"] + row["network"]
        rows[name] = {"agreement": float(share(whole - row["lost"] - row["invented"], whole)), **row}
    return rows


def sure_names(all_found):
    """The class names of all sure detections."""
    return [name for found in all_found for name, score in zip(found.names, found.scores) if score >= SURE]

"""What the metrics found of one class, without the boxes: all that averages, bootstraps and comparisons need, and short as text."""

from dataclasses import dataclass

import numpy as np

from minicnn.detection.evaluation.average_precision import AREA, VOC07_LEVELS, average_precision
from minicnn.detection.evaluation.coco_metric import RULES as COCO_RULES
from minicnn.detection.evaluation.ranking import IGNORED, RIGHT, WRONG

DAMAGED = (ValueError, TypeError, KeyError, AttributeError)
RULES = ("voc07", "voc10", "coco")
LETTERS = {WRONG: "F", RIGHT: "T", IGNORED: "-"}


@dataclass
class Matches:
    """D detections of one class, the surest first, in P images.

    Args:
        images: (D,) int; scores: (D,) float64; objects: (P,) int64: see ``Ranking``.
        voc: (D,) int8, see ``voc_hits``.
        coco: (T, D) int8, see ``coco_hits``; objects of all areas.
    """

    images: np.ndarray
    scores: np.ndarray
    objects: np.ndarray
    voc: np.ndarray
    coco: np.ndarray

    def average_precisions(self, weights=None):
        """(3, R): by each of ``RULES``, COCO's as the mean over its thresholds; weights: see ``average_precision``."""
        hits, rules = np.stack([self.voc, self.voc, *self.coco]), [VOC07_LEVELS, AREA, *COCO_RULES]
        values = average_precision(self.images, hits, rules, self.objects, weights)
        return np.stack([*values[:2], values[2:].mean(axis=0)])

    def document(self):
        """As texts for JSON: {"objects": the image of each, "pictures", "scores": of each detection, "voc", "coco": a letter each}."""
        letters = np.array([LETTERS[hit] for hit in (WRONG, RIGHT, IGNORED)])               # IGNORED is -1, the last
        return {"objects": numbers(np.repeat(np.arange(len(self.objects)), self.objects)), "pictures": numbers(self.images),
                "scores": " ".join(f"{score:.6g}" for score in self.scores), "voc": "".join(letters[self.voc]),
                "coco": ["".join(letters[hits]) for hits in self.coco]}

    @classmethod
    def from_document(cls, document, count):
        """The same again, in ``count`` images. Raises one of ``DAMAGED`` if the document is."""
        images, objects = (parsed(document[key], count) for key in ("pictures", "objects"))
        scores = np.array(document["scores"].split(), np.float64)
        voc, *coco = (hits_of(text) for text in (document["voc"], *document["coco"]))
        if len(coco) != len(COCO_RULES) or any(len(column) != len(images) for column in (scores, voc, *coco)):
            raise ValueError("its columns differ in length")
        return cls(images, scores, np.bincount(objects, minlength=count), voc, np.array(coco))


def numbers(values):
    return " ".join(map(str, values.tolist()))


def parsed(text, count):
    """Places among ``count`` images."""
    places = np.array(text.split(), np.int64)
    if places.size and not 0 <= places.min() <= places.max() < count:
        raise ValueError("an image's number is out of range")
    return places


def hits_of(text):
    """Letters -> (D,) int8."""
    if set(text) - set(LETTERS.values()):
        raise ValueError("its letters are not T, F and -")
    codes = np.frombuffer(text.encode(), np.uint8)
    return np.select([codes == ord(LETTERS[RIGHT]), codes == ord(LETTERS[IGNORED])], [RIGHT, IGNORED], WRONG).astype(np.int8)

"""The outcomes of one class's detections, without boxes: all that averages, bootstraps and comparisons need, in short texts."""

from dataclasses import dataclass

import numpy as np

from minicnn.detection.evaluation.average_precision import AREA, VOC07_LEVELS, average_precision
from minicnn.detection.evaluation.coco_metric import RULES as COCO_RULES
from minicnn.detection.evaluation.ranking import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE

DAMAGED = (ValueError, TypeError, KeyError, AttributeError)         # what reading a damaged document raises
RULES = ("voc07", "voc10", "coco")
LETTERS = {FALSE_POSITIVE: "F", TRUE_POSITIVE: "T", IGNORED: "-"}


@dataclass
class Matches:
    """D detections of one class, by descending score, in P images.

    Args:
        images: (D,) int; scores: (D,) float64; objects: (P,) int64: see ``Ranking``.
        voc: (D,) int8, see ``voc_outcomes``.
        coco: (T, D) int8, see ``coco_outcomes``; for objects of all areas.
    """

    images: np.ndarray
    scores: np.ndarray
    objects: np.ndarray
    voc: np.ndarray
    coco: np.ndarray

    def average_precisions(self, weights=None):
        """Average precision by each of ``RULES``, (3, R); COCO's is the mean over its thresholds. weights: see ``average_precision``."""
        outcomes, rules = np.stack([self.voc, self.voc, *self.coco]), [VOC07_LEVELS, AREA, *COCO_RULES]
        values = average_precision(self.images, outcomes, rules, self.objects, weights)
        return np.stack([*values[:2], values[2:].mean(axis=0)])

    def document(self):
        """As texts for JSON: {"objects": the image of each, "pictures", "scores": of each detection, "voc", "coco": a letter for each}."""
        letters = np.array([LETTERS[outcome] for outcome in (FALSE_POSITIVE, TRUE_POSITIVE, IGNORED)])         # IGNORED is -1, the last
        return {"objects": numbers(np.repeat(np.arange(len(self.objects)), self.objects)), "pictures": numbers(self.images),
                "scores": " ".join(f"{score:.6g}" for score in self.scores), "voc": "".join(letters[self.voc]),
                "coco": ["".join(letters[outcomes]) for outcomes in self.coco]}

    @classmethod
    def from_document(cls, document, count):
        """``Matches`` from what ``document`` returned, in ``count`` images. Raises one of the ``DAMAGED`` exceptions if it is damaged."""
        images, objects = (parsed(document[key], count) for key in ("pictures", "objects"))
        scores = np.array(document["scores"].split(), np.float64)
        voc, *coco = (parse_outcomes(text) for text in (document["voc"], *document["coco"]))
        if len(coco) != len(COCO_RULES) or any(len(column) != len(images) for column in (scores, voc, *coco)):
            raise ValueError("its columns differ in length")
        return cls(images, scores, np.bincount(objects, minlength=count), voc, np.array(coco))


def numbers(values):
    return " ".join(map(str, values.tolist()))


def parsed(text, count):
    """The numbers of a text, each the index of one of ``count`` images."""
    index = np.array(text.split(), np.int64)
    if index.size and not 0 <= index.min() <= index.max() < count:
        raise ValueError("an image's number is out of range")
    return index


def parse_outcomes(text):
    """A text of letters -> outcomes (D,) int8."""
    if set(text) - set(LETTERS.values()):
        raise ValueError("its letters are not T, F and -")
    codes = np.frombuffer(text.encode(), np.uint8)
    letters = [codes == ord(LETTERS[outcome]) for outcome in (TRUE_POSITIVE, IGNORED)]
    return np.select(letters, [TRUE_POSITIVE, IGNORED], FALSE_POSITIVE).astype(np.int8)

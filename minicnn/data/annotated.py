"""Pictures with boxes: what every annotated data set becomes, whatever form its files have."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

BACKGROUND = "__background__"       # the class of label 0


@dataclass
class AnnotatedPicture:
    """One picture, not yet read, and the objects in it.

    Args:
        name: unique in its set; VOC's picture id.
        path: the picture's file.
        height, width: pixels, as the annotation says.
        boxes: (G, 4) float32, x1, y1, x2, y2 in continuous pixels: 0 to width and 0 to height.
        labels: (G,) int64, places in the set's ``class_names``, so at least 1.
        difficult: (G,) bool; no training learns from these, and no metric counts them, found or missed.
        crowd: (G,) bool; COCO's boxes round many objects at once; treated as difficult, and besides they match any number of detections.
        areas: (G,) float64, square pixels, by which COCO's metric tells small from large: of the object's outline where that is known,
            else of its box.
    """

    name: str
    path: Path
    height: int
    width: int
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray


@dataclass
class AnnotatedPictures:
    """A split of a data set.

    Args:
        class_names: list of str; the first is ``BACKGROUND``.
        pictures: list of ``AnnotatedPicture``, in the split's order.
        problems: list of str, a line for each thing that was skipped: what it is, and why.
    """

    class_names: list
    pictures: list
    problems: list = field(default_factory=list)

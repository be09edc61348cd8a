"""Images with boxes: what every annotated data set becomes, whatever form its files have."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minicnn.data.images import as_values
from minicnn.errors import InputError

BACKGROUND = "__background__"       # the class of label 0
LONGEST_NAME = 100                  # characters of a class's name


@dataclass
class AnnotatedImage:
    """One image, not yet read, and the objects in it.

    Args:
        name: unique in its set; VOC's image id.
        path: the image's file.
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
class AnnotatedImages:
    """A split of a data set.

    Args:
        class_names: list of str; the first is ``BACKGROUND``.
        images: list of ``AnnotatedImage``, in the split's order.
        problems: list of str, a line for each thing that was skipped: what it is, and why.
    """

    class_names: list
    images: list
    problems: list = field(default_factory=list)


def read_annotated(image):
    """Read the pixels of an ``AnnotatedImage``.

    Returns:
        values: (H, W, 3), as ``minicnn.data.images.as_values`` gives them.

    Raises:
        InputError: the file is missing, damaged, or has another size than its annotation says: its boxes would be wrong.
    """
    values = as_values(image.path)
    height, width = values.shape[:2]
    if (height, width) != (image.height, image.width):
        raise InputError(f"got {image.path} of {width} x {height} pixels, expected {image.width} x {image.height} as its annotation "
                         "says. Mend the one or the other.")
    return values


def check_classes(classes):
    """The class names as a list; raises InputError unless the first is ``BACKGROUND`` and others follow."""
    classes = list(classes)
    if len(classes) < 2 or classes[0] != BACKGROUND:
        raise InputError(f"got {len(classes)} class names from {shown(classes[0] if classes else None)} on, expected {BACKGROUND} and "
                         "at least one class. Put it first.")
    return classes


def label_table(class_names):
    """{name: label}; of a name that stands for several, such as COCO's N/A, the first."""
    table = {}
    for label, name in enumerate(class_names):
        table.setdefault(name, label)
    return table


def label_of(name, table, place):
    """The label of a class in a ``label_table``; raises InputError if it is not there; place: where the name was found."""
    if name not in table:
        known = list(table)[1:]
        raise InputError(f"got an object of the class {shown(name)} in {place}, expected one of {', '.join(map(shown, known[:20]))}"
                         f"{', ...' * (len(known) > 20)}. Take other data, or a network for these classes.")
    return table[name]


def box_areas(boxes):
    """(G, 4) -> (G,) float64, square pixels."""
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    return (x2 - x1) * (y2 - y1)


def is_class_name(name):
    """Whether a text from a file can be a class's name: printed, drawn and told from the background."""
    return bool(name) and name.isprintable() and len(name) <= LONGEST_NAME and name != BACKGROUND


def is_plain(name):
    """Whether the name of a file leads to no other folder: no separators of any system, nothing unprintable."""
    return name.isprintable() and not set(name) & set("/\\:") and name not in ("", ".", "..") and len(name) <= 200


def shown(text):
    """A stranger's text in a message: quoted, escaped and not too long."""
    return repr(text if text is None else text[:LONGEST_NAME])

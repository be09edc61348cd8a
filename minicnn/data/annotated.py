"""Images with boxes: the common form of PASCAL VOC's, COCO's and the generated data sets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minicnn.data.images import read_reduced
from minicnn.data.skipped import Skipped, check_skipped
from minicnn.errors import InputError

BACKGROUND = "__background__"       # the class of label 0
LONGEST_NAME = 100                  # characters of a class's name
EXCESS = 1.0                        # pixels that a box may reach outside its image, and is cut off: where counting from 0 or 1 is mixed up
FROM_0 = "boxes that begin at 0, where 1 is the first pixel, cut off"       # what was normalised
CLIPPED = "boxes that reach up to a pixel outside the image, cut off"
SPELLING = "values in another spelling, such as False for 0"
BAD_BOX = "box that is empty or outside the image"      # a reason for which objects are skipped


@dataclass
class AnnotatedImage:
    """The annotation of one image: its file, which is not read yet, and the G objects in it.

    Args:
        name: unique in its data set; VOC's or COCO's image id.
        path: the image's file.
        height, width: pixels, by the annotation.
        boxes: (G, 4) float32, x1, y1, x2, y2 in continuous pixel coordinates: 0 to width and 0 to height.
        labels: (G,) int64, indices into the data set's ``class_names``, so at least 1.
        difficult: (G,) bool, objects that are ignored in training, and by metrics whether they are found or not.
        crowd: (G,) bool, COCO's boxes around groups of objects; difficult as well, and any number of detections may match one.
        areas: (G,) float64, square pixels, by which COCO's metric distinguishes small, medium and large: the area of the object's
            outline where it is known, else of its box.
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
        class_names: the name of each label; the first is ``BACKGROUND``.
        images: in the split's order.
        problems: a line for each thing that was skipped: what it is, and why.
        skipped: the same, counted by reason.
        normalised: {what was read in spite of its unusual form: how often}.
        checked: whether ``check_image_files`` has read all images.
        category_ids: {id: class name} of a COCO data set; empty for others.
    """

    class_names: list[str]
    images: list[AnnotatedImage]
    problems: list[str] = field(default_factory=list)
    skipped: Skipped = field(default_factory=Skipped)
    normalised: dict[str, int] = field(default_factory=dict)
    checked: bool = False
    category_ids: dict[int, str] = field(default_factory=dict)

    def skip_image(self, line: str, reason: str) -> None:
        """Note that an image was left out: a line for ``problems``, a reason to count it by."""
        self.problems.append(line)
        self.skipped.image(reason)

    def skip_object(self, line: str, reason: str) -> None:
        """Note that an object was left out of an image that is used."""
        self.problems.append(line)
        self.skipped.object(reason)

    def normalise(self, what: str, count: int = 1) -> None:
        """Count something that was read in spite of its unusual form."""
        if count:
            self.normalised[what] = self.normalised.get(what, 0) + count

    def check_skipped(self, source: str = "data") -> None:
        """Raise InputError if more than 5 % of the images or of the objects were skipped, as the commands do before they begin.

        Args:
            source: what the message calls the data, such as their folder.
        """
        check_skipped(self.skipped, len(self.images), sum(len(image.labels) for image in self.images), source)


def read_annotated(image: AnnotatedImage) -> np.ndarray:
    """Read the pixels of an ``AnnotatedImage``.

    Returns:
        values: (H, W, 3), see ``minicnn.data.images.read_reduced``: of an image of more than 50 million pixels they are fewer.

    Raises:
        InputError: the file is missing, damaged, or of another size than in its annotation, so that the boxes would be wrong.
            ``check_image_files`` finds all such files, and turns the boxes of those that EXIF turns.
    """
    values, height, width, _ = read_reduced(image.path)
    if (height, width) != (image.height, image.width):
        raise InputError(f"got {image.path} of {width} x {height} pixels, turned upright if its EXIF says so, expected {image.width} x "
                         f"{image.height} as in its annotation. Correct one of them.")
    return values


def check_classes(classes):
    """The class names as a list; raises InputError unless ``BACKGROUND`` comes first and another follows."""
    classes = list(classes)
    if len(classes) < 2 or classes[0] != BACKGROUND:
        raise InputError(f"got {len(classes)} class names, the first {shown(classes[0] if classes else None)}, expected {BACKGROUND} and "
                         "at least one class. Put the background first.")
    return classes


def label_table(class_names: Sequence[str]) -> dict[str, int]:
    """{name: label}; the first label of a name that occurs several times, such as COCO's N/A.

    >>> label_table(["__background__", "cat", "N/A", "dog", "N/A"])
    {'__background__': 0, 'cat': 1, 'N/A': 2, 'dog': 3}
    """
    table: dict[str, int] = {}
    for label, name in enumerate(class_names):
        table.setdefault(name, label)
    return table


def label_of(name, table, place):
    """The label of a class name found at ``place`` (a text for the message); raises InputError if the table lacks it."""
    if name not in table:
        known = list(table)[1:]
        raise InputError(f"got an object of the class {shown(name)} in {place}, expected one of {', '.join(map(shown, known[:20]))}"
                         f"{', ...' * (len(known) > 20)}. Use other data, or a network for these classes.")
    return table[name]


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of boxes: (G, 4) x1, y1, x2, y2 -> (G,) float64, square pixels.

    >>> box_areas([[0, 0, 10, 4], [2.5, 1, 3, 3]]).tolist()
    [40.0, 1.0]
    """
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    return (x2 - x1) * (y2 - y1)


def is_class_name(name):
    """Whether a text from a file can be a class name: printable, not too long, and not the background's."""
    return bool(name) and name.isprintable() and len(name) <= LONGEST_NAME and name != BACKGROUND


def is_plain(name):
    """Whether a text is a file name within a folder: printable, without any system's path separators."""
    return name.isprintable() and not set(name) & set("/\\:") and name not in ("", ".", "..") and len(name) <= 200


def shown(text):
    """A text from a file for an error message: quoted, escaped, shortened."""
    return repr(text if text is None else text[:LONGEST_NAME])

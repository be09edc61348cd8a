"""Load a split of a data set, which is a built-in name, a folder, or a file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minicnn.data.annotated import AnnotatedImages
from minicnn.data.coco import is_coco, is_coco_file, load_coco
from minicnn.data.digits import load_digits
from minicnn.data.mnist import load_mnist
from minicnn.data.scenes import load_scenes
from minicnn.data.voc import ALL, has_lists, is_voc, load_voc
from minicnn.errors import InputError

SPLITS = ("train", "validation", "test")


def load_data(source: str | Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Load one split of a classification data set.

    Args:
        source: "digits" (generated, no download), or a folder with MNIST's four files.
        split: "train", "validation" or "test".

    Returns:
        images: (N, 1, 28, 28) float32 in [0, 1].
        labels: (N,) int64, 0 to 9.

    Raises:
        InputError: an unknown source or split, or damaged files.

    >>> images, labels = load_data("digits", "test")
    >>> images.shape, labels.shape, labels[:5].tolist()
    ((2000, 1, 28, 28), (2000,), [3, 3, 0, 1, 4])
    """
    if split not in SPLITS:
        raise InputError(f"got the split {split!r}, expected one of {', '.join(SPLITS)}. Choose one of them.")
    if source == "digits":
        return load_digits(split)
    if not Path(source).is_dir():
        raise InputError(f"got the data {source!r}, expected 'digits' or a folder of MNIST files. Check the path.")
    return load_mnist(source, split)


def is_annotated(folder: str | Path) -> bool:
    """Whether a folder has the layout of a data set with boxes, PASCAL VOC's or COCO's."""
    return is_coco(folder) or is_voc(folder)


def default_split(source: str | Path, usual: str) -> str | None:
    """The split of a detection data set that is meant where none is given.

    Args:
        source: as for ``load_annotated``.
        usual: the name to take where there are several splits.

    Returns:
        split: None for a COCO file, which is one split; "all" for a folder without lists; else ``usual``.
    """
    if is_coco_file(source):
        return None
    path = Path(source)
    return usual if source == "scenes" or is_coco(path) or not path.is_dir() or has_lists(path) else ALL


def load_annotated(source: str | Path, split: str | None, classes: Sequence[str] | None = None, box_origin: int = 1) -> AnnotatedImages:
    """Load the annotations of one split of a detection data set; the images themselves are read when they are used.

    Args:
        source: "scenes" (generated), a folder in PASCAL VOC's or COCO's layout, or a ``.json`` (or ``.json.gz``) file of COCO's, which
            is one split by itself.
        split: the data set's own name for it, such as "trainval" or "val2017"; "all" for a folder without lists; it has no effect for a
            file. See ``default_split``.
        classes: the class name of each label, ``BACKGROUND`` first, such as those of a trained network; None takes the data's own.
        box_origin: of PASCAL VOC's XML: 1 if corners count pixels from 1, as VOC's own; 0 if they are continuous coordinates from 0, as
            most tools write them. COCO's boxes and the scenes' are known to count from 0 and from 1.

    Returns:
        annotated: the class names, the images with their boxes, a line for each thing that was skipped, and counts of what was skipped
        and of what was normalised.

    Raises:
        InputError: the data set or the split does not exist, or cannot be used.
    """
    if box_origin not in (0, 1):
        raise InputError(f"got box_origin={box_origin}, expected 0 or 1, the number of the first pixel. Choose one.")
    if source == "scenes":
        return load_scenes(split, classes)
    path = Path(source)
    if is_coco_file(source) or is_coco(path):
        return load_coco(path, split, classes)
    if not path.is_dir():
        raise InputError(f"got the data {str(source)!r}, expected 'scenes', a folder in PASCAL VOC's or COCO's layout, or COCO's .json. "
                         "Check the path.")
    return load_voc(path, split, classes, box_origin)

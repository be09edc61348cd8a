"""Images without labels: a folder, a pattern, or a data set whose boxes are left out."""

import glob
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minicnn.data.annotated import BACKGROUND, AnnotatedImage, AnnotatedImages
from minicnn.data.check_images import UNREADABLE, size_of
from minicnn.data.coco import is_coco_file
from minicnn.data.image_files import find_images
from minicnn.data.load import is_annotated, load_annotated
from minicnn.data.skipped import Skipped
from minicnn.errors import InputError
from minicnn.progress import Progress


def load_unlabelled(source: str | Path, split: str | None = None, on_others: Callable[[str], None] | None = None) -> AnnotatedImages:
    """Find images and open each of them, whatever is known about the objects in them.

        images = load_unlabelled("photos/")
        paths = [image.path for image in images.images]

    Args:
        source: a folder of images, a pattern such as "photos/*.jpg", one image, or what ``load_annotated`` takes.
        split: of a data set with boxes, by its name there; None for anything else.
        on_others: called with a line about what else a folder of images holds, which is left out.

    Returns:
        images: without objects. The images that cannot be read are left out, and noted in ``problems`` and ``skipped``; objects that a
        data set could not use are not, unless images had to be skipped with them.

    Raises:
        InputError: there is no image; the split does not exist; or a split was given where there are none.
    """
    if not has_boxes(source) or is_coco_file(source):
        check_no_splits(source, split)
    if has_boxes(source):
        data = load_annotated(source, split)
        paths, lost = [image.path for image in data.images], data.skipped.images
        unlabelled = AnnotatedImages([BACKGROUND], [], list(data.problems) if lost else [],
                                     Skipped(lost, 0, dict(data.skipped.reasons) if lost else {}), checked=True)
    else:
        if not os.path.lexists(source) and not glob.has_magic(str(source)):
            raise InputError(f"got the data {str(source)!r}, which does not exist, expected a folder of images or a data set. Check the "
                             "path.")
        paths, unlabelled = find_images([source], on_others), AnnotatedImages([BACKGROUND], [], checked=True)
    with Progress(len(paths), "checking images") as bar:
        for path in paths:
            try:
                unlabelled.images.append(without_objects(path, *size_of(path)))
            except InputError as error:
                unlabelled.skip_image(str(error), UNREADABLE)
            bar.update(1)
    return unlabelled


def has_boxes(source: str | Path) -> bool:
    """Whether ``load_annotated`` reads it, rather than ``find_images``."""
    return source == "scenes" or is_coco_file(source) or is_annotated(source)


def check_no_splits(source, split):
    """Raise InputError if a split was given for something that has none."""
    if split is not None:
        what = "one list of images" if is_coco_file(source) else "no data set with splits"
        raise InputError(f"got the split {split} for {source}, which is {what}, expected a folder laid out as PASCAL VOC's or COCO's. "
                         "Leave the split out.")


def without_objects(path, height, width):
    """The ``AnnotatedImage`` of a file of that size, with no objects."""
    none = np.zeros(0, bool)
    return AnnotatedImage(Path(path).name, Path(path), height, width, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), none, none,
                          np.zeros(0))

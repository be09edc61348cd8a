"""Data sets by name, folder or file."""

from pathlib import Path

from minicnn.data.coco import is_coco, is_coco_file, load_coco
from minicnn.data.digits import load_digits
from minicnn.data.mnist import load_mnist
from minicnn.data.scenes import load_scenes
from minicnn.data.voc import is_voc, load_voc
from minicnn.errors import InputError

SPLITS = ("train", "validation", "test")


def load_data(source, split):
    """One split of "digits" (generated) or of MNIST in a folder: images (N, 1, 28, 28) float32 in [0, 1], labels (N,) int64.

    Raises:
        InputError: the source is neither, or its files are damaged.
    """
    if split not in SPLITS:
        raise InputError(f"got the split {split!r}, expected one of {', '.join(SPLITS)}. Choose one of them.")
    if source == "digits":
        return load_digits(split)
    if not Path(source).is_dir():
        raise InputError(f"got the data {source!r}, expected 'digits' or a folder of MNIST files. Check the path.")
    return load_mnist(source, split)


def is_annotated(folder):
    """Whether a folder is in the form of a data set with boxes."""
    return is_coco(folder) or is_voc(folder)


def load_annotated(source, split, classes=None):
    """One split of images with boxes.

    Args:
        source: "scenes" (generated), a folder in PASCAL VOC's form or COCO's, or a ``.json`` (or ``.json.gz``) of COCO's, which is one
            split by itself.
        split: as the data set calls it, such as "trainval" or "val2017".
        classes: list of str, a name for each label, ``BACKGROUND`` first, such as those of a trained network; None takes the data's own.

    Returns:
        images: ``minicnn.data.annotated.AnnotatedImages``.

    Raises:
        InputError: no such data, or they cannot be used.
    """
    if source == "scenes":
        return load_scenes(split, classes)
    path = Path(source)
    if is_coco_file(source) or is_coco(path):
        return load_coco(path, split, classes)
    if not path.is_dir():
        raise InputError(f"got the data {str(source)!r}, expected 'scenes', a folder as PASCAL VOC's or COCO's, or COCO's .json. Check the "
                         "path.")
    return load_voc(path, split, classes)

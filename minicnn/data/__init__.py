"""Data sets by name or folder."""

from pathlib import Path

from minicnn.data.digits import load_digits
from minicnn.data.mnist import load_mnist
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

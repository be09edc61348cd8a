"""MNIST in its original IDX format, gzipped or not.

An IDX file is a header of big-endian 32-bit numbers, first the magic number (2051 for images, 2049 for labels), then the sizes,
followed by one byte per value.

Reference: LeCun, Cortes, Burges, The MNIST database of handwritten digits.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from minicnn.errors import InputError

IMAGES, LABELS = 2051, 2049
DIMENSIONS = {IMAGES: 3, LABELS: 1}
SIDE, CLASSES = 28, 10
BLOCK = 2**20           # bytes read at once
VALIDATION = 5000       # the last training images are held out for choices, so that the test set is only used to report


def load_mnist(folder, split):
    """Read one split of MNIST.

    Args:
        folder: with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the two ``t10k-`` files, each with or without ``.gz``.
        split: "train" (the training images without the last 5000), "validation" (these 5000) or "test".

    Returns:
        images: (N, 1, 28, 28) float32 in [0, 1]; labels: (N,) int64.

    Raises:
        InputError: a file is missing or damaged, or images and labels do not match.
    """
    prefix = "t10k" if split == "test" else "train"
    images_path = find(folder, f"{prefix}-images-idx3-ubyte")
    labels_path = find(folder, f"{prefix}-labels-idx1-ubyte")
    images, labels = read_idx(images_path, IMAGES), read_idx(labels_path, LABELS)
    if len(images) != len(labels):
        raise InputError(f"got {len(images)} images in {images_path} but {len(labels)} labels in {labels_path}, "
                         "expected equal numbers. Download both files again.")
    if images.shape[1:] != (SIDE, SIDE) or not len(images):
        raise InputError(f"got {' x '.join(map(str, images.shape))} pixels in {images_path}, expected images of "
                         f"{SIDE} x {SIDE}. Give the files of MNIST.")
    if labels.max() >= CLASSES:
        raise InputError(f"got the label {labels.max()} in {labels_path}, expected 0 to {CLASSES - 1}. Give the files of MNIST.")
    if split != "test" and len(images) <= VALIDATION:
        raise InputError(f"got {len(images)} images in {images_path}, expected more than the {VALIDATION} held out for "
                         "validation. Use the whole training set.")
    part = {"train": slice(0, -VALIDATION), "validation": slice(-VALIDATION, None), "test": slice(None)}[split]
    return images[part, None].astype(np.float32) / 255, labels[part].astype(np.int64)


def find(folder, name):
    """The file of that name in the folder, plain or gzipped."""
    for candidate in (Path(folder, name), Path(folder, f"{name}.gz")):
        if candidate.is_file():
            return candidate
    raise InputError(f"got the folder {folder}, expected {name} or {name}.gz in it. Give the folder of the four MNIST files.")


def read_idx(path, magic):
    """Read an IDX file of unsigned bytes.

    Args:
        path: the file; ``.gz`` is unpacked.
        magic: the expected magic number, 2051 or 2049.

    Returns:
        values: uint8, in the shape given by the header.

    Raises:
        InputError: another magic number, or fewer or more bytes than the header announces.
    """
    header = 4 + 4 * DIMENSIONS[magic]
    try:
        with (gzip.open if Path(path).suffix == ".gz" else open)(path, "rb") as file:
            start = file.read(header)
            if len(start) < header:
                raise InputError(f"got {len(start)} bytes in {path}, expected a header of {header}. Download the file again.")
            found, *shape = struct.unpack(f">{header // 4}I", start)
            if found != magic:
                raise InputError(f"got the magic number {found} in {path}, expected {magic}. Give an IDX file of "
                                 f"{'images' if magic == IMAGES else 'labels'}.")
            size, data = math.prod(shape), bytearray()
            # in blocks, since a damaged header may announce terabytes
            while len(data) <= size and (block := file.read(min(BLOCK, size + 1 - len(data)))):
                data += block
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"got {path}, which cannot be read ({error}), expected an IDX file. Download the file again.") from error
    if len(data) != size:
        raise InputError(f"got {f'more than {size}' if len(data) > size else len(data)} bytes of data in {path}, expected "
                         f"{' x '.join(map(str, shape))} = {size} as its header says. Download the file again.")
    return np.frombuffer(data, np.uint8).reshape(shape)

"""Images of more than ``MAX_PIXELS``: they are read reduced, and boxes found in them are brought back to the pixels of the file.

The factor follows from the size alone: the smallest power of two that leaves at most ``MAX_PIXELS``. A reduced pixel is the mean of a
block of that many pixels down and across, smaller at the right and lower edge; JPEG's decoder does the same while it decodes.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

MAX_PIXELS = 50_000_000         # read as they are, as of most cameras; 600 MB as float32
LARGEST_WHOLE = 250_000_000     # read reduced where a decoder needs the whole image in memory: 1 GB in Pillow
LARGEST = 500_000_000           # read reduced where it need not
STRIP = 4_000_000               # pixels that are converted at a time


class ReadImage(NamedTuple):
    """An image as it was read.

    Args:
        values: (H, W, 3), see ``minicnn.data.images.as_values``.
        height, width: of the file, in pixels.
        reduced: how many of them one of ``values`` stands for, down and across; 1 up to ``MAX_PIXELS``.
    """

    values: np.ndarray
    height: int
    width: int
    reduced: int = 1

    def enlarge(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (D, 4) in pixels of ``values`` -> in pixels of the file."""
        return enlarge(boxes, self.height, self.width)


def enlarge(boxes, height, width):
    """Boxes (D, 4) in the reduced image of a file of height x width pixels -> in pixels of the file."""
    factor = reduction(height, width)
    return boxes if factor == 1 else np.clip(boxes * np.float32(factor), 0, np.float32([width, height, width, height]))


def reduction(height: int, width: int) -> int:
    """The factor by which an image of that size is reduced.

    >>> reduction(5000, 10_000), reduction(5001, 10_000), reduction(20_000, 25_000)
    (1, 2, 4)
    """
    factor = 1
    while math.prod(reduced_size(height, width, factor)) > MAX_PIXELS:
        factor *= 2
    return factor


def reduced_size(height, width, factor=None):
    """(h, w) of an image of height x width pixels as it is read."""
    factor = factor or reduction(height, width)
    return -(-height // factor), -(-width // factor)


def reduce_strips(convert: Callable[[int, int], np.ndarray], height: int, width: int, factor: int) -> np.ndarray:
    """Reduce an image that is converted strip by strip.

    Args:
        convert: (first row, row after the last) -> those rows' values, (h, W, C) uint8 or float32.
        height, width: of the image. factor: of the reduction.

    Returns:
        values: (ceil(H / factor), ceil(W / factor), C), of the strips' dtype.
    """
    rows = factor * max(1, STRIP // (factor * width))
    return np.concatenate([block_means(convert(top, min(top + rows, height)), factor) for top in range(0, height, rows)])


def block_means(values: np.ndarray, factor: int) -> np.ndarray:
    """The means of blocks of (H, W, C), uint8 or float32; those of uint8 are rounded.

    >>> block_means(np.array([[[0], [10], [4]], [[20], [10], [5]], [[1], [2], [3]]], np.uint8), 2)[:, :, 0].tolist()
    [[10, 4], [2, 3]]
    """
    rows: np.ndarray = values[::factor].astype(np.uint32 if values.dtype == np.uint8 else np.float32)
    for place in range(1, factor):
        part = values[place::factor]                                # one block shorter where the last one is smaller
        rows[:len(part)] += part
    sums = rows[:, ::factor].copy()
    for place in range(1, factor):
        part = rows[:, place::factor]
        sums[:, :part.shape[1]] += part
    down, across = (np.diff(np.arange(0, side, factor), append=side) for side in values.shape[:2])
    means = sums / np.multiply.outer(down, across)[:, :, None].astype(np.float32)
    return np.rint(means).astype(np.uint8) if values.dtype == np.uint8 else means.astype(np.float32)

"""Generated digits: a classification data set without a download.

Pillow draws each digit with random size, thickness, rotation, shear, position and brightness; a random background, a stray stroke and
noise are added. 28 x 28 pixels like MNIST, and hard enough that a linear classifier stays below 90 % accuracy.
"""

from __future__ import annotations

import math
import re

import numpy as np

from minicnn.data.images import import_pillow
from minicnn.errors import InputError

SIDE = 28
CANVAS = 56                                                       # drawn at twice the size, then averaged down
COUNTS = {"train": 12000, "validation": 2000, "test": 2000}
SEEDS = {"train": 0, "validation": 1, "test": 2}


def load_digits(split):
    """One split: images (N, 1, 28, 28) float32 in [0, 1], labels (N,) int64; equal on all machines with the same Pillow."""
    return make_digits(COUNTS[split], np.random.default_rng(SEEDS[split]))


def check_pillow(what):
    """Raise InputError unless Pillow's font is the one that digits are drawn in, since version 10.1: others would be other data."""
    version = import_pillow(what).__version__
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < (10, 1):
        raise InputError(f"got Pillow {version} for {what}, expected at least 10.1, whose font they are drawn in. Upgrade it (pip "
                         "install --upgrade pillow), or give other data.")


def make_digits(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw digits.

    Args:
        count: number of images N.
        rng: source of all random choices.

    Returns:
        images: (N, 1, 28, 28) float32 in [0, 1].
        labels: (N,) int64, 0 to 9, in random order; the numbers of images per digit differ by at most 1.

    Raises:
        InputError: Pillow is missing or older than 10.1.

    >>> images, labels = make_digits(20, np.random.default_rng(0))
    >>> images.shape, np.bincount(labels).tolist()
    ((20, 1, 28, 28), [2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    """
    labels = rng.permutation(np.arange(count) % 10)
    images = np.stack([draw_digit(label, rng) for label in labels])
    contrast, floor = rng.uniform(0.4, 1, (2, count, 1, 1))
    images = images * contrast + (floor - 0.4) / 2 * (1 - contrast)   # a grey background, lighter for a fainter digit
    images += rng.normal(0, 0.1, images.shape)
    return np.clip(images, 0, 1).astype(np.float32)[:, None], labels


def digit_font(size):
    """The font of digits, of that size in pixels."""
    check_pillow("generated digits")
    from PIL import ImageFont
    return ImageFont.load_default(size)


def draw_digit(label, rng):
    """Draw one digit with a stray stroke: (28, 28) float32 in [0, 1], white on black."""
    from PIL import Image, ImageDraw  # optional: imported only to draw

    image = Image.new("L", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(image)
    font = digit_font(int(rng.integers(36, 47)))
    draw.text((CANVAS / 2, CANVAS / 2), str(label), fill=255, font=font, anchor="mm", stroke_width=int(rng.integers(0, 3)))

    image = distorted(image, rng)
    ends = [tuple(end) for end in rng.uniform(0, CANVAS, (2, 2))]
    ImageDraw.Draw(image).line(ends, fill=int(rng.integers(60, 160)), width=int(rng.integers(1, 4)))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) / 255


def distorted(image, rng):
    """Rotate, shear, stretch and shift a grey Pillow image slightly, about its centre; what leaves the image is cut off."""
    from PIL import Image

    # the affine map of output pixels to source pixels
    angle, shear = rng.normal(0, 0.12), rng.normal(0, 0.15)
    stretch = np.exp(rng.normal(0, 0.1, 2))
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, shear], [0, 1]]) @ np.diag(stretch)
    middle = np.array(image.size) / 2
    offset = middle - matrix @ (middle + rng.uniform(-4, 4, 2))
    return image.transform(image.size, Image.Transform.AFFINE, (*matrix[0], offset[0], *matrix[1], offset[1]),
                           resample=Image.Resampling.BILINEAR)

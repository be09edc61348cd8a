"""Calibration images: unlabelled photographs, drawn at random and made as small as the network resizes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.compression.repair import LEAST
from minicnn.data.images import as_image, as_input, read_reduced
from minicnn.errors import InputError
from minicnn.progress import Progress

OBSERVED = 100          # images by which errors are estimated if nothing is repaired
REPAIRED = 300          # images to repair from, at most, unless another number is given


def draw_images(paths: Sequence[str | Path], transform: Any, rng: np.random.Generator, repair: int | None = None,
                on_error: Callable[[InputError], None] | None = None, most: int | None = None) -> list[np.ndarray]:
    """Read images that are drawn at random.

    Args:
        paths: of the images. transform: the detector's, see ``shrunk``. rng: a Generator.
        repair: number of images to repair from; None: ``REPAIRED`` or all there are; 0: ``OBSERVED`` or all, for errors alone.
        on_error: called for each image that cannot be read, which is skipped; None: the error is raised.
        most: read only so many of them; None: all.

    Returns:
        list of (H, W, 3) uint8.

    Raises:
        InputError: there are fewer images than asked for, or than repair needs.
    """
    count = repair or min(OBSERVED if repair == 0 else REPAIRED, len(paths))
    if count > len(paths) or repair != 0 and count < LEAST:
        raise InputError(f"got {min(count, len(paths))} images to repair from, expected at least {max(count, LEAST)}. Give more, or a "
                         "smaller --repair; --repair 0 leaves it out.")
    images, count = [], min(count, most or count)
    with Progress(count, "reading") as bar:
        for place in rng.permutation(len(paths)):
            try:
                images.append(shrunk(as_image(read_reduced(paths[place]).values), transform))
                bar.update(1)
            except InputError as error:
                if on_error is None:
                    raise
                on_error(error)
            if len(images) == count:
                break
    return images


def shrunk(image, transform):
    """An image (H, W, 3), resized as the network does if it has more than twice the pixels: 300 photographs would fill the memory."""
    h, w = transform.size(*image.shape[:2])
    return image if image[..., 0].size <= 2 * h * w else as_image(transform.resize(as_input(image)))

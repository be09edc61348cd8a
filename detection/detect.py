"""Detecting objects in image files, one after the other: the library call behind ``minicnn detect``."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from minicnn.data.image_files import find_images
from minicnn.data.images import import_pillow, read_reduced
from minicnn.data.reduction import ReadImage
from minicnn.detection.detections import Detections
from minicnn.detection.faster_rcnn import FasterRCNN
from minicnn.errors import InputError
from minicnn.hooks import timed
from minicnn.prefetch import prefetch

STAGES = {"transform": "transform", "backbone": "backbone", "rpn": "rpn", "roi_heads": "heads"}      # path in the model: name in JSON


@dataclass
class DetectedImage:
    """One image file and the objects detected in it.

    Args:
        path: the file.
        read: its pixels, its size, and the factor by which it is reduced.
        detections: the objects, in pixels of the file.
        milliseconds: {"read", "transform", "backbone", "rpn", "heads", "total": time}; total does not include reading.
    """

    path: Path
    read: ReadImage
    detections: Detections
    milliseconds: dict

    @property
    def pixels(self) -> np.ndarray:
        """(H, W, 3), fewer than the file's if it is large, see ``minicnn.data.images.read_reduced``."""
        return self.read.values

    def document(self) -> dict:
        """As plain values for JSON: {"image", "width", "height", "detections", "milliseconds"}, and "reduced" if it is."""
        return {"image": printable(self.path), "width": self.read.width, "height": self.read.height,
                **({"reduced": self.read.reduced} if self.read.reduced > 1 else {}),
                "detections": self.detections.document(), "milliseconds": self.milliseconds}


def detect_images(model: FasterRCNN, images: str | Path | Sequence[str | Path],
                  on_error: Callable[[InputError], None] | None = None) -> Iterator[DetectedImage]:
    """Detect objects in image files. The next file is read while the detector runs on the current one.

        for image in detect_images(minicnn.load("det.npz"), "photos/"):
            print(image.path, image.detections.names)

    Args:
        model: a ``FasterRCNN``.
        images: a file, a folder or a pattern such as "photos/*.jpg"; or a list of files.
        on_error: called with the error of an image that cannot be read or takes too much memory, which is then skipped; None: it is raised.

    Yields:
        A ``DetectedImage`` for each file, in order.

    Raises:
        InputError: a folder or a pattern has no images, or see on_error.
    """
    if not hasattr(images, "__iter__") and not isinstance(images, os.PathLike):
        raise no_path(images)
    paths = find_images([images]) if isinstance(images, (str, os.PathLike)) else images
    for path, reading in prefetch(read, paths):
        try:
            image = detect_image(model, path, *reading())
        except InputError as error:
            if on_error is None:
                raise
            on_error(error)
        else:
            yield image


def read(path):
    """A ``ReadImage``, and the milliseconds that reading took."""
    if not isinstance(path, (str, os.PathLike)):
        raise no_path(path)
    start = time.perf_counter()
    image = read_reduced(path)
    return image, 1000 * (time.perf_counter() - start)


def no_path(value):
    """The InputError for something that names no image file."""
    return InputError(f"got a {type(value).__name__} for an image file, expected a path. Call model.detect(), which takes arrays, too.")


def detect_image(model, path, image, read_milliseconds):
    """The ``DetectedImage`` of an image that was read before."""
    start = time.perf_counter()
    try:
        with timed(model, STAGES) as spent:
            detections = model.detect(image.values)
    except MemoryError as error:
        raise too_large(path, image.values, "it, or --min-size and --max-size,") from error
    total = 1000 * (time.perf_counter() - start)
    milliseconds = {"read": read_milliseconds, **{name: spent[stage] for stage, name in STAGES.items()}, "total": total}
    detections = replace(detections, boxes=image.enlarge(detections.boxes))
    return DetectedImage(path, image, detections, milliseconds)


def too_large(path, pixels, what):
    """The InputError for an image (H, W, 3) that takes more memory than there is; ``what`` the user is to make smaller."""
    return InputError(f"{path}: got an image of {pixels.shape[1]} x {pixels.shape[0]} that takes more memory than there is, expected "
                      f"a smaller one. Make {what} smaller.")


def printable(path):
    """A path as UTF-8 text; bytes of its name that are not UTF-8 become "?", so that they do not spoil a whole file of results."""
    return str(path).encode(errors="replace").decode()


def drawn_paths(paths: Sequence[str | Path], folder: str | Path) -> dict:
    """The files that images with drawn boxes are written to, none of which is itself one of the images.

    Args:
        paths: the images.
        folder: where the drawn images go.

    Returns:
        {path: Path in folder}.

    Raises:
        InputError: a drawn image would replace an image, or Pillow is missing.
    """
    import_pillow("drawing")
    drawn = {path: Path(folder, name) for path, name in zip(paths, drawn_names(paths))}
    images = {os.path.realpath(path) for path in paths}
    for path in drawn.values():
        if os.path.realpath(path) in images:
            raise InputError(f"got {folder} for the drawn images, where {path} is an image to detect in, expected another folder. "
                             "Choose one.")
    return drawn


def drawn_names(paths):
    """A file name for each path: its own, .png unless it is a JPEG; where several paths have the same, their folder's name before it."""
    names = [path.name if path.suffix.lower() in (".jpg", ".jpeg", ".png") else f"{path.stem}.png" for path in map(Path, paths)]
    often, used = Counter(name.lower() for name in names), {}       # lower: some file systems see no difference
    for path, name in zip(paths, names):
        if often[name.lower()] > 1:
            name = f"{Path(os.path.abspath(path)).parent.name}_{name}"
        stem, suffix = os.path.splitext(name)
        number = 1
        while name.lower() in used:
            number += 1
            name = f"{stem}_{number}{suffix}"
        used[name.lower()] = name
    return list(used.values())

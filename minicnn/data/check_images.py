"""Checking the image files of a data set before they are used: all faults in one pass, rather than one a run.

A JPEG is decoded at an eighth of its size, which finds all damage that decoding it whole would find, in a fraction of the time; other
files are read whole.
"""

import os
from dataclasses import replace

import numpy as np

from minicnn.data.annotated import AnnotatedImage, AnnotatedImages
from minicnn.data.images import ORIENTATION, decoding, open_with_pillow, read_reduced
from minicnn.data.reduction import MAX_PIXELS
from minicnn.data.skipped import total
from minicnn.errors import InputError
from minicnn.progress import Progress

UNREADABLE = "image cannot be read"
TURNED = "images turned by EXIF whose annotations have the stored size, boxes turned with them"
JPEG_START = b"\xff\xd8\xff"


def check_image_files(data: AnnotatedImages) -> AnnotatedImages:
    """Open every image of a data set.

    An image turned by its EXIF orientation is read upright. Where its annotation has the size it is stored in, the tool saw the stored
    pixels, and the boxes are turned with it. Of a square image, and of one that is mirrored or turned by 180 degrees, the sizes do not
    tell: its boxes are taken as drawn on the upright image, which browsers and most tools show.

    Args:
        data: a split, as ``load_annotated`` returns it; it stays as it is.

    Returns:
        checked: without the images that are missing, damaged, or of another size than in their annotations, which are noted in
        ``problems`` and ``skipped``; boxes of turned images are counted in ``normalised``.
    """
    checked = replace(data, images=[], problems=list(data.problems), skipped=total([data.skipped]), normalised=dict(data.normalised),
                      checked=True)
    with Progress(len(data.images), "checking images") as bar:
        for image in data.images:
            try:
                upright = fitted(image, *size_of(image.path))
            except InputError as error:
                checked.skip_image(str(error), UNREADABLE)
            else:
                checked.images.append(upright)
                checked.normalise(TURNED, upright is not image)
            bar.update(1)
    return checked


def turn_upright(data: AnnotatedImages) -> AnnotatedImages:
    """The data set with boxes turned as by ``check_image_files``, for detections in files, which count upright pixels.

    An image that is missing or damaged stays as it is.
    """
    turned = replace(data, images=[], normalised=dict(data.normalised))
    for image in data.images:
        turn, stored = orientation(image.path)
        is_stored = turn >= 5 and image.height != image.width and stored == (image.height, image.width)
        turned.images.append(turned_upright(image, turn) if is_stored else image)
        turned.normalise(TURNED, is_stored)
    return turned


def size_of(path):
    """(height, width) of a file, upright; raises InputError if it cannot be decoded."""
    try:
        with open(path, "rb") as file:
            if file.read(len(JPEG_START)) == JPEG_START:
                file.seek(0)
                with decoding(path), open_with_pillow(file, MAX_PIXELS) as image:
                    width, height = image.size
                    if image.format in ("JPEG", "MPO") and width * height <= MAX_PIXELS:
                        turn = orientation_of(image)
                        image.draft(None, (width // 8, height // 8))
                        image.load()
                        return (width, height) if turn >= 5 else (height, width)
    except (ImportError, OSError, InputError):                      # reported by the reading that follows
        pass
    read = read_reduced(path)
    return read.height, read.width


def fitted(image, height, width):
    """The ``AnnotatedImage`` of a file of that upright size: its boxes turned if it was annotated as it is stored.

    Raises:
        InputError: its annotation has another size.
    """
    if (height, width) == (image.height, image.width):
        return image
    turn, stored = orientation(image.path)
    if turn >= 5 and stored == (image.height, image.width):
        return turned_upright(image, turn)
    turned = f", as its EXIF orientation {turn} turns them" * (turn > 1)
    raise InputError(f"got {image.path} of {width} x {height} pixels{turned}, expected {image.width} x {image.height} as in its "
                     "annotation. Correct one of them.")


def turned_upright(image: AnnotatedImage, turn: int) -> AnnotatedImage:
    """An ``AnnotatedImage`` in pixels of the stored image, in those of the upright one; turn: EXIF's orientation, 5 to 8."""
    x1, y1, x2, y2 = image.boxes.T
    x, y = (y1, y2), (x1, x2)
    if turn in (6, 7):
        x = image.height - y2, image.height - y1
    if turn in (7, 8):
        y = image.width - x2, image.width - x1
    boxes = np.stack([x[0], y[0], x[1], y[1]], axis=1).astype(np.float32)
    return replace(image, height=image.width, width=image.height, boxes=boxes)


def orientation(path):
    """(EXIF's orientation, (height, width) as stored) of a file; (1, None) where there is none or it cannot be opened."""
    try:
        from PIL import Image
        if not os.path.isfile(path):
            return 1, None
        with decoding(path), Image.open(path) as image:
            return orientation_of(image), (image.height, image.width)
    except (ImportError, InputError):
        return 1, None


def orientation_of(image):
    """EXIF's orientation of a Pillow image, 1 to 8."""
    try:
        turn = image.getexif().get(ORIENTATION)
    except Exception:                                               # damaged EXIF data in an image that can be read
        return 1
    return turn if turn in range(1, 9) else 1

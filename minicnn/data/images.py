"""Read and write images: a file, a Pillow image or an array becomes RGB.

``.npy`` files and binary PPM and PGM are read by NumPy alone, all others by Pillow, which is imported only then. Image files are
converted to 8 bits per channel; arrays, also from ``.npy``, keep their precision. Transparent pixels are composited on white, the
background for which drawings are made and on which browsers show them.
"""

import contextlib
import glob
import os
import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.data.array_files import MAX_PIXELS, check_dtype, layout, oversized, read_netpbm, read_npy, scaled
from minicnn.errors import InputError
from minicnn.files import atomic_write

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".npy")
JPEG_QUALITY = 92
NPY_MAGIC = b"\x93NUMPY"
ORIENTATION = 0x0112            # number of the EXIF tag, whose value says how to turn the image upright:
TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}

ImageLike = Any                 # what as_values takes: a path, a Pillow image or an array


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file.

    Args:
        path: an image file. It is turned upright by its EXIF orientation; of several frames the first is taken.

    Returns:
        image: (H, W, 3) uint8, RGB.

    Raises:
        InputError: the file is missing, damaged, not an image, or has more than ``MAX_PIXELS``.
    """
    return to_bytes(read_values(path))


def as_image(value: ImageLike) -> np.ndarray:
    """Convert an image to (H, W, 3) uint8, for drawing and saving; ``value`` is as for ``as_values``.

    >>> as_image(np.array([[0.0, 0.5, 1.0]])).tolist()
    [[[0, 0, 0], [128, 128, 128], [255, 255, 255]]]
    """
    return to_bytes(as_values(value))


def as_input(value: ImageLike) -> np.ndarray:
    """Convert an image to (3, H, W) float32 in [0, 1], the input of networks; ``value`` is as for ``as_values``.

    >>> x = as_input(np.full((4, 6), 255, np.uint8))
    >>> x.shape, float(x.max())
    ((3, 4, 6), 1.0)
    """
    values = as_values(value)
    x = values.transpose(2, 0, 1).astype(np.float32, order="C")
    if values.dtype == np.uint8:
        x /= 255                # a division, as in torchvision: a product with 1/255 differs in the last bit
    return x


def as_values(value: ImageLike) -> np.ndarray:
    """Convert an image to RGB values, without loss of precision.

    Args:
        value: a path; a Pillow image, which is not turned by its EXIF orientation (that would change the caller's coordinates); or
            an array (H, W), (H, W, 1), (H, W, 3), (H, W, 4) or, if the last axis has none of these sizes, (3, H, W), of uint8,
            uint16 (white is 65535), bool, or floats in [0, 1].

    Returns:
        values: (H, W, 3), uint8, or float32 in [0, 1] if value is an array of floats or uint16; may share the array's memory.

    Raises:
        InputError: the value is none of these, is empty, or has NaN or numbers out of range.
    """
    if isinstance(value, (str, os.PathLike)):
        return read_values(value)
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(value, pillow.Image):
        with decoding("a Pillow image"):
            return from_pillow(value, "a Pillow image")
    if not hasattr(value, "__array__"):
        raise InputError(f"got a {type(value).__name__} for an image, expected a path, a Pillow image or an array. Give one of them.")
    return from_array(np.asarray(value), "an array")


def find_images(arguments: Iterable[str | Path]) -> list[Path]:
    """Find the image files that a command's arguments name.

    Args:
        arguments: paths of files, of folders (the files directly in them that have an image's suffix, sorted), and patterns such as
            ``shots/*.png``.

    Returns:
        paths: each file once, in the arguments' order, files that do not exist included: ``read_image`` reports them.

    Raises:
        InputError: a folder or a pattern yields no image, or a folder cannot be read.
    """
    paths: dict[str, Path] = {}
    for argument in map(str, arguments):
        if os.path.isdir(argument):
            found = images_in(argument)
        elif not os.path.exists(argument) and glob.has_magic(argument):
            found = [Path(path) for path in sorted(glob.glob(argument, recursive=True)) if os.path.isfile(path)]
        else:
            found = [Path(argument)]
        if not found:
            raise InputError(f"got {argument}, which has no images, expected some ({' '.join(SUFFIXES)}). Check the path.")
        for path in found:
            paths.setdefault(os.path.abspath(path), path)
    return list(paths.values())


def images_in(folder):
    """The image files directly in a folder, sorted; hidden ones are left out."""
    try:
        return sorted(path for path in Path(folder).iterdir()
                      if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file())
    except OSError as error:
        raise InputError(f"got the folder {folder}, which cannot be read ({error.strerror}), expected one of images. Check its "
                         "permissions.") from error


def write_image(path: str | Path, image: ImageLike) -> None:
    """Write an image file, whole or not at all.

    Args:
        path: ends in .jpg, .jpeg, .png, or .ppm, which needs no Pillow.
        image: as for ``as_values``.

    Raises:
        InputError: another suffix, or a path that cannot be written.
    """
    suffix = Path(path).suffix.lower()
    options: dict[str, dict[str, Any]] = {".jpg": {"format": "JPEG", "quality": JPEG_QUALITY},
                                          ".jpeg": {"format": "JPEG", "quality": JPEG_QUALITY}, ".png": {"format": "PNG"}, ".ppm": {}}
    if suffix not in options:
        raise InputError(f"got {path} to write an image to, expected a name that ends in {', '.join(options)}. Change its suffix.")
    pixels = np.ascontiguousarray(as_image(image))
    encoder = None if suffix == ".ppm" else import_pillow(f"writing {path}").fromarray(pixels)
    with atomic_write(path) as file:
        if encoder is None:
            file.write(b"P6\n%d %d\n255\n" % pixels.shape[1::-1] + pixels.tobytes())
        else:
            encoder.save(file, **options[suffix])


def read_values(path):
    """Read a file as ``as_values`` returns it; its format follows from its first bytes, not from its name."""
    if not os.path.isfile(path):
        got = f"{path}, a folder" if os.path.isdir(path) else f"{path}, which does not exist"
        raise InputError(f"got {got}, expected an image. Check the path.")
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            file.seek(0)
            if not start:
                raise InputError(f"got {path}, an empty file, expected an image. Download it again.")
            if start.startswith(NPY_MAGIC):
                return from_array(read_npy(file, path), path)
            if re.match(rb"P[56][\s#]", start):
                return from_array(read_netpbm(file, path), path)
            image_module = import_pillow(f"reading {path}")
            with decoding(path), image_module.open(file) as image:
                if image.format == "EPS":                           # which Pillow would run by Ghostscript
                    raise InputError(f"got {path}, a PostScript program, expected an image. Convert it to PNG.")
                return from_pillow(image, path, upright=True)
    except OSError as error:
        raise InputError(f"got {path}, which cannot be read ({error.strerror or error}), expected an image. Check the file.") from error


def import_pillow(purpose):
    """Import PIL.Image; raises InputError that names the ``purpose`` if Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError(f"got no Pillow, expected it for {purpose}. Install it (pip install pillow); only .npy and binary PPM files can "
                         "be read without it.") from error
    return Image


@contextlib.contextmanager
def decoding(name):
    """Turn any error of Pillow about a file into an InputError, and ignore its warnings about readable files."""
    from PIL import Image
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise oversized(name, "far too many") from error
    except Image.UnidentifiedImageError as error:
        raise InputError(f"got {name}, which Pillow does not recognise as an image, expected JPEG, PNG or another. Check "
                         "the file.") from error
    except Exception as error:                                      # decoders raise all kinds of errors on damaged files
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"got {name}, which cannot be decoded ({text}), expected a whole image. Download it again.") from error


def from_pillow(image, name, upright=False):
    """Convert a Pillow image to (H, W, 3) uint8; its size is checked before it is decoded."""
    from PIL import Image
    if image.width * image.height > MAX_PIXELS:
        raise oversized(name, f"{image.width} x {image.height}")
    image.load()
    if upright:
        try:
            turn = TURNS.get(image.getexif().get(ORIENTATION))
        except Exception:                                           # damaged EXIF data in an image that can be read
            turn = None
        if turn:
            image = image.transpose(Image.Transpose[turn])
    if image.mode.startswith("I;16"):
        pixels = scaled(np.asarray(image), 65535)
    elif image.mode in ("I", "F"):
        pixels = guess_white(np.asarray(image), name)
    else:
        pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    return from_array(pixels, name)


def guess_white(values, name):
    """Numbers of an unknown range -> uint8: white is 1 or 255 for floats, 65535 for integers, or else the largest value."""
    if not np.isfinite(values).all():
        raise InputError(f"got {name} with NaN or infinity, expected finite pixels. Replace them first.")
    largest, usual = float(values.max()), (1, 255) if values.dtype.kind == "f" else (65535,)
    white = next((white for white in usual if largest <= white), largest)
    return np.rint(np.clip(values, 0, None) * (255 / white)).astype(np.uint8)


def from_array(array, name):
    """Convert an array as ``as_values`` does; ``name`` is what error messages call it."""
    check_dtype(array.dtype, name)
    if layout(array.shape, name)[2]:
        array = array.transpose(1, 2, 0)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.itemsize == 2 and array.dtype.kind == "u":
        array = array.astype(np.float32) / 65535
    elif array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):             # false for NaN, too
            raise InputError(f"got {name} of {array.dtype} values from {array.min():.6g} to {array.max():.6g}, expected 0 to 1. "
                             "If they are 0..255, divide by 255.")
        array = array.astype(np.float32, copy=False)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] == 4:
        return over_white(array)
    return array if array.shape[2] == 3 else np.repeat(array, 3, axis=2)


def over_white(array):
    """Composite (H, W, 4), alpha last, on white: (H, W, 3)."""
    colour, alpha = array[:, :, :3], array[:, :, 3:]
    if array.dtype == np.uint8:
        alpha = alpha.astype(np.uint16)                             # 255 * 255 + 127 fits
        return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return colour * alpha + (1 - alpha)


def to_bytes(values):
    """RGB values of ``as_values`` -> uint8."""
    return values if values.dtype == np.uint8 else np.rint(values * np.float32(255)).astype(np.uint8)

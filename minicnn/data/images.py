"""Read and write images: a file, a Pillow image or an array becomes RGB.

``.npy`` files and binary PPM and PGM are read by NumPy alone, all others by Pillow, which is imported only then. Image files are
converted to 8 bits per channel; arrays, also from ``.npy``, keep their precision. Transparent pixels are composited on white, the
background for which drawings are made and on which browsers show them.
"""

import contextlib
import os
import re
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.data.array_files import check_dtype, layout, oversized, read_netpbm, read_npy, scaled
from minicnn.data.image_files import RAW, UNREADABLE, suffix_of
from minicnn.data.reduction import LARGEST, LARGEST_WHOLE, MAX_PIXELS, ReadImage, block_means, reduce_strips, reduction
from minicnn.errors import InputError
from minicnn.files import atomic_write
from minicnn.forked import released

JPEG_QUALITY = 92
NPY_MAGIC = b"\x93NUMPY"
ORIENTATION = 0x0112            # number of the EXIF tag, whose value says how to turn the image upright:
TURNS = {2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1], 5: lambda a: a.swapaxes(0, 1),
         6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: lambda a: np.rot90(a)}
PILLOW = released(threading.Lock())       # while Pillow's own limit is lifted

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
    return to_bytes(read_file(path, MAX_PIXELS).values)


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
    return read_any(value, MAX_PIXELS).values


def read_reduced(value: ImageLike) -> ReadImage:
    """Convert an image as ``as_values`` does; a file or Pillow image of more than ``MAX_PIXELS`` is reduced rather than refused.

    Args:
        value: as for ``as_values``.

    Returns:
        read: its ``values``, its size before the reduction, and the factor.

    Raises:
        InputError: as for ``as_values``; or it has more than ``LARGEST`` pixels, or ``LARGEST_WHOLE`` in a format that cannot be decoded
            in parts, which are all but JPEG without progression, PPM and ``.npy``.
    """
    return read_any(value, LARGEST)


def read_any(value, most):
    """The ``ReadImage`` of anything that is an image of at most ``most`` pixels."""
    if isinstance(value, (str, os.PathLike)):
        return read_file(value, most)
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(value, pillow.Image):
        with decoding("a Pillow image"):
            return from_pillow(value, "a Pillow image", most)
    if not hasattr(value, "__array__"):
        raise InputError(f"got a {type(value).__name__} for an image, expected a path, a Pillow image or an array. Give one of them.")
    values = from_array(as_array(value), "an array")
    return ReadImage(values, *values.shape[:2])


def as_array(value):
    """The NumPy array of anything that says it is one, such as a tensor of torch.

    Raises:
        InputError: it is none: a tensor with a gradient, on a GPU, sparse, or of a dtype that NumPy lacks.
    """
    try:
        return np.asarray(value)
    except Exception as error:                                      # whatever the other library raises
        raise InputError(f"got a {type(value).__name__} that NumPy cannot read ({' '.join(str(error).split())[:200]}), expected an array. "
                         "Convert it first: a tensor by .detach().cpu().float().numpy().") from error


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


def read_file(path, most):
    """The ``ReadImage`` of a file of at most ``most`` pixels; its format follows from its first bytes, not from its name."""
    if not os.path.isfile(path):
        raise InputError(f"got {path}, {what_it_is(path)}, expected an image. Check the path.")
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            file.seek(0)
            if not start:
                raise InputError(f"got {path}, an empty file, expected an image. Download it again.")
            if start.startswith(NPY_MAGIC):
                return from_stored(path, read_npy(file, path, most))
            if re.match(rb"P[56][\s#]", start):
                return from_stored(path, *read_netpbm(file, path, most))
            import_pillow(f"reading {path}")
            with decoding(path), open_with_pillow(file, most) as image:
                if image.format == "EPS":                           # which Pillow would run by Ghostscript
                    raise InputError(f"got {path}, a PostScript program, expected an image. Convert it to PNG.")
                if image.format == "TIFF" and suffix_of(path) in RAW:           # as which Pillow would read the preview in it
                    raise undeveloped(path)
                return from_pillow(image, path, most, upright=True)
    except OSError as error:
        raise InputError(f"got {path}, which cannot be read ({error.strerror or error}), expected an image. Check the file.") from error


def what_it_is(path):
    """What a path is that is no regular file."""
    if os.path.isdir(path):
        return "a folder"
    try:
        target = os.readlink(path)
    except (OSError, ValueError):
        return "which is no regular file" if os.path.lexists(path) else "which does not exist"
    return f"a link to {target}, {'which is no regular file' if os.path.exists(path) else 'which does not exist'}"


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
        if suffix_of(name) in {*UNREADABLE, ".avif"}:             # which Pillow reads since 11.3
            raise undeveloped(name) from error
        raise InputError(f"got {name}, which Pillow does not recognise as an image, expected JPEG, PNG or another. Check "
                         "the file.") from error
    except MemoryError as error:
        raise InputError(f"got {name}, which takes more memory than there is, expected a smaller image. Resize it first.") from error
    except Exception as error:                                      # decoders raise all kinds of errors on damaged files
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"got {name}, which cannot be decoded ({text}), expected a whole image. Download it again.") from error


def undeveloped(path):
    """The InputError for a camera's file that Pillow cannot read."""
    kind = "a camera's raw file" if suffix_of(path) in RAW else f"an image in {suffix_of(path)[1:].upper()}"
    return InputError(f"got {path}, {kind}, which Pillow cannot read, expected JPEG, PNG or another. Convert it to JPEG.")


def open_with_pillow(file, most):
    """PIL.Image.open. If more than ``MAX_PIXELS`` are welcome, Pillow's own limit is lifted: nothing is decoded before ours is checked."""
    from PIL import Image
    if most <= MAX_PIXELS:
        return Image.open(file)
    with PILLOW:
        own, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = own


def from_pillow(image, name, most, upright=False):
    """The ``ReadImage`` of a Pillow image, its values uint8; its size is checked before it is decoded. ``upright``: turn it by its EXIF."""
    width, height = image.size
    in_parts = upright and image.format in ("JPEG", "MPO") and "progressive" not in image.info     # else all coefficients are kept
    most = most if in_parts else min(most, LARGEST_WHOLE)
    if width * height > most:
        raise oversized(name, f"{width} x {height}", most)
    factor = reduction(height, width)
    # JPEG alone has a draft; upright: it was opened here, the caller's image stays as it is
    drafted = factor > 1 and upright and image.draft(None, (width // factor, height // factor))
    image.load()
    if not drafted:
        width, height = image.size                                  # a TIFF is turned upright by Pillow, when it is loaded at the latest
    pixels = pillow_values(image, name, 1 if drafted else factor)
    try:
        turn = image.getexif().get(ORIENTATION) if upright and image.format != "TIFF" else None
    except Exception:                                               # damaged EXIF data in an image that can be read
        turn = None
    if turn in TURNS:
        pixels = np.ascontiguousarray(TURNS[turn](pixels))
        width, height = (height, width) if turn >= 5 else (width, height)
    return ReadImage(pixels, height, width, factor)


def pillow_values(image, name, factor):
    """The pixels of a Pillow image, reduced by a factor: (H, W, 3) uint8."""
    if image.mode in ("I", "F"):
        values = np.asarray(image)
        if factor > 1:                                              # their range is the whole image's
            means = block_means(values[:, :, None], factor)[:, :, 0]
            values = means if image.mode == "F" else np.rint(means).astype(values.dtype)
        return from_array(guess_white(values, name), name)

    def converted(part):
        if part.mode.startswith("I;16"):
            return from_array(scaled(np.asarray(part), 65535), name)
        return from_array(np.asarray(part.convert("RGBA" if is_transparent(part) else "RGB")), name)
    if factor == 1:
        return converted(image)
    return reduce_strips(lambda top, bottom: converted(image.crop((0, top, image.width, bottom))), image.height, image.width, factor)


def is_transparent(image):
    """Whether a Pillow image has transparent pixels: what Pillow 10.1 calls ``has_transparency_data``."""
    return (image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
            or image.mode == "P" and image.palette.mode.endswith("A"))


def from_stored(path, array, white=255):
    """The ``ReadImage`` of an array in a file, which is read strip by strip if it is large; ``white``: its largest value, of a PPM."""
    height, width, first = layout(array.shape, path)
    if first:
        array = array.transpose(1, 2, 0)

    def converted(part):
        return from_array(part if white == 255 else scaled(part, white), path)
    factor = reduction(height, width)
    values = converted(array) if factor == 1 else reduce_strips(lambda top, bottom: converted(array[top:bottom]), height, width, factor)
    return ReadImage(values, height, width, factor)


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

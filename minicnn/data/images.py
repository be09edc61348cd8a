"""Images: whatever the user gives (a file, a Pillow image, an array) becomes sane RGB.

``.npy`` files and binary PPM and PGM are read by NumPy alone, all others by Pillow, which is imported only then. An image file gives
8 bits a channel; arrays, and so ``.npy``, keep their precision. What is transparent is laid over white, the paper that drawings with
holes are made for and browsers show them on.
"""

import contextlib
import glob
import math
import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np

from minicnn.errors import InputError
from minicnn.files import atomic_write

MAX_PIXELS = 50_000_000         # a phone's largest; as float32 they are 600 MB
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".npy")
JPEG_QUALITY = 92
NPY_MAGIC = b"\x93NUMPY"
NETPBM_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"                                    # white space and comments
NETPBM_HEADER = re.compile(rb"P([56])" + 3 * (NETPBM_GAP + rb"(\d{1,9})") + rb"\s")
NETPBM_HEADER_BYTES = 2**16
ORIENTATION = 0x0112            # the number of its EXIF tag; by its value, how to turn the image upright:
TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}


def read_image(path):
    """Read an image file.

    Args:
        path: an image file, upright by its EXIF orientation; of several frames the first is taken.

    Returns:
        image: (H, W, 3) uint8, RGB.

    Raises:
        InputError: the file is missing, damaged, no image, or of more than ``MAX_PIXELS``.
    """
    return to_bytes(read_values(path))


def as_image(value):
    """Anything ``as_values`` takes -> (H, W, 3) uint8, to draw on."""
    return to_bytes(as_values(value))


def as_input(value):
    """Anything ``as_values`` takes -> (3, H, W) float32 in [0, 1], to compute with."""
    values = as_values(value)
    x = values.transpose(2, 0, 1).astype(np.float32, order="C")
    if values.dtype == np.uint8:
        x /= 255                # divided, as torchvision does: times 1/255 gives other last bits
    return x


def as_values(value):
    """An image as exact as it was given.

    Args:
        value: a path; a Pillow image, whose pixels are taken as they lie (EXIF would turn the caller's coordinates); or an array
            (H, W), (H, W, 1), (H, W, 3), (H, W, 4) or, where the last side is none of these, (3, H, W): uint8, uint16 (white is
            65535), bool, or floating in [0, 1].

    Returns:
        values: (H, W, 3), uint8, or float32 in [0, 1] if value was an array of floats or uint16; may share the array's memory.

    Raises:
        InputError: it is none of these, or has NaN, other numbers, or a side of no pixels.
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


def find_images(arguments):
    """The files meant by a command's arguments.

    Args:
        arguments: paths of files, of folders (all files with an image's suffix in them, sorted, not those of folders below), and
            patterns such as ``shots/*.png``.

    Returns:
        paths: list of Path, each file once, in the arguments' order; a missing file is among them, for ``read_image`` to refuse.

    Raises:
        InputError: a folder or a pattern has no image, or the folder cannot be read.
    """
    paths = {}
    for argument in map(str, arguments):
        if os.path.isdir(argument):
            found = images_in(argument)
        elif not os.path.exists(argument) and glob.has_magic(argument):
            found = [Path(path) for path in sorted(glob.glob(argument, recursive=True)) if os.path.isfile(path)]
        else:
            found = [Path(argument)]
        if not found:
            raise InputError(f"got {argument}, where no image is, expected some ({' '.join(SUFFIXES)}). Check the path.")
        for path in found:
            paths.setdefault(os.path.abspath(path), path)
    return list(paths.values())


def images_in(folder):
    try:
        return sorted(path for path in Path(folder).iterdir()
                      if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file())
    except OSError as error:
        raise InputError(f"got the folder {folder}, which cannot be read ({error.strerror}), expected one of images. Check its "
                         "permissions.") from error


def write_image(path, image):
    """Write an image whole or not at all.

    Args:
        path: ends in .jpg, .jpeg, .png, or .ppm, which needs no Pillow.
        image: anything ``as_image`` takes.

    Raises:
        InputError: another suffix, or the place cannot be written.
    """
    suffix = Path(path).suffix.lower()
    options = {".jpg": {"format": "JPEG", "quality": JPEG_QUALITY}, ".jpeg": {"format": "JPEG", "quality": JPEG_QUALITY},
               ".png": {"format": "PNG"}, ".ppm": None}
    if suffix not in options:
        raise InputError(f"got {path} to write an image to, expected a name in {', '.join(options)}. Change its end.")
    pixels = np.ascontiguousarray(as_image(image))
    encoder = None if suffix == ".ppm" else import_pillow(f"writing {path}").fromarray(pixels)
    with atomic_write(path) as file:
        if encoder is None:
            file.write(b"P6\n%d %d\n255\n" % pixels.shape[1::-1] + pixels.tobytes())
        else:
            encoder.save(file, **options[suffix])


def read_values(path):
    """A file as ``as_values`` gives it; its first bytes, not its name, say what it is."""
    if not os.path.isfile(path):
        got = f"{path}, a folder" if os.path.isdir(path) else f"{path}, where no file is"
        raise InputError(f"got {got}, expected an image. Check the path.")
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            file.seek(0)
            if not start:
                raise InputError(f"got {path}, an empty file, expected an image. Fetch it again.")
            if start.startswith(NPY_MAGIC):
                return from_array(read_npy(file, path), path)
            if re.match(rb"P[56][\s#]", start):
                return from_array(read_netpbm(file, path), path)
            image_module = import_pillow(f"reading {path}")
            with decoding(path), image_module.open(file) as image:
                if image.format == "EPS":                           # Pillow would run Ghostscript on it
                    raise InputError(f"got {path}, a PostScript program, expected an image. Convert it to PNG.")
                return from_pillow(image, path, upright=True)
    except OSError as error:
        raise InputError(f"got {path}, which cannot be read ({error.strerror or error}), expected an image. Check the file.") from error


def import_pillow(purpose):
    """The module PIL.Image; purpose: what a message says it is for."""
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError(f"got no Pillow, expected it for {purpose}. Install it (pip install pillow); only .npy and binary PPM files are "
                         "read without.") from error
    return Image


@contextlib.contextmanager
def decoding(name):
    """Whatever Pillow says of a file becomes one InputError; its warnings, about what is odd but readable, are dropped."""
    from PIL import Image
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise oversized(name, "far more") from error
    except Image.UnidentifiedImageError as error:
        raise InputError(f"got {name}, which is no image that Pillow knows, expected one such as JPEG or PNG. Check the file.") from error
    except Exception as error:                                      # decoders fail in many ways on damaged files
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"got {name}, which cannot be decoded ({text}), expected a whole image. Fetch it again.") from error


def oversized(name, pixels):
    return InputError(f"got {name} of {pixels} pixels, expected at most {MAX_PIXELS}. Make it smaller first.")


def from_pillow(image, name, upright=False):
    """A Pillow image as (H, W, 3) uint8, judged by its header before it is decoded."""
    from PIL import Image
    if image.width * image.height > MAX_PIXELS:
        raise oversized(name, f"{image.width} x {image.height}")
    image.load()
    if upright:
        try:
            turn = TURNS.get(image.getexif().get(ORIENTATION))
        except Exception:                                           # damaged EXIF in a sound image
            turn = None
        if turn:
            image = image.transpose(Image.Transpose[turn])
    if image.mode.startswith("I;16"):
        pixels = scaled(np.asarray(image), 65535)
    elif image.mode in ("I", "F"):
        pixels = gauged(np.asarray(image), name)
    else:
        pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    return from_array(pixels, name)


def gauged(values, name):
    """Numbers whose file does not say what is white -> uint8: white is 1 or 255 for floats, 65535 for integers, or the largest."""
    if not np.isfinite(values).all():
        raise InputError(f"got {name} with NaN or infinity, expected finite pixels. Mend it first.")
    largest, usual = float(values.max()), (1, 255) if values.dtype.kind == "f" else (65535,)
    white = next((white for white in usual if largest <= white), largest)
    return np.rint(np.clip(values, 0, None) * (255 / white)).astype(np.uint8)


def scaled(values, white):
    """Integers from 0 to ``white`` -> uint8, rounded; what exceeds white is white."""
    steps = np.arange(white + 1)
    return ((2 * 255 * steps + white) // (2 * white)).astype(np.uint8)[np.minimum(values, white)]


def read_netpbm(file, path):
    """Binary PGM (P5) or PPM (P6) -> (H, W) or (H, W, 3) uint8.

    Reference: Poskanzer, netpbm, the manual pages ppm(5) and pgm(5).
    """
    header = NETPBM_HEADER.match(file.read(NETPBM_HEADER_BYTES))
    if header is None:
        raise InputError(f"got {path} with a header that cannot be read, expected a PPM's: P6 WIDTH HEIGHT MAXIMUM. Make it again.")
    kind, width, height, white = map(int, header.groups())
    if width * height == 0 or not 1 <= white <= 65535:
        raise InputError(f"got {path} of {width} x {height} pixels up to {white}, expected some pixels and 1 to 65535. Make it again.")
    if width * height > MAX_PIXELS:
        raise oversized(path, f"{width} x {height}")
    dtype = np.dtype(np.uint8 if white < 256 else ">u2")
    shape = (height, width, 3) if kind == 6 else (height, width)
    size = math.prod(shape) * dtype.itemsize
    file.seek(header.end())
    data = file.read(size)
    if len(data) < size:
        raise InputError(f"got {len(data)} bytes of pixels in {path}, expected {size} as its header says. Fetch it again.")
    values = np.frombuffer(data, dtype).reshape(shape)
    return values if white == 255 else scaled(values, white)


def read_npy(file, path):
    """The array of a ``.npy`` file, after its header has been held against the file's size: no size can be claimed, nothing unpickled."""
    try:
        version = np.lib.format.read_magic(file)
        read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[version[0]]
        shape, _, dtype = read_header(file)
    except Exception as error:                                      # NumPy evaluates the text of the header, which fails in many ways
        raise InputError(f"got {path} with a header that cannot be read ({type(error).__name__}), expected an array's. "
                         "Save it with numpy.save.") from error
    check_dtype(dtype, path)
    height, width, _ = layout(shape, path)
    if height * width > MAX_PIXELS:
        raise oversized(path, f"{width} x {height}")
    size, expected = os.fstat(file.fileno()).st_size - file.tell(), math.prod(shape) * dtype.itemsize
    if size != expected:
        raise InputError(f"got {size} bytes for the {shape} {dtype} values of {path}, expected {expected}. The file is damaged.")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def check_dtype(dtype, name):
    if dtype.kind not in "bf" and (dtype.kind != "u" or dtype.itemsize > 2):
        raise InputError(f"got {name} of {dtype}, expected uint8, uint16, bool, or floating in 0..1. Convert it, such as "
                         "with .astype(numpy.uint8).")


def layout(shape, name):
    """(H, W, channels first?) of an array of that shape."""
    if len(shape) == 2 or len(shape) == 3 and shape[2] in (1, 3, 4):
        height, width, first = *shape[:2], False
    elif len(shape) == 3 and shape[0] == 3:
        height, width, first = *shape[1:], True
    else:
        raise InputError(f"got {name} of shape {tuple(shape)}, expected one image (H, W), (H, W, 1 or 3 or 4) or (3, H, W). "
                         "Transpose it, or give several as a list.")
    if height < 1 or width < 1:
        raise InputError(f"got {name} of shape {tuple(shape)}, expected an image with pixels. Give another.")
    return height, width, first


def from_array(array, name):
    """What ``as_values`` says of arrays; name: what to call it in a message."""
    check_dtype(array.dtype, name)
    if layout(array.shape, name)[2]:
        array = array.transpose(1, 2, 0)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.itemsize == 2 and array.dtype.kind == "u":
        array = array.astype(np.float32) / 65535
    elif array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):             # false for NaN too
            raise InputError(f"got {name} of {array.dtype} values from {array.min():.6g} to {array.max():.6g}, expected 0 to 1. "
                             "If they are 0..255, divide by 255.")
        array = array.astype(np.float32, copy=False)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] == 4:
        return over_white(array)
    return array if array.shape[2] == 3 else np.repeat(array, 3, axis=2)


def over_white(array):
    """(H, W, 4), alpha last -> (H, W, 3), laid over white."""
    colour, alpha = array[:, :, :3], array[:, :, 3:]
    if array.dtype == np.uint8:
        alpha = alpha.astype(np.uint16)                             # 255 * 255 + 127 fits
        return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return colour * alpha + (1 - alpha)


def to_bytes(values):
    return values if values.dtype == np.uint8 else np.rint(values * np.float32(255)).astype(np.uint8)

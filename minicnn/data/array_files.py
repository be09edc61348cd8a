"""Image files that NumPy alone reads, .npy and binary PPM and PGM, and the checks of arrays as images."""

import math
import os
import re

import numpy as np

from minicnn.data.reduction import MAX_PIXELS
from minicnn.errors import InputError

NETPBM_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"                                    # white space and comments
NETPBM_HEADER = re.compile(rb"P([56])" + 3 * (NETPBM_GAP + rb"(\d{1,9})") + rb"\s")
NETPBM_HEADER_BYTES = 2**16


def read_netpbm(file, path, most=MAX_PIXELS):
    """Binary PGM (P5) or PPM (P6) of at most ``most`` pixels; of more than ``MAX_PIXELS`` it stays on the disk.

    Returns:
        values: (H, W) or (H, W, 3), uint8 or uint16.
        white: the largest value.

    Reference: Poskanzer, netpbm, the manual pages ppm(5) and pgm(5).
    """
    header = NETPBM_HEADER.match(file.read(NETPBM_HEADER_BYTES))
    if header is None:
        raise InputError(f"got {path} with a header that cannot be read, expected a PPM's: P6 WIDTH HEIGHT MAXIMUM. Write it again.")
    kind, width, height, white = map(int, header.groups())
    if width * height == 0 or not 1 <= white <= 65535:
        raise InputError(f"got {path} of {width} x {height} pixels up to {white}, expected some pixels and 1 to 65535. Write it again.")
    if width * height > most:
        raise oversized(path, f"{width} x {height}", most)
    dtype = np.dtype(np.uint8 if white < 256 else ">u2")
    shape = (height, width, 3) if kind == 6 else (height, width)
    size = math.prod(shape) * dtype.itemsize
    stored = max(0, os.fstat(file.fileno()).st_size - header.end())
    if stored < size:
        raise InputError(f"got {stored} bytes of pixels in {path}, expected {size} as its header says. Download it again.")
    if width * height > MAX_PIXELS:
        return np.memmap(file, dtype, "r", header.end(), shape), white
    file.seek(header.end())
    return np.frombuffer(file.read(size), dtype).reshape(shape), white


def read_npy(file, path, most=MAX_PIXELS):
    """The array of a ``.npy`` file of at most ``most`` pixels; of more than ``MAX_PIXELS`` it stays on the disk.

    Its header is checked against the file's size before memory is allocated, and nothing is unpickled.
    """
    try:
        version = np.lib.format.read_magic(file)
        read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[version[0]]
        shape, _, dtype = read_header(file)
    except Exception as error:                                      # NumPy evaluates the header's text, which raises all kinds of errors
        raise InputError(f"got {path} with a header that cannot be read ({type(error).__name__}), expected an array's. "
                         "Save it with numpy.save.") from error
    check_dtype(dtype, path)
    height, width, _ = layout(shape, path)
    if height * width > most:
        raise oversized(path, f"{width} x {height}", most)
    size, expected = os.fstat(file.fileno()).st_size - file.tell(), math.prod(shape) * dtype.itemsize
    if size != expected:
        raise InputError(f"got {size} bytes for the {shape} {dtype} values of {path}, expected {expected}. The file is damaged.")
    if height * width > MAX_PIXELS:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def check_dtype(dtype, name):
    """Raise InputError unless an array of that dtype can be an image."""
    if dtype.kind not in "bf" and (dtype.kind != "u" or dtype.itemsize > 2):
        raise InputError(f"got {name} of {dtype}, expected uint8, uint16, bool, or floats from 0 to 1. Convert it, for "
                         "example with .astype(numpy.uint8).")


def layout(shape, name):
    """(height, width, whether channels come first) of an image array of that shape."""
    if len(shape) == 2 or len(shape) == 3 and shape[2] in (1, 3, 4):
        (height, width), first = shape[:2], False
    elif len(shape) == 3 and shape[0] == 3:
        (height, width), first = shape[1:], True
    else:
        raise InputError(f"got {name} of shape {tuple(shape)}, expected one image (H, W), (H, W, 1 or 3 or 4) or (3, H, W). "
                         "Transpose it, or give several as a list.")
    if height < 1 or width < 1:
        raise InputError(f"got {name} of shape {tuple(shape)}, expected an image with pixels. Give another.")
    return height, width, first


def scaled(values, white):
    """Integers from 0 to ``white`` -> uint8, rounded; larger ones become 255."""
    steps = np.arange(white + 1)
    return ((2 * 255 * steps + white) // (2 * white)).astype(np.uint8)[np.minimum(values, white)]


def oversized(name, pixels, most=MAX_PIXELS):
    """The InputError for an image of too many pixels."""
    return InputError(f"got {name} of {pixels} pixels, expected at most {most}. Resize it first.")

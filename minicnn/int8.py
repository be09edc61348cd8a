"""Weights as 8-bit integers: blocks of 128 along a row, each with one float32 scale, so that a file takes 26 % of its float32 size.

A row is what makes one output: a weight (O, ...) has O rows of M = I KH KW / groups numbers, and ceil(M / 128) blocks a row, of which the
last may be shorter. A number w of a block becomes q = round(w / scale), an integer from -127 to 127, and is read back as q scale.
|w - q scale| is at most scale / 2. Computation stays in float32.

The scale is max |w| / 127, rounded to 16 binary digits: then q scale is exact in float32, and encoding again what was decoded gives the
same bytes. Nothing is clipped: on a VGG16 detector clipping at 0.99 max |w| makes the squared error of a block 1.14 times as large, at 0.95
5 times, and the best of nine scales within half a step makes it 0.96 times as large for ten times the work.

In an archive the integers stand under the weight's name, the scales (O, ceil(M / 128)) under the same with ``.scale`` behind it.

Reference: Dettmers, Lewis, Shleifer, Zettlemoyer, 8-bit optimizers via block-wise quantization (2022), section 2; differs: evenly spaced
values, and blocks that end with their row.
"""

import math

import numpy as np

from minicnn.errors import InputError

BLOCK = 128
LARGEST = 127                   # -128 is left out, so that the range is symmetric
SUFFIX = ".scale"
SCALES = (2.0**-126, 2.0**120)  # least and largest: normal numbers, and 127 scale stays below float32's largest, 2**128
DROPPED = 8                     # of a float32's 24 binary digits


def encode(name: str, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A weight as integers and scales.

    Args:
        name: of the array, for the message. weight: (O, ...) float32.

    Returns:
        values: (O, ...) int8, -127 to 127; scales: (O, ceil(M / 128)) float32, positive.

    Raises:
        InputError: a value is not finite, or beyond 127 * 2**120.

    >>> values, scales = encode("fc.weight", np.float32([[127, -63.4, 0.25]]))
    >>> values.tolist(), scales.tolist()
    ([[127, -63, 0]], [[1.0]])
    """
    rows = weight.reshape(len(weight), math.prod(weight.shape[1:]))
    values, scales = np.empty(rows.shape, np.int8), np.empty(scales_shape(weight.shape), np.float32)
    for columns, blocks in parts(rows):
        largest = np.maximum(blocks.max(axis=2), -blocks.min(axis=2))
        if not np.all(largest <= LARGEST * SCALES[1]):
            raise InputError(f"got NaN, infinity or values above {LARGEST * SCALES[1]:g} in {name}, expected less for int8. Use float32.")
        scale = rounded(np.maximum(largest / np.float32(LARGEST), np.float32(SCALES[0])))
        scales[:, columns.start // BLOCK:][:, :scale.shape[1]] = scale
        values[:, columns] = np.rint(blocks / scale[:, :, None]).reshape(len(rows), -1)
    return values.reshape(weight.shape), scales


def decode(values: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The weight (O, ...) float32 that ``encode`` made integers and scales of."""
    rows = values.reshape(len(values), math.prod(values.shape[1:])).astype(np.float32)
    for columns, blocks in parts(rows):
        blocks *= scales[:, columns.start // BLOCK:][:, :blocks.shape[1], None]
    return rows.reshape(values.shape)


def scales_shape(shape):
    """Shape of the scales of a weight's shape."""
    return shape[0], -(-math.prod(shape[1:]) // BLOCK)


def parts(rows):
    """(slice of columns, their view (O, blocks, numbers of a block)): all whole blocks of rows (O, M), then the short last ones."""
    whole = rows.shape[1] // BLOCK * BLOCK
    for start, end, width in ((0, whole, BLOCK), (whole, rows.shape[1], rows.shape[1] - whole)):
        if end > start and len(rows):
            yield slice(start, end), rows[:, start:end].reshape(len(rows), -1, width)


def rounded(x):
    """Positive float32 rounded to 16 binary digits: as integers, whose last digits carry into the exponent."""
    return (x.view(np.uint32) + np.uint32(2**(DROPPED - 1)) & ~np.uint32(2**DROPPED - 1)).view(np.float32)


def encoded(arrays):
    """Arrays of an archive, those of more than one dimension as integers and scales; see the module's text for their names."""
    found = {}
    for name, array in arrays.items():
        found[name] = array
        if array.ndim > 1:
            found[name], found[name + SUFFIX] = encode(name, array)
    return found


def decode_all(arrays):
    """Replace integers and scales among an archive's arrays by the weights, in place; ``Header``s are compared in the same way.

    Raises:
        InputError: integers without scales or the reverse, other shapes or dtypes, -128, or a scale that is not positive and finite.
    """
    for name in [name for name, array in arrays.items() if array.dtype.kind in "iu" or name.endswith(SUFFIX)]:
        weight = name.removesuffix(SUFFIX)
        if missing := {weight, weight + SUFFIX} - arrays.keys():
            raise InputError(f"got {name[:80]} without {missing.pop()[:80]}, expected both. The file is damaged.")
        check(weight, arrays[weight], arrays[weight + SUFFIX])
    for name in [name for name in arrays if name.endswith(SUFFIX)]:
        weight, scales = name.removesuffix(SUFFIX), arrays.pop(name)
        values = arrays[weight]
        arrays[weight] = decode(values, scales) if isinstance(values, np.ndarray) else values.joined(scales)


def check(name, values, scales):
    """Raise InputError unless integers and scales, or their ``Header``s, are those of one weight; see ``decode_all``."""
    if values.dtype != np.int8 or scales.dtype != np.float32 or len(values.shape) < 2 or scales.shape != scales_shape(values.shape):
        raise InputError(f"got {values.dtype} {values.shape} for {name[:80]} with scales {scales.dtype} {scales.shape}, expected int8 "
                         f"(O, ...) and a float32 for each {BLOCK} of a row. The file is damaged.")
    if not isinstance(values, np.ndarray):
        return
    if values.size and values.min() < -LARGEST:
        raise InputError(f"got -128 in {name[:80]}, expected integers from -127 to 127. The file is damaged.")
    if not np.all((scales >= SCALES[0]) & (scales <= SCALES[1])):
        raise InputError(f"got a scale of {name[:80]} that is NaN or not from {SCALES[0]:g} to {SCALES[1]:g}, expected positive numbers. "
                         "The file is damaged.")

"""Tensors as a weight file describes them, and the arrays made from them after every description has been checked.

A storage is a row of numbers; a tensor is a strided view of one: element ``i, j, ...`` lies at ``offset + i*stride[0] +
j*stride[1] + ...``. Tensors may share a storage. Nothing here trusts the file: a view is made only after its last element has
been found to lie within the bytes that were read.
"""

import math
from dataclasses import dataclass

import numpy as np

from minicnn.errors import InputError

# torch's dtype: the NumPy dtype that reads its bytes
DTYPES = {"float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2", "int64": "i8", "int32": "i4", "int16": "i2",
          "int8": "i1", "uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1", "bool": "u1"}
# bytes of a number of torch's dtypes that are told by name only
UNREAD = {"complex32": 4, "complex64": 8, "complex128": 16, "qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1,
          **dict.fromkeys(("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2"), 1)}
MAX_DIMENSIONS = 32             # NumPy 1's limit
EXPANSION = 16                  # largest total size of the tensors, as a multiple of the file's size: see check_total
CHUNK = 2**20                   # bytes read at once


@dataclass(frozen=True)
class Storage:
    """A row of ``count`` numbers in the file, of which the numbers ``start`` to ``start + length`` are used."""

    key: str
    dtype: str
    count: int
    start: int
    length: int

    @property
    def nbytes(self):
        return self.count * itemsize(self.dtype)


@dataclass(frozen=True)
class Tensor:
    """A strided view of a storage, as the file describes it; offset and strides count elements."""

    storage: Storage
    dtype: str
    offset: int
    size: tuple
    stride: tuple


@dataclass(frozen=True)
class Unreadable:
    """A tensor that is ``what``, "sparse" for example, and cannot be made an array of."""

    what: str


def make_arrays(tensors, read, byteorder, file_size):
    """Read the tensors as arrays; those that share a storage are views of one array.

    Args:
        tensors: {name: Tensor}.
        read: a function from a Storage to all its bytes, (nbytes,) uint8; called once for each.
        byteorder: "little" or "big", of the numbers in the file.
        file_size: bytes; the tensors together may have at most ``EXPANSION`` times as many.

    Returns:
        arrays: {name: array}, in the machine's byte order; bfloat16 as float32, which holds it exactly.

    Raises:
        InputError: a tensor does not fit its storage.
    """
    check_total(tensors, file_size)
    rows = {}
    arrays = {}
    for name, tensor in tensors.items():
        row = tensor.storage.key, tensor.storage.nbytes, tensor.dtype
        if row not in rows:
            rows[row] = decode(read(tensor.storage), tensor.dtype, byteorder)
        arrays[name] = view(tensor, rows[row])
    return arrays


def check_total(tensors, file_size):
    """Raise InputError if the tensors together are far larger than the file.

    A tensor of stride 0 repeats its numbers, so that a small file could describe terabytes, allocated when the tensor is copied.
    """
    total = 0
    for name, tensor in tensors.items():
        check_tensor(name, tensor)
        total += math.prod(tensor.size) * itemsize(tensor.dtype)
    if total > EXPANSION * file_size:
        raise InputError(f"got tensors of {total:.3g} bytes in a file of {file_size}, expected at most {EXPANSION} times as many. "
                         "Save copies of expanded tensors (contiguous()), not views.")


def check_tensor(name, tensor):
    """Raise InputError unless the tensor's numbers are counts and its elements lie within its storage."""
    storage, size, stride = tensor.storage, tensor.size, tensor.stride
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= MAX_DIMENSIONS
            and all(is_count(number) for number in (tensor.offset, *size, *stride))):
        raise misfit(name, "an offset, a size or strides that are not counts")
    # without the zeros: NumPy refuses an empty array, too, whose other sizes multiply to too many bytes
    if math.prod(number or 1 for number in size) * 8 >= 2**63:
        raise misfit(name, "more elements than memory has addresses")
    if storage.start + storage.length > storage.count or last_element(tensor) >= storage.length:
        raise misfit(name, f"elements beyond its storage of {storage.length}")


def last_element(tensor):
    """Index in its storage of a tensor's last element; -1 if the tensor is empty."""
    if 0 in tensor.size:
        return -1
    return tensor.offset + sum((number - 1) * step for number, step in zip(tensor.size, tensor.stride, strict=True))


def view(tensor, row):
    """The tensor as a view of a row of decoded numbers; ``np.ndarray`` checks its bounds once more."""
    if 0 in tensor.size:
        return np.empty(tensor.size, row.dtype)
    size = row.itemsize
    return np.ndarray(tensor.size, row.dtype, buffer=row, offset=(tensor.storage.start + tensor.offset) * size,
                      strides=[step * size if number > 1 else size for number, step in zip(tensor.size, tensor.stride, strict=True)])


def read_bytes(file, nbytes):
    """The next bytes of a file, (nbytes,) uint8, read into the array directly; the file's size has been checked before."""
    array = np.empty(nbytes, np.uint8)
    rest = memoryview(array)
    while len(rest):
        got = file.readinto(rest[:CHUNK])
        if not got:
            raise InputError(f"got {nbytes - len(rest)} of {nbytes} bytes, expected all. The file is truncated.")
        rest = rest[got:]
    return array


def decode(raw, dtype, byteorder):
    """Raw bytes (N,) uint8 -> numbers of that torch dtype, in the machine's byte order."""
    order = {"little": "<", "big": ">"}[byteorder]
    stored = np.dtype(order + DTYPES[dtype])
    if len(raw) % stored.itemsize:
        raise InputError(f"got {len(raw)} bytes of {dtype}, expected a multiple of {stored.itemsize}. The file is damaged.")
    values = raw.view(stored).astype(stored.newbyteorder("="), copy=False)
    if dtype == "bool":
        return values != 0                      # NumPy's bool must be 0 or 1, the file's byte may be anything
    if dtype == "bfloat16":                     # the upper half of a float32
        return np.left_shift(values, 16, dtype=np.uint32).view(np.float32)
    return values


def itemsize(dtype):
    """Bytes of a number of that torch dtype."""
    return UNREAD[dtype] if dtype in UNREAD else np.dtype(DTYPES[dtype]).itemsize


def is_count(value):
    """Whether the value is an int (no bool) from 0 that fits in 63 bits."""
    return type(value) is int and 0 <= value < 2**63


def misfit(name, problem):
    return InputError(f"got the tensor {printable(name)} with {problem}, expected one within the file. The file is damaged.")


def printable(text):
    """A text of the file for an error message: one line of ASCII, shortened."""
    shown = ascii(str(text))[1:-1]
    return shown if len(shown) <= 100 else f"{shown[:100]}..."

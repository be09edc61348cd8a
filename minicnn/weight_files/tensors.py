"""What a checkpoint says of its tensors, and the arrays made of it once every claim has been held against the bytes.

A storage is a row of numbers; a tensor is a window on one: the element ``i, j, ...`` lies at ``offset + i*stride[0] +
j*stride[1] + ...``. Tensors may share a storage. Nothing here trusts the file: a view is made only after its last element was
found to lie inside the bytes that were really there.
"""

import math
from dataclasses import dataclass

import numpy as np

from minicnn.errors import InputError

# torch's name of a number's type: how NumPy reads its bytes
DTYPES = {"float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2", "int64": "i8", "int32": "i4", "int16": "i2",
          "int8": "i1", "uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1", "bool": "u1"}
MAX_DIMENSIONS = 32             # NumPy 1's limit
EXPANSION = 16                  # how many times its file's size the tensors may be together: see check_total
CHUNK = 2**20


@dataclass(frozen=True)
class Storage:
    """A row of ``count`` numbers in the file, of which the window ``start`` .. ``start + length`` is meant."""

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
    """A window on a storage, as the file claims it; offset and strides count elements."""

    storage: Storage
    dtype: str
    offset: int
    size: tuple
    stride: tuple


def make_arrays(tensors, read, byteorder, file_size):
    """The arrays of tensors; those that share a storage are views of one array.

    Args:
        tensors: {name: Tensor}.
        read: function of a Storage, giving all its bytes as an array, (nbytes,) uint8; called once for each.
        byteorder: "little" or "big", of the numbers in the file.
        file_size: bytes, which limits what the tensors may be together.

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
    """A tensor whose stride is 0 repeats its numbers: a file of some bytes could claim one of terabytes, for who copies it."""
    total = 0
    for name, tensor in tensors.items():
        check_claims(name, tensor)
        total += math.prod(tensor.size) * itemsize(tensor.dtype)
    if total > EXPANSION * file_size:
        raise InputError(f"got tensors of {total:.3g} bytes in a file of {file_size}, expected at most {EXPANSION} times as many. "
                         "Save copies of expanded tensors (contiguous()), not views.")


def check_claims(name, tensor):
    """What can be said of a tensor without its bytes."""
    storage, size, stride = tensor.storage, tensor.size, tensor.stride
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= MAX_DIMENSIONS
            and all(is_count(number) for number in (tensor.offset, *size, *stride))):
        raise misfit(name, "an offset, a size or strides that are no counts")
    # zeros are left out: NumPy multiplies the rest even of an empty array
    if math.prod(number or 1 for number in size) * 8 >= 2**63:
        raise misfit(name, "more elements than memory has addresses")
    if storage.start + storage.length > storage.count or last_element(tensor) >= storage.length:
        raise misfit(name, f"elements beyond its storage of {storage.length}")


def last_element(tensor):
    """Where the last element of a tensor lies in its storage; -1 if it has none."""
    if 0 in tensor.size:
        return -1
    return tensor.offset + sum((number - 1) * step for number, step in zip(tensor.size, tensor.stride, strict=True))


def view(tensor, row):
    """The window on a row of decoded numbers. ``np.ndarray`` finds out once more that it lies inside."""
    if 0 in tensor.size:
        return np.empty(tensor.size, row.dtype)
    size = row.itemsize
    return np.ndarray(tensor.size, row.dtype, buffer=row, offset=(tensor.storage.start + tensor.offset) * size,
                      strides=[step * size if number > 1 else size for number, step in zip(tensor.size, tensor.stride, strict=True)])


def read_bytes(file, nbytes):
    """The next bytes of a file as an array, (nbytes,) uint8, without a second copy; they have been found to be there."""
    array = np.empty(nbytes, np.uint8)
    rest = memoryview(array)
    while len(rest):
        got = file.readinto(rest[:CHUNK])
        if not got:
            raise InputError(f"got {len(rest)} bytes less than {nbytes}, expected all. The file is truncated.")
        rest = rest[got:]
    return array


def decode(raw, dtype, byteorder):
    """Numbers in the machine's byte order, of raw bytes (N,) uint8."""
    order = {"little": "<", "big": ">"}[byteorder]
    stored = np.dtype(order + DTYPES[dtype])
    if len(raw) % stored.itemsize:
        raise InputError(f"got {len(raw)} bytes of {dtype}, expected a multiple of {stored.itemsize}. The file is damaged.")
    values = raw.view(stored).astype(stored.newbyteorder("="), copy=False)
    if dtype == "bool":
        return values != 0                      # a byte other than 0 and 1 is no bool to NumPy
    if dtype == "bfloat16":                     # the upper half of a float32
        return np.left_shift(values, 16, dtype=np.uint32).view(np.float32)
    return values


def itemsize(dtype):
    return np.dtype(DTYPES[dtype]).itemsize


def is_count(value):
    """A whole number that can count bytes; True is none."""
    return type(value) is int and 0 <= value < 2**63


def misfit(name, problem):
    return InputError(f"got the tensor {printable(name)} with {problem}, expected one inside the file's numbers. The file is damaged.")


def printable(text):
    """Text of a file as it may stand in a message: one line, not too long."""
    shown = ascii(str(text))[1:-1]
    return shown if len(shown) <= 100 else f"{shown[:100]}..."

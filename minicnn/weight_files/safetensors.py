"""The safetensors format: the length of a JSON header in eight bytes, the header, which locates every tensor, and the numbers.

Reference: github.com/huggingface/safetensors, README, "Format".
"""

import json
import math
import os

from minicnn.errors import InputError
from minicnn.weight_files.tensors import MAX_DIMENSIONS, decode, is_count, itemsize, printable, read_bytes

MAX_HEADER = 4 * 2**20          # bytes, as for a pickle: parsed JSON takes many times its bytes in memory
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
          "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool"}


def read_safetensors(path):
    """Read a safetensors file, by the ``safetensors`` package where it is installed, else by NumPy alone.

    The header is checked here in either case. Files with bfloat16, which the package cannot give to NumPy, or with bool, for which it
    accepts any byte, are always read by NumPy.

    Args:
        path: the file.

    Returns:
        arrays: {name: array}; bfloat16 as float32.

    Raises:
        InputError: the file is damaged.
    """
    with open(path, "rb") as file:
        header = read_header(file)
        if not {"BF16", "BOOL"} & {entry["dtype"] for entry in header.values()}:
            try:
                return read_by_package(path, header)
            except ImportError:
                pass
        return read_values(file, header)


def read_by_package(path, header):
    """The arrays in the header's order; raises ImportError without the package."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file
    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise InputError(f"got a file that the safetensors package refuses ({printable(error)}), expected a whole file. "
                         "Download it again.") from error
    return {name: arrays[name] for name in header}


def read_header(file):
    """The checked description of every tensor: {name: {"dtype", "shape", "data_offsets"}}."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, MAX_HEADER):
        raise InputError(f"got a header of {length} bytes, expected at most {min(max(size - 8, 0), MAX_HEADER)}. "
                         "The file is damaged, or not in the safetensors format.")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise InputError(f"got a header that is not JSON ({type(error).__name__}), expected JSON. The file is damaged.") from error
    if not isinstance(header, dict):
        raise InputError(f"got a header that is a {type(header).__name__}, expected a JSON object. The file is damaged.")
    header.pop("__metadata__", None)
    check_header(header, size - 8 - length)
    return header


def check_header(header, size):
    """Raise InputError unless the tensors are well described, follow each other without gaps or overlaps, and fill the file."""
    for name, entry in header.items():
        check_entry(name, entry)
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, after = entry["data_offsets"]
        if begin != end or after - begin != math.prod(entry["shape"]) * itemsize(DTYPES[entry["dtype"]]):
            raise misfit(name, "data_offsets that do not match its shape or the tensor before")
        end = after
    if end != size:
        raise InputError(f"got {size} bytes of numbers, expected {end} as the header says. The file is damaged.")


def check_entry(name, entry):
    """Raise InputError unless a tensor's description has a known dtype, a shape, and two offsets."""
    if not (isinstance(entry, dict) and isinstance(entry.get("dtype"), str) and is_counts(entry.get("shape"))
            and is_counts(entry.get("data_offsets")) and len(entry["data_offsets"]) == 2
            and len(entry["shape"]) <= MAX_DIMENSIONS):
        raise misfit(name, "no dtype, shape and data_offsets")
    if entry["dtype"] not in DTYPES:
        raise InputError(f"got the tensor {printable(name)} of type {printable(entry['dtype'])}, expected one of "
                         f"{', '.join(DTYPES)}. Save it as F32.")
    if math.prod(number or 1 for number in entry["shape"]) * 8 >= 2**63:
        raise misfit(name, "more elements than memory has addresses")


def read_values(file, header):
    """The arrays, by NumPy alone; the file's position is right after the header."""
    start = file.tell()
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        file.seek(start + begin)
        arrays[name] = decode(read_bytes(file, end - begin), DTYPES[entry["dtype"]], "little").reshape(entry["shape"])
    return arrays


def is_counts(value):
    """Whether the value is a list of counts."""
    return isinstance(value, list) and all(map(is_count, value))


def misfit(name, problem):
    return InputError(f"got the tensor {printable(name)} with {problem}, expected one that fits the file. The file is damaged.")

"""Read a state dict from a file written by torch.save or safetensors, with NumPy alone."""

import struct
import zipfile
from pathlib import Path

from minicnn.errors import InputError
from minicnn.weight_files.safetensors import read_safetensors
from minicnn.weight_files.state_dict import find_state_dict
from minicnn.weight_files.tensors import make_arrays, printable
from minicnn.weight_files.torch_legacy import open_legacy
from minicnn.weight_files.torch_zip import open_zip

# how a file begins that is not a weight file, what it is, and what to do
OTHERS = (
    (b"version https://git-lfs", "a pointer of git-LFS in place of the file", "Fetch the file itself: git lfs pull"),
    (b"<", "a web page, or another text in HTML or XML", "Download the file itself"),
    (b"\x89HDF", "an HDF5 file, as Keras writes", "Save model.state_dict() in torch"),
    (b"\x1f\x8b", "a file compressed by gzip", "Unpack it"),
    (b"BZh", "a file compressed by bzip2", "Unpack it"),
    (b"7z", "a file compressed by 7-Zip", "Unpack it"),
)


def read_state_dict(path, key=None):
    """Read a state dict in torch's zip format, torch's legacy format, or safetensors.

    The format is recognised by the content. Nothing in the file is imported or run, and every size is checked before memory is
    allocated. The network is found by its names within a training's checkpoint, whose rest is ignored, and what wrappers put before its
    names, such as DataParallel's ``module.``, is removed; see ``state_dict.py``.

    Args:
        path: the file.
        key: which network where the file holds several, such as "model_ema", see ``find_state_dict``.

    Returns:
        arrays: {name: array}, in the machine's byte order, with the file's dtypes, except that bfloat16 becomes float32.
            Tensors that share a storage in the file are views of one array.

    Raises:
        InputError: the file cannot be read, is damaged, has another format, or holds no network, or several.
    """
    try:
        return read_any(path, key)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except MemoryError as error:
        raise InputError(f"{path}: got more numbers than fit in memory, expected fewer. Close other programs.") from error
    except (OSError, EOFError, zipfile.BadZipFile, RuntimeError, ValueError, OverflowError, struct.error) as error:
        raise InputError(f"{path}: got a file that cannot be read ({printable(error)}), expected a weight file. "
                         "Check the path, or download the file again.") from error


def read_any(path, key):
    """The arrays of a file in any of the three formats."""
    with open(path, "rb") as file:
        start = file.read(32)
        file.seek(0)
        if start[8:9] == b"{":
            return find_state_dict(read_safetensors(path), key)
        if start.startswith(b"PK\x03\x04"):
            value, read, byteorder = open_zip(file)
        elif start.startswith(b"\x80"):
            value, read, byteorder = open_legacy(file)
        elif Path(path).suffix == ".safetensors" and not start.startswith(tuple(beginning for beginning, _, _ in OTHERS)):
            return find_state_dict(read_safetensors(path), key)
        else:
            raise other_format(start)
        size = file.seek(0, 2)
        return make_arrays(find_state_dict(value, key), read, byteorder, size)


def other_format(start):
    """The InputError for a file that begins with these bytes."""
    for beginning, what, remedy in OTHERS:
        if start.startswith(beginning):
            return InputError(f"got {what}, expected a weight file. {remedy}.")
    return InputError(f"got {f'a file that begins with {start[:8]!r}' if start else 'an empty file'}, expected torch's zip format (PK), "
                      "torch's legacy format (\\x80) or safetensors. Check the path, or download the file again.")

"""Read a state dict from a file written by torch.save or safetensors, with NumPy alone."""

import struct
import zipfile
from pathlib import Path

from minicnn.errors import InputError
from minicnn.weight_files.safetensors import read_safetensors
from minicnn.weight_files.tensors import Tensor, make_arrays, printable
from minicnn.weight_files.torch_legacy import open_legacy
from minicnn.weight_files.torch_zip import open_zip
from minicnn.weight_files.unpickler import Parameter

NESTED = ("model", "state_dict", "model_state_dict")        # keys under which training scripts save the state dict
PREFIX = "module."                                          # torch's DataParallel puts it before every name


def read_state_dict(path):
    """Read a state dict in torch's zip format, torch's legacy format, or safetensors.

    The format is recognised by the content. Nothing in the file is imported or run, and every size is checked before memory is
    allocated. The state dict may stand under ``model``, ``state_dict`` or ``model_state_dict``; the rest of such a file is ignored.
    A ``module.`` before every name, which torch's DataParallel adds, is removed.

    Args:
        path: the file.

    Returns:
        arrays: {name: array}, in the machine's byte order, with the file's dtypes, except that bfloat16 becomes float32.
            Tensors that share a storage in the file are views of one array.

    Raises:
        InputError: the file cannot be read, is damaged, has another format, or contains other objects than tensors.
    """
    try:
        arrays = read_any(path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except MemoryError as error:
        raise InputError(f"{path}: got more numbers than fit in memory, expected fewer. Close other programs.") from error
    except (OSError, EOFError, zipfile.BadZipFile, RuntimeError, ValueError, OverflowError, struct.error) as error:
        raise InputError(f"{path}: got a file that cannot be read ({printable(error)}), expected a weight file. "
                         "Check the path, or download the file again.") from error
    if all(name.startswith(PREFIX) for name in arrays):
        return {name.removeprefix(PREFIX): array for name, array in arrays.items()}
    return arrays


def read_any(path):
    """The arrays of a file in any of the three formats."""
    with open(path, "rb") as file:
        start = file.read(9)
        file.seek(0)
        if start[8:] == b"{":
            return read_safetensors(path)
        if start.startswith(b"PK\x03\x04"):
            value, read, byteorder = open_zip(file)
        elif start.startswith(b"\x80"):
            value, read, byteorder = open_legacy(file)
        elif Path(path).suffix == ".safetensors":
            return read_safetensors(path)
        else:
            raise InputError(f"got a file that begins with {start[:8]!r}, expected torch's zip format (PK), torch's legacy format "
                             "(\\x80) or safetensors. Check the path, or download the file again.")
        size = file.seek(0, 2)
        return make_arrays(find_state_dict(value), read, byteorder, size)


def find_state_dict(value):
    """{name: Tensor} of the state dict, the file's whole object or under one of the ``NESTED`` keys."""
    if type(value) is not dict:
        raise InputError(f"got a file that holds an object of type {type(value).__name__}, expected a state dict. Save model.state_dict().")
    nested = next((value[key] for key in NESTED if type(value.get(key)) is dict), value)
    tensors = {name: value.tensor if isinstance(value, Parameter) else value for name, value in nested.items()}
    if not any(isinstance(tensor, Tensor) for tensor in tensors.values()):
        keys = ", ".join(printable(key) for key in list(value)[:10])
        raise InputError(f"got a file that holds the keys {keys or '(none)'}, expected a state dict, or one under "
                         f"{', '.join(NESTED)}. Save model.state_dict() alone.")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(f"got {printable(name)} of type {type(tensor).__name__} in the state dict, expected names and tensors. "
                             "Save model.state_dict() alone.")
    return tensors

"""The weights in other people's files, whatever their format, by NumPy alone."""

import struct
import zipfile
from pathlib import Path

from minicnn.errors import InputError
from minicnn.weight_files.safetensors import read_safetensors
from minicnn.weight_files.tensors import Tensor, make_arrays, printable
from minicnn.weight_files.torch_legacy import open_legacy
from minicnn.weight_files.torch_zip import open_zip
from minicnn.weight_files.unpickler import Parameter

NESTED = ("model", "state_dict", "model_state_dict")        # where training scripts keep the state dict
PREFIX = "module."                                          # what torch's DataParallel puts in front of every name


def read_state_dict(path):
    """Read the state dict of a checkpoint: torch's zip format, its older one, or safetensors.

    The format is told from the content. Nothing in the file is imported or run; every size is checked before memory is asked
    for. A state dict under ``model``, ``state_dict`` or ``model_state_dict`` is found; the rest of such a file is not read. A
    ``module.`` in front of every name is taken off.

    Args:
        path: the file.

    Returns:
        arrays: {name: array}, in the machine's byte order, with the file's dtypes but bfloat16, which comes as float32.
            Tensors that share numbers in the file are views that share them here.

    Raises:
        InputError: the file cannot be read, is damaged, of another format, or names what is not a part of a tensor.
    """
    try:
        arrays = read_any(path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except MemoryError as error:
        raise InputError(f"{path}: got more numbers than the memory holds, expected fewer. Close other programs.") from error
    except (OSError, EOFError, zipfile.BadZipFile, RuntimeError, ValueError, OverflowError, struct.error) as error:
        raise InputError(f"{path}: got a file that cannot be read ({printable(error)}), expected a checkpoint. "
                         "Check the path, or download the file again.") from error
    if all(name.startswith(PREFIX) for name in arrays):
        return {name.removeprefix(PREFIX): array for name, array in arrays.items()}
    return arrays


def read_any(path):
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
            raise InputError(f"got a file that begins with {start[:8]!r}, expected torch's zip format (PK), its older one (\\x80) or "
                             "safetensors. Check the path, or download the file again.")
        size = file.seek(0, 2)
        return make_arrays(find_state_dict(value), read, byteorder, size)


def find_state_dict(value):
    """{name: Tensor} of a state dict, which may stand under one of the usual keys."""
    if type(value) is not dict:
        raise InputError(f"got a file that holds an object of type {type(value).__name__}, expected a state dict. Save model.state_dict().")
    nested = next((value[key] for key in NESTED if type(value.get(key)) is dict), value)
    tensors = {name: one.tensor if isinstance(one, Parameter) else one for name, one in nested.items()}
    if not any(isinstance(one, Tensor) for one in tensors.values()):
        keys = ", ".join(printable(key) for key in list(value)[:10])
        raise InputError(f"got a file that holds the keys {keys or '(none)'}, expected a state dict, or one under "
                         f"{', '.join(NESTED)}. Save model.state_dict() alone.")
    for name, one in tensors.items():
        if not isinstance(name, str) or not isinstance(one, Tensor):
            raise InputError(f"got {printable(name)} of type {type(one).__name__} in the state dict, expected names and tensors. "
                             "Save model.state_dict() alone.")
    return tensors

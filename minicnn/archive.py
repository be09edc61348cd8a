"""The file of a network: one ``.npz``, an array per parameter and buffer, and one entry that says how to build it.

The entry ``minicnn.json`` (UTF-8) holds the format's version, the architecture and its arguments, every layer as it now is (path,
kind, arguments: a network pruned or split is built from these, nothing is replayed), class names, the surgery as its history, provenance
and measured figures. Arrays are stored uncompressed, so that no size can be claimed that the file does not have; pickles are
never read. Files are written beside their target and renamed.
"""

import json
import math
import zipfile
from pathlib import Path

import numpy as np

from minicnn.errors import InputError
from minicnn.files import atomic_write
from minicnn.functional.dispatch import checked
from minicnn.layers import KINDS, Sequential, make_layer
from minicnn.models import build

FORMAT = 1
DESCRIPTION = "minicnn.json"
DESCRIPTION_BYTES = 64 * 2**20
DEEPEST = 20                    # dots in the path of a layer


def save(path, model, dtype="float32"):
    """Write a model with its ``record``; see the module's text for what the file holds.

    Args:
        path: the ``.npz`` to write; an existing one is replaced.
        model: made by ``minicnn.build`` or ``minicnn.load``.
        dtype: "float16" stores weights in half the bytes, rounded to three digits; biases and norms, which are few, stay float32.
            What is loaded from it computes in float32 all the same.

    Raises:
        InputError: the place cannot be written, or a weight is beyond float16's range.
    """
    if dtype not in ("float32", "float16"):
        raise InputError(f"got dtype {dtype!r}, expected 'float32' or 'float16'. Choose one of them.")
    arrays = dict(model.named_arrays())
    if dtype == "float16":
        arrays = {name: half(name, array) if array.ndim > 1 else array for name, array in arrays.items()}
    write_archive(path, arrays, describe(model))


def half(name, array):
    """An array as float16."""
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise InputError(f"got weights up to {np.abs(array).max():g} in {name}, expected at most 65504 for float16. Use float32.")
    return rounded


def load(path, backend=None):
    """Read a model, in evaluation mode; NumPy is all it needs.

    Args:
        path: a file written by ``save``.
        backend: "reference", "numpy" or "numba", what the model is to be run by; None: whatever is in use when it runs
            (``minicnn.functional.dispatch``).

    Returns:
        model: a Layer: ``logits = model(x)``.

    Raises:
        InputError: the file is damaged, holds a pickle, does not fit its own description, or has a NaN in its weights; or there is no
            such backend.
    """
    if backend is not None:
        checked(backend)
    model, _ = load_described(path)
    model.backend = backend
    return model


def load_described(path):
    """(model, all that its file says of it); raises as ``load`` does."""
    arrays, description = read_archive(path)
    try:
        return restore(arrays, description), description
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise InputError(f"{path}: got a description that cannot be read ({error!r}), expected one written by minicnn. "
                         "Make the file again.") from error


def describe(model):
    """What ``restore`` needs to know of a model besides its arrays."""
    return {
        "architecture": model.architecture, "arguments": model.architecture_arguments,
        "layers": [{"path": path, "kind": layer.kind, "arguments": layer.arguments()}
                   for path, layer in model.named_layers() if layer.kind in KINDS],
        **model.record,
    }


def restore(arrays, description):
    """The model of a description, with its arrays loaded.

    Raises:
        InputError: arrays and description do not fit, or a value is not finite.
    """
    model = build(description["architecture"], **description["arguments"])
    parts = {path: {} for path, layer in model.named_layers() if layer.kind in KINDS}
    extra = []
    for entry in description["layers"]:
        path = entry["path"]
        place = next((path[:end] for end in split_points(path) if path[:end] in parts), None)
        if place is None:
            extra.append(path)
        else:
            parts[place][tuple(path[len(place):].split(".")[1:])] = entry
    if wrong := extra + [path for path, entries in parts.items() if not entries]:
        raise InputError(f"got a description of other layers than {description['architecture']} has ({', '.join(sorted(wrong))}), "
                         "expected the same. Make the file again.")
    for path, entries in parts.items():
        model.replace_layer(path, make_part(path, entries))
    load_finite_arrays(model, arrays)
    wrong = [key for key, empty in model.record.items() if not isinstance(description[key], type(empty))]
    wrong += ["class_names"] * (not all(isinstance(name, str) for name in description["class_names"]))
    if wrong:
        raise InputError(f"got a description with a wrong type of {', '.join(wrong)}, expected one written by minicnn. "
                         "Make the file again.")
    model.record = {key: description[key] for key in model.record}
    return model


def split_points(path):
    """Where a dotted path and each of its beginnings end, the longest first."""
    return [len(path), *(place for place in range(len(path) - 1, 0, -1) if path[place] == ".")]


def make_part(path, entries):
    """What stands in the place of one of the architecture's layers: a layer, or if it was split a ``Sequential`` of such parts.

    Args:
        path: of the place. entries: the description's, by the names on the way from there, () for one layer.
    """
    if list(entries) == [()]:
        return make_layer(entries[()]["kind"], entries[()]["arguments"])
    parts = {}
    for (name, *rest), entry in ((names or ("",), entry) for names, entry in entries.items()):
        parts.setdefault(name, {})[tuple(rest)] = entry
    if list(parts) != [str(number) for number in range(len(parts))] or path.count(".") > DEEPEST:
        raise InputError(f"got a description with {', '.join(parts)} in the place of {path[:100]}, expected one layer, or 0, 1 and so on "
                         "where it was split. Make the file again.")
    return Sequential([make_part(f"{path}.{name}", below) for name, below in parts.items()])


def load_finite_arrays(model, arrays):
    """Move arrays into a new model; ``arrays`` is empty then.

    Raises:
        InputError: they do not fit, or a value is not finite.
    """
    with np.errstate(over="ignore"):                # float64 beyond float32 becomes infinity, which is told below
        model.load_arrays(arrays, consume=True)
    for name, array in model.named_arrays():
        if not np.isfinite(array).all():
            raise InputError(f"got NaN or infinity in {name}, expected finite weights. The training that wrote it diverged.")


def write_archive(path, arrays, description):
    """Write arrays and their description; the same content gives the same bytes."""
    with atomic_write(path) as file:
        write_entries(file, arrays, description)


def write_entries(file, arrays, description):
    """The archive's bytes; a function of its own, so that zipfile's finalizers, which would swallow a Ctrl-C, run while it waits."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        text = json.dumps({"format": FORMAT, **description}, ensure_ascii=False, indent=1)
        archive.writestr(zipfile.ZipInfo(DESCRIPTION), text.encode())      # a ZipInfo of its own has a fixed date
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)


def read_archive(path):
    """Read arrays and their description; every size is checked before memory is asked for.

    Raises:
        InputError: the file is missing, damaged, of another format, or holds a pickle.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = {info.filename: info for info in archive.infolist()}
            if DESCRIPTION not in infos:
                raise InputError(f"got {path} without {DESCRIPTION}, expected an archive of minicnn. Train or convert one.")
            check_sizes(infos.values(), path)
            return ({name.removesuffix(".npy"): read_array(archive, info, path) for name, info in infos.items()
                     if name != DESCRIPTION}, read_description(archive, infos[DESCRIPTION], path))
    except InputError:
        raise
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"got {path}, which cannot be read ({error}), expected an archive of minicnn. "
                         "Check the path, or make the file again.") from error


def check_sizes(infos, path):
    """Entries are stored, so together they cannot be longer than the file: neither claims nor overlaps cost memory."""
    compressed = [info.filename for info in infos if info.compress_type != zipfile.ZIP_STORED]
    if compressed:
        raise InputError(f"got a compressed entry {compressed[0]} in {path}, expected stored ones. Make the file with minicnn.")
    size, length = sum(info.file_size for info in infos), Path(path).stat().st_size
    if size > length:
        raise InputError(f"got entries of {size} bytes in {path}, expected at most its {length}. The file is damaged.")


def read_description(archive, info, path):
    if info.file_size > DESCRIPTION_BYTES:
        raise InputError(f"got {info.file_size} bytes of {DESCRIPTION} in {path}, expected at most {DESCRIPTION_BYTES}. "
                         "The file is damaged.")
    description = json.loads(archive.read(info))
    if not isinstance(description, dict) or description.pop("format", None) != FORMAT:
        raise InputError(f"got another format of archive in {path}, expected format {FORMAT}. Use the minicnn that wrote it.")
    return description


def read_array(archive, info, path):
    """One array, after its header has been held against the entry's real size."""
    with archive.open(info) as entry:
        version = np.lib.format.read_magic(entry)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read_header is None:
            raise InputError(f"got version {version} of the entry {info.filename} in {path}, expected 1.0. Make the file again.")
        try:
            shape, _, dtype = read_header(entry)
        except Exception as error:                  # NumPy evaluates the text of the header, which fails in many ways
            raise InputError(f"got a header of {info.filename} in {path} that cannot be read ({type(error).__name__}), expected "
                             "an array's. The file is damaged.") from error
        if dtype.kind not in "fiu":
            raise InputError(f"got {dtype} values (a pickle, if objects) in the entry {info.filename} of {path}, expected "
                             "numbers. Do not trust this file.")
        size = info.file_size - entry.tell()
        if math.prod(shape) * dtype.itemsize != size:
            raise InputError(f"got {size} bytes for the {shape} {dtype} values of {info.filename} in {path}, expected "
                             f"{math.prod(shape) * dtype.itemsize}. The file is damaged.")
        entry.seek(0)
        return np.lib.format.read_array(entry, allow_pickle=False)

"""The file of a network: one ``.npz`` with an array for each parameter and buffer, and one entry that describes how to build it.

The entry ``minicnn.json`` (UTF-8) holds the format's version, the architecture and its arguments, every layer as it is now (path, kind,
arguments: a pruned or factorised network is built from these), class names, the history of pruning and decomposition ("surgery"),
provenance and measured figures. Arrays are stored uncompressed, so a file cannot claim a size that it does not have; pickles are never
read. Files are written beside their target and renamed. A file with int8 weights is of format 2 and holds scales, too, see ``int8.py``;
all others are of format 1.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn import int8
from minicnn.errors import InputError
from minicnn.files import atomic_write
from minicnn.layers import KINDS, Layer, Sequential, make_layer
from minicnn.models import build

FORMAT, INT8_FORMAT = 1, 2
DTYPES = ("float32", "float16", "int8")
DESCRIPTION = "minicnn.json"
DESCRIPTION_BYTES = 64 * 2**20
DEEPEST = 20                    # largest number of dots in the path of a layer
ZIP_STORED = 0                  # zipfile.ZIP_STORED


def save(path: str | Path, model: Layer, dtype: str = "float32") -> None:
    """Write a model and its ``record`` to a file, whose contents the module's docstring lists.

    Args:
        path: the ``.npz`` to write; an existing one is replaced.
        model: from ``minicnn.build`` or ``minicnn.load``.
        dtype: "float16" stores weights in half the bytes, rounded to three digits; "int8" in a quarter, see ``minicnn/int8.py``. Biases
            and norms, which are few, stay float32. The model that is loaded from it computes in float32, too.

    Raises:
        InputError: the file cannot be written, or a weight is beyond the dtype's range.

    >>> import minicnn, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     minicnn.save(f"{folder}/lenet.npz", minicnn.build("lenet5"))
    ...     minicnn.load(f"{folder}/lenet.npz").get_layer("fc3")
    Linear(in_features=84, out_features=10, bias=True)
    """
    if dtype not in DTYPES:
        raise InputError(f"got dtype {dtype!r}, expected {', '.join(map(repr, DTYPES[:-1]))} or {DTYPES[-1]!r}. Choose one of them.")
    arrays, form = dict(model.named_arrays()), FORMAT
    if dtype == "float16":
        arrays = {name: half(name, array) if array.ndim > 1 else array for name, array in arrays.items()}
    elif dtype == "int8":
        arrays, form = int8.encoded(arrays), INT8_FORMAT
    write_archive(path, arrays, {"format": form, **describe(model)})


def half(name, array):
    """An array as float16.

    Raises:
        InputError: a value is beyond its range; ``name`` is the array's in the message.
    """
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise InputError(f"got weights up to {np.abs(array).max():g} in {name}, expected at most 65504 for float16. Use float32.")
    return rounded


def load_outline(path: str | Path) -> Any:
    """The model of a file with zeros for weights: only the headers of its arrays are read, so it is fast; see ``load_described``."""
    return load_described(path, read_header)[0]


def load_described(path: str | Path, read: Callable | None = None) -> tuple[Any, dict[str, Any]]:
    """The model of a file, in evaluation mode, and the whole entry that describes it.

    Args:
        path: a file written by ``save``. read: see ``read_archive``.

    Raises:
        InputError: the file is damaged, holds a pickle, does not fit its own description, or has NaN or infinity in its weights.
    """
    arrays, description = read_archive(path, read)
    try:
        return restore(arrays, description), description
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise InputError(f"{path}: got a description that cannot be read ({error!r}), expected one written by minicnn. "
                         "Make the file again.") from error


def describe(model: Layer) -> dict[str, Any]:
    """The description from which ``restore`` builds a model again, apart from its arrays."""
    return {
        "architecture": model.architecture, "arguments": model.architecture_arguments,
        "layers": [{"path": path, "kind": layer.kind, "arguments": layer.arguments()}
                   for path, layer in model.named_layers() if layer.kind in KINDS],
        **model.record,
    }


def restore(arrays: dict[str, np.ndarray], description: dict[str, Any]) -> Any:
    """Build a model from its description and load its arrays; ``arrays`` is empty afterwards, unless they are ``Header``s.

    Raises:
        InputError: arrays and description do not fit, or a value is not finite.
    """
    model = build(description["architecture"], **description["arguments"])
    for path, entries in entries_by_layer(model, description).items():
        model.replace_layer(path, make_part(path, entries))
    load_finite_arrays(model, arrays)
    model.record = read_record(model, description)
    return model


def entries_by_layer(model, description):
    """The description's entries by the architecture's layers: {path of a layer: {names of the path below it: entry}}.

    Raises:
        InputError: an entry belongs to no layer, or a layer has no entry.
    """
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
    return parts


def read_record(model, description):
    """A model's ``record`` from its description.

    Raises:
        InputError: a value has another type than in a new model.
    """
    wrong = [key for key, empty in model.record.items() if not isinstance(description[key], type(empty))]
    wrong += ["class_names"] * (not all(isinstance(name, str) for name in description["class_names"]))
    if wrong:
        raise InputError(f"got a description with a wrong type of {', '.join(wrong)}, expected one written by minicnn. "
                         "Make the file again.")
    return {key: description[key] for key in model.record}


def split_points(path):
    """Lengths of a dotted path and of the paths of its parents, longest first."""
    return [len(path), *(place for place in range(len(path) - 1, 0, -1) if path[place] == ".")]


def make_part(path, entries):
    """What replaces one of the architecture's layers: a layer or, if it was factorised, a ``Sequential`` of such parts.

    Args:
        path: of the architecture's layer.
        entries: {names of the path below it: entry of the description}; the names are () if the layer is whole.
    """
    if list(entries) == [()]:
        return make_layer(entries[()]["kind"], entries[()]["arguments"])
    parts = {}
    for (name, *rest), entry in ((names or ("",), entry) for names, entry in entries.items()):
        parts.setdefault(name, {})[tuple(rest)] = entry
    if list(parts) != [str(number) for number in range(len(parts))] or path.count(".") > DEEPEST:
        raise InputError(f"got a description with {', '.join(parts)} in the place of {path[:100]}, expected one layer, or 0, 1 and so on "
                         "where it was factorised. Make the file again.")
    return Sequential([make_part(f"{path}.{name}", below) for name, below in parts.items()])


def load_finite_arrays(model: Layer, arrays: dict[str, np.ndarray]) -> None:
    """Move arrays into a new model; ``arrays`` is empty afterwards. ``Header``s are only compared with the model.

    Raises:
        InputError: they do not fit, or a value is not finite.
    """
    if any(isinstance(array, Header) for array in arrays.values()):
        model.check_arrays(arrays)
        return
    with np.errstate(over="ignore"):                # float64 beyond float32 becomes infinity, found below
        model.load_arrays(arrays, consume=True)
    for name, array in model.named_arrays():
        if not np.isfinite(array).all():
            raise InputError(f"got NaN or infinity in {name}, expected finite weights. The training that wrote it diverged.")


def write_archive(path: str | Path, arrays: Mapping[str, np.ndarray], description: dict[str, Any]) -> None:
    """Write arrays and their description, of format 1 unless it says another; the same content makes the same bytes."""
    with atomic_write(path) as file:
        write_entries(file, arrays, description)


def write_entries(file, arrays, description):
    """Write the archive to an open file.

    A function of its own, so that zipfile's finalizers, which would swallow a Ctrl-C, run while ``atomic_write`` holds it back.
    """
    import zipfile  # not at the top, which would make ``import minicnn`` slower

    with zipfile.ZipFile(file, "w", ZIP_STORED) as archive:
        text = json.dumps({"format": FORMAT, **description}, ensure_ascii=False, indent=1)
        archive.writestr(zipfile.ZipInfo(DESCRIPTION), text.encode())      # a ZipInfo of its own has a fixed date
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)


class Header(NamedTuple):
    """Of an array that is not read: its shape, its dtype in the file, and its bytes there, of int8 weights with those of the scales."""

    shape: tuple
    dtype: np.dtype
    nbytes: int

    def joined(self, scales):
        """The header of int8 weights and of their scales as one."""
        return self._replace(nbytes=self.nbytes + scales.nbytes)


def read_archive(path: str | Path, read: Callable | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read arrays and their description; every size is checked before memory is allocated.

    Args:
        path: the file. read: ``read_header`` for ``Header``s in place of arrays; None: ``read_array``.

    Raises:
        InputError: the file is missing or damaged, has another format, or holds a pickle.
    """
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            infos = {info.filename: info for info in archive.infolist()}
            if DESCRIPTION not in infos:
                raise InputError(f"got {path} without {DESCRIPTION}, expected an archive of minicnn. Train one, or convert torch's "
                                 "weights: minicnn convert model.pth -o model.npz")
            check_sizes(infos.values(), path)
            read, description = read or read_array, read_description(archive, infos[DESCRIPTION], path)
            arrays = {name.removesuffix(".npy"): read(archive, info, path) for name, info in infos.items() if name != DESCRIPTION}
        if description.pop("format") == INT8_FORMAT:
            decode_weights(arrays, path)
        return arrays, description
    except InputError:
        raise
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"got {path}, which cannot be read ({error}), expected an archive of minicnn. "
                         "Check the path, or make the file again.") from error


def decode_weights(arrays, path):
    """``int8.decode_all``; the InputError names the file."""
    try:
        int8.decode_all(arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def check_sizes(infos, path):
    """Raise InputError if entries are compressed, or together longer than the file: so no false size or overlap costs memory."""
    compressed = [info.filename for info in infos if info.compress_type != ZIP_STORED]
    if compressed:
        raise InputError(f"got a compressed entry {compressed[0]} in {path}, expected stored ones. Make the file with minicnn.")
    size, length = sum(info.file_size for info in infos), Path(path).stat().st_size
    if size > length:
        raise InputError(f"got entries of {size} bytes in {path}, expected at most its {length}. The file is damaged.")


def read_description(archive, info, path):
    """The entry ``minicnn.json``."""
    if info.file_size > DESCRIPTION_BYTES:
        raise InputError(f"got {info.file_size} bytes of {DESCRIPTION} in {path}, expected at most {DESCRIPTION_BYTES}. "
                         "The file is damaged.")
    description = json.loads(archive.read(info))
    if not isinstance(description, dict) or description.get("format") not in (FORMAT, INT8_FORMAT):
        raise InputError(f"got another format of archive in {path}, expected format {FORMAT} or {INT8_FORMAT}. Use the minicnn that "
                         "wrote it.")
    return description


def read_array(archive, info, path):
    """One array, after its header was compared with the entry's real size."""
    read_header(archive, info, path)
    with archive.open(info) as entry:
        return np.lib.format.read_array(entry, allow_pickle=False)


def read_header(archive, info, path):
    """The ``Header`` of one array, compared with the entry's real size."""
    with archive.open(info) as entry:
        version = np.lib.format.read_magic(entry)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise InputError(f"got version {version} of the entry {info.filename} in {path}, expected 1.0. Make the file again.")
        try:
            shape, _, dtype = read(entry)
        except Exception as error:                  # NumPy evaluates the header as Python, which fails in many ways
            raise InputError(f"got a header of {info.filename} in {path} that cannot be read ({type(error).__name__}), expected "
                             "an array's. The file is damaged.") from error
        if dtype.kind not in "fiu":
            raise InputError(f"got {dtype} values (a pickle, if objects) in the entry {info.filename} of {path}, expected "
                             "numbers. Do not trust this file.")
        size = info.file_size - entry.tell()
        if math.prod(shape) * dtype.itemsize != size:
            raise InputError(f"got {size} bytes for the {shape} {dtype} values of {info.filename} in {path}, expected "
                             f"{math.prod(shape) * dtype.itemsize}. The file is damaged.")
        return Header(shape, dtype, size)

"""Open the file of a network: minicnn's own archive, or a weight file of torch, which is converted once and kept in the cache.

What a conversion must assume is printed on standard error. A weight file that leaves a choice, or a detector whose classes have no names,
is refused with the command that converts it.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import Any

from minicnn.archive import DESCRIPTION, load_described, load_outline, save
from minicnn.errors import InputError
from minicnn.files import cache_folder, make_folder, sha256
from minicnn.functional.dispatch import checked
from minicnn.version import __version__

SUFFIXES = (".pth", ".pt", ".safetensors", ".ckpt", ".bin")         # of weight files, whatever they begin with


def load(path: str | Path, backend: str | None = None) -> Any:
    """Read a model, in evaluation mode; it needs NumPy only.

    Args:
        path: a file written by ``save``. Or a weight file of torch (its zip or legacy format, or safetensors), which is converted, as by
            ``minicnn convert`` without options, into the cache folder; a line on standard error tells so, and what was assumed.
        backend: "reference", "numpy" or "numba" runs the model by that backend; None: by the one in use when it runs, see
            ``minicnn.functional.dispatch``.

    Returns:
        model: a ``Classifier``, ``logits = model(x)``, or a ``FasterRCNN``, ``detections = model.detect("photo.jpg")``.

    Raises:
        InputError: the file is damaged, holds a pickle, does not fit its own description, or has NaN or infinity in its weights; or
            there is no such backend; or a weight file's conversion needs options or class names, which ``minicnn convert`` takes.

    >>> import minicnn, numpy as np, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     minicnn.save(f"{folder}/lenet.npz", minicnn.build("lenet5", rng=np.random.default_rng(0)))
    ...     model = minicnn.load(f"{folder}/lenet.npz")
    >>> model(np.zeros((2, 1, 28, 28), np.float32)).shape
    (2, 10)
    """
    if backend is not None:
        checked(backend)
    model = load_converted(path) if is_weight_file(path) else load_described(path)[0]
    model.backend = backend
    return model


def outline(path: str | Path) -> Any:
    """As ``load``, but of an archive the arrays' headers only are read, so it is fast, and its weights are zeros."""
    return load_converted(path) if is_weight_file(path) else load_outline(path)


def is_weight_file(path: str | Path) -> bool:
    """Whether a file is one for ``minicnn convert``, by its content or, if that is of another kind, by its name."""
    import zipfile  # here: it makes ``import minicnn`` slower
    try:
        with open(path, "rb") as file:
            start = file.read(9)
        if start.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
            return DESCRIPTION not in names and any(name.endswith("/data.pkl") for name in names)
    except (OSError, zipfile.BadZipFile):
        return False                            # ``load_described`` tells what is wrong
    return start.startswith(b"\x80") or start[8:] == b"{" or Path(path).suffix.lower() in SUFFIXES


def load_converted(path):
    """The model of a weight file: from the cache or, the first time, converted into it; what was done is printed."""
    digest = sha256(path)
    model, how = from_cache(digest)
    if model is None:
        model = convert_named(path)
        how = to_cache(model, digest)
    notes = "".join(f"; {note}" for note in model.record["provenance"]["notes"])
    print(f"minicnn: {path} holds weights of torch, read as {model.architecture}, {how}{notes}", file=sys.stderr)
    return model


def cached(digest):
    """The archive in the cache of a weight file with that SHA-256, which another version may convert to another archive."""
    return cache_folder() / "converted" / f"{digest[:32]}-{__version__}.npz"


def from_cache(digest):
    """(model, words about it) from the cache; (None, None) where it has none, or a damaged one."""
    with contextlib.suppress(InputError, OSError):
        path = cached(digest)
        if path.is_file():
            return load_described(path)[0], f"converted before into {path}"
    return None, None


def to_cache(model, digest):
    """Keep a model in the cache, if that can be written; returns the words about it. Two runs at once write the same bytes."""
    try:
        path = cached(digest)
        make_folder(path.parent)
        save(path, model)
    except InputError as error:
        return f"converted in memory, for this run alone ({str(error).rstrip('.')})"
    return f"converted once into {path}"


def convert_named(path):
    """The model of a weight file whose class names are known.

    Raises:
        InputError: they are not, or the file leaves another choice: the message is the command for it.
    """
    from minicnn.weight_files.convert import OptionNeeded, convert  # here: archives are loaded without it
    try:
        model, notes = convert(path)
        if model.task == "detection" and not model.record["class_names"]:
            raise OptionNeeded(f"{path}: got the weights of {model.num_classes} classes without names, which weights do not hold, expected "
                               "an archive. Give class_names, and what else weights do not show, with --config, or leave them unnamed.")
    except OptionNeeded as error:
        config = Path(path).with_suffix(".json")
        beside = f"--config {shlex.quote(str(config))}" if config.is_file() else ""
        options = "".join({option.split()[0]: f" {option}" for option in (error.option, beside) if option}.values())
        raise InputError(f"{error} The command is: minicnn convert {shlex.quote(str(path))}{options} "
                         f"-o {shlex.quote(config.with_suffix('.npz').name)}") from error
    model.record["provenance"]["notes"] = notes
    return model

"""Checkpoints: what an interrupted training or compression resumes from.

Every checkpoint is an archive that also describes its work, so that it is not resumed with other options, files or data; ``identity.py``
lists what is compared.

A ``resume`` argument is True to go on from the checkpoint, if there is one; False to begin anew and replace it; None, the default, to
begin where there is none, and to refuse otherwise, since hours of work may be in it.
"""

import sys
from pathlib import Path
from typing import Any

from minicnn.archive import describe, load_described, read_archive, write_archive
from minicnn.errors import InputError
from minicnn.identity import check_identity, jsonable
from minicnn.layers import Layer
from minicnn.optim import SGD

MOMENTUM = "momentum:"          # prefix of the optimizer's arrays


def check_checkpoint(path: str | Path, resume: bool | None) -> None:
    """Raise InputError if there is a checkpoint, and it was not said what to do with it."""
    if resume is None and Path(path).exists():
        raise InputError(f"got no --resume, but {path} is there, the checkpoint of work that was not finished, expected a choice. Give "
                         "--resume to go on from it, or --restart to begin anew (in Python resume=True or False).")


def to_resume(path: str | Path, resume: bool | None) -> bool:
    """Whether to go on from a checkpoint; prints a line if there is none to resume.

    Raises:
        InputError: see ``check_checkpoint``.
    """
    check_checkpoint(path, resume)
    if resume and not Path(path).exists():
        print(f"no checkpoint {path}: beginning anew", file=sys.stderr)
    return bool(resume) and Path(path).exists()


def write_training_checkpoint(path: str | Path, model: Layer, optimizer: SGD, training: dict[str, Any], progress: dict[str, Any]) -> None:
    """Save an unfinished training.

    Args:
        path: the file.
        model, optimizer: their arrays are saved: weights, running statistics, momentum.
        training: what its result depends on, such as hyperparameters and seed.
        progress: how far it is.
    """
    buffers = {MOMENTUM + name: buffer for name, buffer in optimizer.buffers.items()}
    write_archive(path, {**dict(model.named_arrays()), **buffers}, {"training": training, "progress": progress})


def read_training_checkpoint(path: str | Path, model: Layer, optimizer: SGD, training: dict[str, Any]) -> dict[str, Any]:
    """Load weights and momentum of an interrupted training.

    Args:
        path: the file.
        model, optimizer: the arrays are loaded into them.
        training: as for ``write_training_checkpoint``.

    Returns:
        progress: as it was written.

    Raises:
        InputError: the file is damaged, or belongs to another training.
    """
    arrays, description = read_archive(path)
    say_unknown(path, check_identity(path, "training", description.get("training"), jsonable(training)))
    optimizer.buffers = {name.removeprefix(MOMENTUM): array for name, array in arrays.items() if name.startswith(MOMENTUM)}
    model.load_arrays({name: array for name, array in arrays.items() if not name.startswith(MOMENTUM)})
    return description["progress"]


def write_compression_checkpoint(path: str | Path, model: Layer, compression: dict[str, Any], progress: Any) -> None:
    """Save an unfinished compression.

    Args:
        path: the file.
        model: the network, which ``minicnn.load`` reads from the file, too.
        compression: what its result depends on, as JSON returns it, see ``jsonable``.
        progress: how far it is.
    """
    write_archive(path, dict(model.named_arrays()), {**describe(model), "compression": compression, "progress": progress})


def read_compression_checkpoint(path: str | Path, compression: dict[str, Any]) -> tuple[Layer, Any]:
    """The network and the progress of an interrupted compression.

    Args:
        path: the file.
        compression: as for ``write_compression_checkpoint``.

    Returns:
        model, progress: as they were written.

    Raises:
        InputError: the file is damaged, or belongs to another compression.
    """
    model, description = load_described(path)
    unknown = check_identity(path, "compression", "progress" in description and description.get("compression"), compression)
    say_unknown(path, unknown)
    return model, description["progress"]


def say_unknown(path, names):
    """Print a line about what an older checkpoint does not say."""
    if names:
        print(f"{path} was written by an older minicnn and does not hold the {', '.join(names)}, which are taken to be the same",
              file=sys.stderr)

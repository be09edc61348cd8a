"""Checkpoints: what an interrupted training or compression resumes from.

Every checkpoint is an archive that also describes its work, so that it is not resumed with other options or data.
"""

import json
from pathlib import Path
from typing import Any

from minicnn.archive import describe, load_described, read_archive, write_archive
from minicnn.errors import InputError
from minicnn.layers import Layer
from minicnn.optim import SGD

MOMENTUM = "momentum:"          # prefix of the optimizer's arrays
WORDS = {"recipe": "hyperparameters"}       # of keys, in messages


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
    saved, training = description.get("training"), jsonable(training)
    if saved != training:
        different = [WORDS.get(key, key) for key in training if not saved or saved.get(key) != training[key]]
        raise InputError(f"got the checkpoint {path} of another training (other {', '.join(different)}), expected one with these "
                         "options. Give the same options, or leave out --resume to begin anew.")
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
    if description.get("compression") != compression or "progress" not in description:
        raise InputError(f"got the checkpoint {path} of another compression, expected one with these options. Give the same "
                         "options, or leave out --resume to begin anew.")
    return model, description["progress"]


def jsonable(value: Any) -> Any:
    """A value as it is read back from JSON: tuples become lists.

    >>> jsonable({"ranks": (8, 16)})
    {'ranks': [8, 16]}
    """
    return json.loads(json.dumps(value))

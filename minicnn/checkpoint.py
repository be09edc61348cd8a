"""Checkpoints: what an interrupted compression resumes from."""

from minicnn.archive import describe, load_described, write_archive
from minicnn.errors import InputError


def write_compression_checkpoint(path, model, settings, progress):
    """Save an unfinished compression: the network, loadable like any archive, its settings, and its progress."""
    write_archive(path, dict(model.named_arrays()), {**describe(model), "compression": settings, "progress": progress})


def read_compression_checkpoint(path, settings):
    """The network and the progress of an interrupted compression with the same settings.

    Args:
        path: the file.
        settings: what ``write_compression_checkpoint`` was given, as JSON returns it.

    Returns:
        model, progress: as they were written.

    Raises:
        InputError: the file is damaged, or belongs to another compression.
    """
    model, description = load_described(path)
    if description.get("compression") != settings or "progress" not in description:
        raise InputError(f"got the checkpoint {path} of another compression, expected one with these options. Give the same "
                         "options, or leave out --resume to begin anew.")
    return model, description["progress"]

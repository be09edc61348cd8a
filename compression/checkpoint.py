"""The file from which an interrupted compression is resumed."""

from pathlib import Path
from typing import Any

from minicnn.checkpoint import read_compression_checkpoint, to_resume, write_compression_checkpoint
from minicnn.identity import jsonable


class Checkpoint:
    """A file with an unfinished compression: the network, which ``minicnn.load`` reads, and how far the work has come.

    Args:
        path: of the file.
        resume: True: go on from the file, if it is there; False: begin anew; None: refuse an existing one.
        origin: JSON-able facts on which an interrupted and a resumed compression must agree besides their options, such as the source
            file's SHA-256.
    """

    def __init__(self, path: str | Path, resume: bool | None = None, origin: dict | None = None):
        self.path, self.resume, self.origin = path, resume, origin or {}
        self.settings: dict = {}

    def open(self, settings: dict) -> tuple | None:
        """(model, progress) of an interrupted compression with these settings; None if there is none, or it is not to be resumed.

        Raises:
            InputError: the file is damaged, or of another compression; or it is there and ``resume`` is None.
        """
        self.settings = jsonable({**self.origin, **settings})
        return read_compression_checkpoint(self.path, self.settings) if to_resume(self.path, self.resume) else None

    def save(self, model: Any, progress: Any) -> None:
        """Write the network and how far the work has come."""
        write_compression_checkpoint(self.path, model, self.settings, progress)

    def remove(self) -> None:
        """Remove the file, once the result is saved."""
        Path(self.path).unlink(missing_ok=True)

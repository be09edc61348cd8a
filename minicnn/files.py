"""Writing files so that they are whole or not there."""

import contextlib
import os
import tempfile
from pathlib import Path

from minicnn.errors import InputError


@contextlib.contextmanager
def atomic_write(path):
    """A binary file to write to; when the block ends without an error it takes the place of ``path``, flushed to disk.

    Raises:
        InputError: the folder does not exist or cannot be written.
    """
    path = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)         # mkstemp makes files that others cannot read
        os.replace(temporary, path)
    except OSError as error:
        os.unlink(temporary)
        raise unwritable(path, error) from error
    except BaseException:
        os.unlink(temporary)
        raise


def check_writable(path):
    """Fail now rather than after an hour's work: raise InputError unless ``path`` could be written."""
    try:
        with tempfile.TemporaryFile(dir=Path(path).parent):
            pass
    except OSError as error:
        raise unwritable(path, error) from error
    if Path(path).is_dir():
        raise InputError(f"got the folder {path} to write to, expected a file. Add a file name.")


def make_folder(path):
    """Make a folder to write into, and its parents; raise InputError if that cannot be done."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        check_writable(Path(path, "file"))
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path, error):
    return InputError(f"cannot write {path} ({error.strerror or error}), expected a writable place. Make the folder or choose another.")

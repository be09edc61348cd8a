"""Write files and folders whole or not at all, check paths before work begins, and hash files.

hashlib, shutil and tempfile are imported where they are used: together they take longer to import than all of minicnn.
"""

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

from minicnn.errors import InputError


@contextlib.contextmanager
def atomic_write(path):
    """Open a temporary binary file that replaces ``path`` when the block ends without an error, flushed to disk.

    Ctrl-C is held back until the file is complete or, after another error, removed.

    Raises:
        InputError: the folder does not exist or cannot be written.
    """
    import tempfile
    path = Path(path)
    check_regular(path)
    with interrupts_held():
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
            os.chmod(temporary, 0o666 & ~umask)         # mkstemp makes files that only their owner can read
            os.replace(temporary, path)
        except OSError as error:
            os.unlink(temporary)
            raise unwritable(path, error) from error
        except BaseException:
            os.unlink(temporary)
            raise


@contextlib.contextmanager
def atomic_folder(path):
    """Make a temporary folder that is renamed to ``path`` when the block ends without an error, and removed after an error.

    Raises:
        InputError: ``path`` exists and is not an empty folder, or it cannot be written.
    """
    import shutil
    import tempfile
    path = Path(path)
    check_vacant(path)
    make_folder(path.parent)
    try:
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o777 & ~umask)             # mkdtemp makes folders that only their owner can read
        check_vacant(path)                              # another process may have made it meanwhile
        if path.is_dir():
            path.rmdir()
        os.rename(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)    # after the renaming there is nothing to remove


def check_vacant(path):
    """Raise InputError unless ``path`` does not exist, or is an empty folder other than the current one."""
    try:
        if not os.path.lexists(path):
            return
        if not path.is_dir():
            kind = "a file"
        elif any(path.iterdir()):
            kind = "a folder that is not empty"
        elif os.path.samefile(path, os.curdir):
            kind = "the current folder"
        else:
            return
    except OSError as error:
        raise unwritable(path, error) from error
    raise InputError(f"got {path} to write to, {kind}, expected a new folder or an empty one. Choose another name.")


@contextlib.contextmanager
def interrupts_held():
    """Hold back Ctrl-C until the block ends, for short work that must not be left unfinished.

    Signals are handled by the main thread only, so in other threads there is nothing to hold back.
    """
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):     # ignored, or set outside Python
        yield
        return
    held = []
    signal.signal(signal.SIGINT, lambda *arguments: held.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if held:
            previous(*held[0])


def check_writable(path):
    """Raise InputError, before any work is done, unless ``path`` can be written."""
    import tempfile
    try:
        with tempfile.TemporaryFile(dir=Path(path).parent):
            pass
    except OSError as error:
        raise unwritable(path, error) from error
    check_regular(Path(path))


def check_regular(path):
    """Raise InputError if ``path`` is a folder or a device, which a file must not replace."""
    if path.is_dir():
        raise InputError(f"got the folder {path} to write to, expected a file. Add a file name.")
    if path.exists() and not path.is_file():
        raise InputError(f"got {path} to write to, which is a device or a pipe, expected a file. Choose another name.")


def make_folder(path):
    """Make a folder to write into, and its parents; raises InputError if they cannot be made or written."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        check_writable(Path(path, "file"))
    except OSError as error:
        raise unwritable(path, error) from error


def sha256(path):
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        InputError: the file cannot be read.
    """
    import hashlib
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(2**20):
                digest.update(piece)
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror or error}), expected a file. Check the path.") from error
    return digest.hexdigest()


def source_file(path):
    """The name and the SHA-256 of a file, for a record of where something comes from: {"file", "sha256"}."""
    return {"file": Path(path).name, "sha256": sha256(path)}


def cache_folder():
    """The folder of downloads and measurements: ``MINICNN_CACHE``, or the platform's own cache folder.

    Raises:
        InputError: there is no home folder.
    """
    if os.environ.get("MINICNN_CACHE"):
        return Path(os.environ["MINICNN_CACHE"])
    variable, place = {"win32": ("LOCALAPPDATA", "AppData/Local"), "darwin": ("", "Library/Caches")}.get(
        sys.platform, ("XDG_CACHE_HOME", ".cache"))
    try:
        return Path(os.environ.get(variable) or Path.home() / place, "minicnn")
    except RuntimeError as error:
        raise InputError(f"got no home folder ({error}), expected one for the cache. Set MINICNN_CACHE to a folder.") from error


def unwritable(path, error):
    """The InputError for an OSError while writing ``path``."""
    return InputError(f"cannot write {path} ({error.strerror or error}), expected a writable place. Make the folder or choose another.")

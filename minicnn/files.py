"""Write files and folders whole or not at all, check paths before work begins, and hash files.

hashlib, shutil and tempfile are imported where they are used: together they take longer to import than all of minicnn.
"""

import contextlib
import errno
import os
import re
import signal
import stat
import sys
import threading
from pathlib import Path

from minicnn.errors import InputError

LONGEST_PREFIX = 50         # characters of a name that a temporary file's begins with: all of a long one might be too long
IN_MEMORY = 2**26           # bytes that are kept in memory until they go into a pipe; more go into a temporary file


@contextlib.contextmanager
def atomic_write(path):
    """Open a temporary binary file that replaces ``path`` when the block ends without an error, flushed to disk.

    If ``path`` is a symbolic link, the file that it leads to is replaced, and the link stays. What is no ordinary file, such as a pipe or
    /dev/stdout, cannot be replaced: then the file's content is written into it when the block ends. Ctrl-C is held back until the file is
    complete or, after another error, removed.

    Raises:
        InputError: the folder does not exist or cannot be written.
    """
    import tempfile
    target = file_behind(path)
    if is_stream(path):
        with written_through(path) as file:
            yield file
        return
    with interrupts_held():
        try:
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:LONGEST_PREFIX]}.")
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
            os.replace(temporary, target)
        except OSError as error:
            os.unlink(temporary)
            raise unwritable(path, error) from error
        except BaseException:
            os.unlink(temporary)
            raise


@contextlib.contextmanager
def written_through(path):
    """Open a temporary file whose content is written into ``path``, a pipe or a device, when the block ends without an error.

    It can seek, which archives need. Ctrl-C is not held back, since a pipe may wait for its reader.

    Raises:
        BrokenPipeError: the reader has closed the pipe. InputError: it cannot be written for another reason.
    """
    import shutil
    import tempfile
    sys.stdout.flush()                                  # it may be the same stream
    number = descriptor(path)
    try:
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            yield file
            file.seek(0)
            with open(path if number is None else os.dup(number), "wb") as stream:
                shutil.copyfileobj(file, stream)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(path, error) from error


@contextlib.contextmanager
def atomic_folder(path):
    """Make a temporary folder that is renamed to ``path`` when the block ends without an error, and removed after an error.

    If ``path`` is a symbolic link, the folder is made where it leads to, and the link stays.

    Raises:
        InputError: ``path`` exists and is not an empty folder, or it cannot be written.
    """
    import shutil
    import tempfile
    path = resolved(path)
    check_vacant(path)
    make_folder(path.parent)
    temporary = None
    try:
        with interrupts_held():
            temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:LONGEST_PREFIX]}."))
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
        if temporary:
            with interrupts_held():
                shutil.rmtree(temporary, ignore_errors=True)        # after the renaming there is nothing to remove


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
    """Hold back Ctrl-C, and a SIGTERM that has a handler, until the block ends, for short work that must not be left unfinished.

    Signals are handled by the main thread only, so in other threads there is nothing to hold back.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}       # not: ignored, default, set elsewhere
    if threading.current_thread() is not threading.main_thread() or not handlers:
        yield
        return
    held = []
    for number in handlers:
        signal.signal(number, lambda *arguments: held.append(arguments))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if held:
            handlers[held[0][0]](*held[0])


def check_writable(path):
    """Raise InputError, before any work is done, unless ``path`` can be written."""
    import tempfile
    target = file_behind(path)
    try:
        if is_stream(path):
            check_stream(path)
        else:
            with tempfile.TemporaryFile(dir=target.parent):
                pass
    except OSError as error:
        raise unwritable(path, error) from error


def check_stream(path):
    """Raise OSError if a pipe or a device cannot be written; a pipe is not opened, which would wait for its reader."""
    number = descriptor(path)
    if number is not None:
        import fcntl
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "not open for writing")
    elif not os.access(path, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def resolved(path):
    """The path behind all symbolic links, which need not exist yet; raises InputError if they lead in a circle."""
    try:
        target = Path(os.path.realpath(path))
        if target.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    except OSError as error:
        raise unwritable(path, error) from error
    return target


def file_behind(path):
    """As ``resolved``; raises InputError also for a folder, which a file must not replace."""
    target = resolved(path)
    if target.is_dir():
        raise InputError(f"got the folder {path} to write to, expected a file. Add a file name.")
    return target


def is_stream(path):
    """Whether a path must be written through: no ordinary file, or named below /dev or /proc, themselves or by a link.

    /dev/stdout may lead to an ordinary file, which the shell has open: replaced by another, it would lose what is printed later. /dev/shm
    holds ordinary files in memory.
    """
    if any(str(step).startswith(("/dev/", "/proc/")) and not str(step).startswith("/dev/shm/") for step in steps(path)):
        return True
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def descriptor(path):
    """The number of the open file of this process that a path such as /dev/stdout or /dev/fd/3 means, or None."""
    for step in steps(path):
        found = re.fullmatch(rf"(?:/dev|/proc/(?:self|thread-self|{os.getpid()}))/fd/(\d+)", str(step))
        if found:
            return int(found[1])
    return None


def steps(path):
    """The absolute path, its folders behind all links, and then where each symbolic link leads, until it is none or is repeated."""
    step, seen = os.path.abspath(path), []
    while step not in seen:
        seen.append(step)
        parent, name = os.path.split(step)
        if os.path.join(os.path.realpath(parent), name) != step:
            step = os.path.join(os.path.realpath(parent), name)
        elif os.path.islink(step):
            step = os.path.normpath(os.path.join(parent, os.readlink(step)))
    return seen


def make_folder(path):
    """Make a folder to write into, and its parents, where links lead to; raises InputError if they cannot be made or written."""
    try:
        resolved(path).mkdir(parents=True, exist_ok=True)
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


def decoded(data):
    """The text of a file that a user made: UTF-8 with or without a byte order mark, or UTF-16 with one, as PowerShell's ``>`` writes.

    Raises:
        UnicodeDecodeError: it is neither.

    >>> decoded("Käse".encode("utf-16")), decoded("Käse".encode("utf-8-sig"))
    ('Käse', 'Käse')
    """
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


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


def make_cache_folder(path):
    """``make_folder`` for a folder of the cache; the InputError names the variable that moves it."""
    try:
        make_folder(path)
    except InputError as error:
        raise InputError(f"{error} MINICNN_CACHE names another folder for the cache.") from error


def unwritable(path, error):
    """The InputError for an OSError while writing ``path``."""
    return InputError(f"cannot write {path} ({error.strerror or error}), expected a writable place. Make the folder or choose another.")

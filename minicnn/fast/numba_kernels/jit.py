"""Numba's ``njit``, which keeps what it compiles in the cache folder (``MINICNN_CACHE``), and works where that fails."""

import functools
import sys

import numba
from numba import config

from minicnn.compiled_code import compiled_folder

kernels: list = []              # all that were decorated
_warned: list[OSError] = []


def njit(**options):
    """The decorator ``numba.njit(**options)``; with ``cache=True`` compiled code is kept in ``compiled_folder()``."""
    def compiled(function):
        before, config.CACHE_DIR = config.CACHE_DIR, str(compiled_folder() or "")       # Numba reads it here; other code keeps its own
        try:
            dispatcher = numba.njit(**options)(function)
        finally:
            config.CACHE_DIR = before
        cache = getattr(dispatcher, "_cache", None)             # none if compiling is turned off
        if cache is not None:
            cache.load_overload, cache.save_overload = forgiving(cache.load_overload), forgiving(cache.save_overload)
            kernels.append(dispatcher)
        return dispatcher

    return compiled


def forgiving(access):
    """The method of a cache; where the file system refuses (a full disk), one warning, and the kernel runs without being kept."""
    @functools.wraps(access)
    def call(*args):
        try:
            return access(*args)
        except OSError as error:
            warn_once(error)

    return call


def warn_once(error):
    """A line on standard error, for the first kernel."""
    if not _warned:
        _warned.append(error)
        print(f"minicnn: warning: cannot keep compiled code in {compiled_folder()} ({error.strerror or error}), so the next start compiles "
              "anew. Set MINICNN_CACHE to a folder with room that can be written.", file=sys.stderr)

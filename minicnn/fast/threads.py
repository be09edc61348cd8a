"""How many threads compute."""

import contextlib
import os

from minicnn.errors import InputError

VARIABLE = "MINICNN_NUM_THREADS"
LIBRARIES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")       # read when each is loaded


def thread_count():
    """MINICNN_NUM_THREADS, or as many as there are cores for this process.

    Raises:
        InputError: the variable is no positive integer.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or not int(text):
        raise InputError(f"got {VARIABLE}={text}, expected a number of threads, at least 1. Unset it to use every core.")
    return int(text)


def tell_libraries():
    """Hand MINICNN_NUM_THREADS on to the libraries that will be loaded, unless their own variables say something."""
    if VARIABLE in os.environ:
        for name in LIBRARIES:
            os.environ.setdefault(name, os.environ[VARIABLE])


@contextlib.contextmanager
def one_blas_thread():
    """Within the block, products run on one thread, where threadpoolctl is installed; else nothing changes.

    Training a small network is hundreds of products a second of well under a millisecond each, between which BLAS's other threads
    spin and slow down what NumPy does meanwhile. An epoch of LeNet-5 then takes sometimes less, sometimes half as long again, and many
    times as long if something else runs beside it (``bench/lenet.py`` measures both).
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(1, user_api="blas"):
        yield

"""The number of threads: what the user asked for, and how the numerical libraries are told."""

import contextlib
import os

from minicnn.errors import InputError

VARIABLE = "MINICNN_NUM_THREADS"
LIBRARIES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")       # read when each is loaded


def thread_count():
    """MINICNN_NUM_THREADS, or the number of cores that this process may use.

    Raises:
        InputError: the variable is not a positive integer.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or not int(text):
        raise InputError(f"got {VARIABLE}={text}, expected a number of threads, at least 1. Unset it to use every core.")
    return int(text)


def tell_libraries():
    """Set the variables of the libraries that will be loaded to MINICNN_NUM_THREADS, unless they are set."""
    if VARIABLE in os.environ:
        for name in LIBRARIES:
            os.environ.setdefault(name, os.environ[VARIABLE])


@contextlib.contextmanager
def one_blas_thread():
    """Within the block, BLAS runs on one thread; without threadpoolctl, nothing changes.

    Training a small network computes hundreds of matrix products a second, each well under a millisecond. Between them, the other threads
    of BLAS spin and slow down what NumPy does meanwhile. With them, an epoch of LeNet-5 takes sometimes less time, sometimes half as long
    again, and many times as long if something else runs on the machine (``bench/lenet.py`` measures both).
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(1, user_api="blas"):
        yield

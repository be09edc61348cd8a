"""The number of threads: what the user asked for, and how the numerical libraries are told."""

import contextlib
import ctypes
import functools
import itertools
import os

from minicnn.errors import InputError

VARIABLE = "MINICNN_NUM_THREADS"
MOST = 1024             # threads, more than there are cores in a machine: Numba starts them all at once
LIBRARIES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")       # read when each is loaded


def thread_count():
    """MINICNN_NUM_THREADS, or the number of cores that this process may use.

    Raises:
        InputError: the variable is not an integer from 1 to ``MOST``; an empty one counts as not set.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise InputError(f"got {VARIABLE}={text}, expected a number of threads, from 1 to {MOST}. Unset it to use every core.")
    return int(text)


def numpy_threads():
    """Number of threads that a step in NumPy may use: MINICNN_NUM_THREADS, else that of BLAS; 1 where BLAS is not OpenBLAS."""
    blas = blas_threads()
    if not blas:
        return 1
    return thread_count() if os.environ.get(VARIABLE) else blas[0]()


@functools.cache
def numba_threads():
    """Number of threads among which compiled kernels divide their work: ``thread_count``, but at most what Numba was started with."""
    from numba import config
    return min(thread_count(), config.NUMBA_NUM_THREADS)


@functools.cache
def blas_threads():
    """The functions that get and set the number of threads of NumPy's OpenBLAS; None where NumPy uses another BLAS."""
    import numpy as np
    library = ctypes.CDLL(np.linalg._umath_linalg.__file__)     # finds also the symbols of the BLAS that it is linked with
    for prefix, suffix in itertools.product(("scipy_openblas", "openblas"), ("64_", "")):
        get, put = (getattr(library, f"{prefix}_{verb}_num_threads{suffix}", None) for verb in ("get", "set"))
        if get and put:
            return get, put
    return None


def tell_libraries():
    """Set the variables of the libraries that will be loaded to MINICNN_NUM_THREADS, unless they are set.

    A wrong number is passed on to none of them: it is reported where threads are first needed.
    """
    if os.environ.get(VARIABLE):
        with contextlib.suppress(InputError):
            count = str(thread_count())
            for name in LIBRARIES:
                os.environ.setdefault(name, count)


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

"""The threads among which the compiled kernels divide their work: their number, and the layer of Numba that they belong to."""

import functools
import os

from numba import config, get_num_threads, set_num_threads, threading_layer
from numba.np.ufunc import parallel

from minicnn.fast.numba_kernels.jit import kernels
from minicnn.fast.threads import numba_threads

get_num_threads()       # starts them


def restart():
    """Let a forked process start threads of its own. GNU OpenMP, which Numba takes where there is no TBB, would end that process: Numba's
    workqueue, slower on small layers, takes its place there, and compiled code is loaded again, to be linked with it."""
    if threading_layer() == "omp":
        config.THREADING_LAYER, parallel._is_initialized = "workqueue", False
        workers.cache_clear()
        for kernel in kernels:
            kernel._make_finalizer()()          # the first half of Dispatcher.recompile(); the cache stays
            kernel._reset_overloads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=restart)


@functools.cache
def workers():
    """MINICNN_NUM_THREADS or the number of cores, but at most the number that Numba was started with. Numba is set to it."""
    count = numba_threads()
    set_num_threads(count)
    return count

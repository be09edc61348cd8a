"""Number of threads among which the compiled kernels divide their work."""

import functools

from numba import set_num_threads

from minicnn.fast.threads import numba_threads


@functools.cache
def workers():
    """MINICNN_NUM_THREADS or the number of cores, but at most the number that Numba was started with. Numba is set to it."""
    count = numba_threads()
    set_num_threads(count)
    return count

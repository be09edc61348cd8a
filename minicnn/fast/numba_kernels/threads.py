"""Number of threads among which the compiled kernels divide their work."""

import functools

from numba import config, set_num_threads

from minicnn.fast.threads import thread_count


@functools.cache
def workers():
    """MINICNN_NUM_THREADS or the number of cores, but at most the number that Numba was started with. Numba is set to it."""
    count = min(thread_count(), config.NUMBA_NUM_THREADS)
    set_num_threads(count)
    return count

"""How many threads the compiled kernels divide their work for."""

import functools

from numba import config, set_num_threads

from minicnn.fast.threads import thread_count


@functools.cache
def workers():
    """MINICNN_NUM_THREADS or the number of cores, but no more than Numba was started with."""
    count = min(thread_count(), config.NUMBA_NUM_THREADS)
    set_num_threads(count)
    return count

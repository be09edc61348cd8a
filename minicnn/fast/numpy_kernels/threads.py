"""Several threads, each with its share of one step's strips.

NumPy lets other threads run while it computes, so a step that is cut into strips runs on as many threads as there are strips. Each then
multiplies with one BLAS thread: that is as fast as BLAS's own threads on one product after the other, and everything between the
products is shared too. OpenBLAS, which NumPy's wheels bring along, is told so by its own C functions. With another BLAS, strips run one
after the other, and only the products use several threads.
"""

import collections
import concurrent.futures
import ctypes
import functools
import itertools
import os
import threading

import numpy as np

_busy = threading.Lock()            # BLAS's number of threads is the process's: one step at a time may lower it


def threads():
    """How many threads a step may use: MINICNN_NUM_THREADS, else as many as BLAS does."""
    blas = blas_threads()
    return int(os.environ.get("MINICNN_NUM_THREADS", 0)) or blas[0]() if blas else 1


def share(work, strips, workers=None):
    """Call ``work(worker, strips)`` on each thread; together they get each strip once.

    Args:
        work: function of the thread's number from 0 and an iterator over the strips that fall to it.
        strips: what there is to do, in order.
        workers: at most so many threads; None means ``threads()``. To wake one takes 0.05 ms.
    """
    todo = collections.deque(strips)
    workers = min(threads() if workers is None else workers, len(todo))
    if not blas_threads() or not _busy.acquire(blocking=False):
        return work(0, taken(todo))
    get, put = blas_threads()
    before = get()
    put(1)
    try:
        others = [pool(workers - 1).submit(work, worker, taken(todo)) for worker in range(1, workers)]
        try:
            work(0, taken(todo))
        finally:
            concurrent.futures.wait(others)         # they write into the same arrays
    finally:
        put(before)
        _busy.release()
    for other in others:
        other.result()


def worth(numbers, each):
    """How many threads are worth waking for so many numbers, ``each`` of which keep one busy for 0.1 ms."""
    return min(threads(), max(1, round(numbers / each)))


def runs(count, step, workers=1):
    """Cut range(count) into slices of at most ``step``, as equal as can be, their number a multiple of ``workers`` if it can be."""
    pieces = min(count, -(-count // (step * workers)) * workers)
    return [slice(count * i // pieces, count * (i + 1) // pieces) for i in range(pieces)]


def taken(todo):
    """Take from the front of a deque until it is empty; several threads may."""
    while True:
        try:
            yield todo.popleft()
        except IndexError:
            return


@functools.cache
def pool(size):
    """Threads that wait for work; kept, since to start one takes 0.2 ms."""
    return concurrent.futures.ThreadPoolExecutor(size, "minicnn")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)        # a forked process has none of its parent's threads


@functools.cache
def blas_threads():
    """The functions that get and set the number of threads of NumPy's OpenBLAS; None where NumPy uses another BLAS."""
    library = ctypes.CDLL(np.linalg._umath_linalg.__file__)     # what it was linked with is found through it
    for prefix, suffix in itertools.product(("scipy_openblas", "openblas"), ("64_", "")):
        get, put = (getattr(library, f"{prefix}_{verb}_num_threads{suffix}", None) for verb in ("get", "set"))
        if get and put:
            return get, put
    return None

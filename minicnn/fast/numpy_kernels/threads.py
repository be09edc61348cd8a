"""Runs the strips of one step on several threads.

NumPy releases the interpreter's lock while it computes, so the strips of a step can run in parallel. Each thread then multiplies with one
BLAS thread: that is as fast as BLAS's own threads on one product after the other, and everything between the products is parallel too.
The number of BLAS threads is set by OpenBLAS's own C functions, which NumPy's wheels contain. With another BLAS, the strips run one after
the other, and only the products use several threads.
"""

import collections
import concurrent.futures
import functools
import os
import threading

from minicnn.fast.threads import blas_threads, numpy_threads

_busy = threading.Lock()            # BLAS has one number of threads for the process: only one step at a time may lower it


def run_strips(work, strips, workers=None):
    """Call ``work(worker, strips)`` on several threads, among which the strips are distributed as they become free.

    Args:
        work: function of the thread's number, from 0, and of an iterator over strips.
        strips: all strips, in order.
        workers: largest number of threads; None means ``numpy_threads()``. Waking one takes 0.05 ms.
    """
    todo = collections.deque(strips)
    workers = min(numpy_threads() if workers is None else workers, len(todo))
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
            concurrent.futures.wait(others)         # they write to the same arrays
    finally:
        put(before)
        _busy.release()
    for other in others:
        other.result()


def useful_threads(numbers, each):
    """Number of threads worth waking for a step of that many numbers, where ``each`` numbers keep a thread busy for 0.1 ms."""
    return min(numpy_threads(), max(1, round(numbers / each)))


def strips_of(count, step, workers=1):
    """Cut range(count) into slices of at most ``step``, of nearly equal length; their number is a multiple of ``workers``, if possible.

    >>> strips_of(10, 4)
    [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
    """
    pieces = min(count, -(-count // (step * workers)) * workers)
    return [slice(count * i // pieces, count * (i + 1) // pieces) for i in range(pieces)]


def taken(todo):
    """Take from the front of a deque until it is empty; several threads may do so at once."""
    while True:
        try:
            yield todo.popleft()
        except IndexError:
            return


@functools.cache
def pool(size):
    """Threads that wait for work; they are kept, since starting one takes 0.2 ms."""
    return concurrent.futures.ThreadPoolExecutor(size, "minicnn")


def forget_threads():
    """Start anew in a forked process, which has none of its parent's threads: neither the pool's, nor one that was busy."""
    global _busy
    _busy = threading.Lock()
    pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_threads)

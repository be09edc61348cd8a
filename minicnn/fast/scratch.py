"""Memory for large results, reused when no array refers to it any more.

glibc's malloc takes blocks of more than 32 MiB from the system, and returns them, each time. Fresh pages can then cost more than what is
computed on them: RoIAlign of 1000 boxes and 512 channels writes 100 MB.
"""

import math
import os
import threading
import weakref

import numpy as np

LARGE = 2**25           # bytes; glibc's DEFAULT_MMAP_THRESHOLD_MAX
BLOCKS = 2              # number that are kept: the pooled boxes of one feature map, and of all

_kept: list["Block"] = []
_lock = threading.Lock()


class Block:
    """A block of memory, and a weak reference to the holder of the arrays on it."""

    def __init__(self, size):
        self.bytes, self.holder = np.empty(size, np.uint8), lambda: None

    def lend(self, shape, dtype):
        """A new array on the block."""
        holder = Holder(self.bytes, shape, dtype)
        self.holder = weakref.ref(holder)
        return np.asarray(holder)


class Holder:
    """The base of the arrays on a block: it exists for as long as one of them does."""

    def __init__(self, memory, shape, dtype):
        self.memory = memory
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": np.dtype(dtype).str, "data": (memory.ctypes.data, False)}


def memory(shape, dtype):
    """See ``minicnn.functional.dispatch.memory``: an array on a block that is free, if it is large."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    with _lock:
        free = [block for block in _kept if block.holder() is None]
        fitting = [block for block in free if block.bytes.nbytes >= size]
        if not fitting:
            _kept[:] = [block for block in _kept if block not in free]          # too small, so of no use
            fitting = [Block(size)]
            if len(_kept) < BLOCKS:
                _kept.extend(fitting)
        return fitting[0].lend(shape, dtype)


def renew_lock():
    """A new lock for a forked process, which lacks the thread that may have held the old one."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renew_lock)

KERNELS = {"memory": memory}

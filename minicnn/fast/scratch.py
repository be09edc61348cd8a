"""Memory of large results, used again when nobody holds them any more.

What is larger than 32 MiB, glibc's malloc takes from the system and gives back each time. Fresh pages can then cost more than what is
computed on them: RoIAlign of 1000 boxes and 512 channels writes 100 MB.
"""

import math
import threading
import weakref

import numpy as np

LARGE = 2**25           # bytes; glibc's DEFAULT_MMAP_THRESHOLD_MAX
BLOCKS = 2              # that are kept: the pooled boxes of one map, and of all

_kept, _lock = [], threading.Lock()


class Block:
    """Bytes, and who holds them."""

    def __init__(self, size):
        self.bytes, self.holder = np.empty(size, np.uint8), lambda: None

    def lend(self, shape, dtype):
        holder = Holder(self.bytes, shape, dtype)
        self.holder = weakref.ref(holder)
        return np.asarray(holder)


class Holder:
    """What arrays on a block have as their base: it is there for as long as one of them is."""

    def __init__(self, memory, shape, dtype):
        self.memory = memory
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": np.dtype(dtype).str, "data": (memory.ctypes.data, False)}


def memory(shape, dtype):
    """See ``minicnn.functional.dispatch.memory``."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    with _lock:
        free = [block for block in _kept if block.holder() is None]
        fitting = [block for block in free if block.bytes.nbytes >= size]
        if not fitting:
            _kept[:] = [block for block in _kept if block not in free]          # too small: they would only lie there
            fitting = [Block(size)]
            if len(_kept) < BLOCKS:
                _kept.extend(fitting)
        return fitting[0].lend(shape, dtype)


KERNELS = {"memory": memory}

"""The two speeds that bound a network's time on this machine: that of a large matrix product, and that of memory.

Both are measured with the backend's own code. Together they are the roofs of the roofline model (``minicnn.report.roofline_page``).
"""

import time

import numpy as np

from minicnn.fast import machine
from minicnn.fast.plan.steps import backend_kernels

SIDE = 1024             # of the matrices of the large product
CACHES = 4              # an array that must not fit in the largest cache is at least this many times larger
LEAST, MOST = 2**26, 2**28      # bytes of such an array, whatever the caches


def product_speed(backend):
    """GFLOP/s of a large matrix product: Numba's own kernel, else NumPy's."""
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal((SIDE, SIDE), np.float32) for _ in range(2))
    y = np.empty((SIDE, SIDE), np.float32)
    if backend == "numba":
        kernels = backend_kernels(backend)
        packed, bias = kernels.pack(weight), np.zeros(SIDE, np.float32)
        seconds = least_seconds(lambda: kernels.linear(x, packed, bias, y))
    else:
        seconds = least_seconds(lambda: np.matmul(x, weight, out=y))
    return 2 * SIDE**3 / seconds / 1e9


def memory_speed(backend):
    """GB/s between processor and memory: the better of a copy and of the backend's sum of two maps, larger than the caches."""
    size = min(MOST, max(LEAST, CACHES * max(machine.caches().values(), default=0)))
    x, z, y = (np.ones((1, 1, size // 256, 64), np.float32) for _ in range(3))
    add = (lambda: np.add(x, z, out=y)) if backend == "reference" else (lambda: backend_kernels(backend).add(x, z, y))
    return max(3 * x.nbytes / least_seconds(add), 2 * x.nbytes / least_seconds(lambda: np.copyto(y, x))) / 1e9


def least_seconds(call, seconds=0.5, times=5):
    """The shortest of several calls, after one that is not timed: at least ``times``, for at least ``seconds``."""
    call()
    found, begin = [], time.perf_counter()
    while len(found) < times or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)

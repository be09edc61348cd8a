"""The steps of a plan, and the twins of operations, compiled by Numba. ``minicnn.fast.numpy_kernels`` has the same in NumPy alone."""

import functools

from minicnn.fast import scratch
from minicnn.fast.numba_kernels import nms, resize, unplanned
from minicnn.fast.numba_kernels.compile_notice import announced
from minicnn.fast.numba_kernels.conv_depthwise import depthwise
from minicnn.fast.numba_kernels.conv_winograd import filters, winograd, winograd_scratch
from minicnn.fast.numba_kernels.elementwise import activate_numbers as activate
from minicnn.fast.numba_kernels.elementwise import add, add_nearest, affine, max_pool, mean, pad, scale
from minicnn.fast.numba_kernels.matmul import convolve, linear, pack
from minicnn.fast.numpy_kernels.matmul import mix
from minicnn.fast.run import lock, run


def alone(twin):
    """The twin as it is called: by one thread at a time."""
    @functools.wraps(twin)
    def call(*args, **kwargs):
        with lock:
            return twin(*args, **kwargs)

    return call


KERNELS = {name: alone(kernel) for name, kernel in {**nms.KERNELS, **resize.KERNELS, **unplanned.KERNELS}.items()}
KERNELS = {name: announced(kernel) for name, kernel in {"run": run, **scratch.KERNELS, **KERNELS}.items()}

__all__ = ["KERNELS", "activate", "add", "add_nearest", "affine", "convolve", "depthwise", "filters", "linear", "max_pool", "mean", "mix",
           "pack", "pad", "scale", "winograd", "winograd_scratch"]

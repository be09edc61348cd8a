"""The kernels compiled by Numba: the steps of a plan, and the operations outside of a plan.

``minicnn.fast.numpy_kernels`` has the same steps in NumPy.
"""

import functools

from minicnn.fast import scratch
from minicnn.fast.numba_kernels import nms, resize, roi_align, roi_pool, unplanned
from minicnn.fast.numba_kernels.compile_notice import announced
from minicnn.fast.numba_kernels.conv_depthwise import depthwise
from minicnn.fast.numba_kernels.conv_direct import convolve
from minicnn.fast.numba_kernels.conv_winograd import filters, winograd, winograd_scratch
from minicnn.fast.numba_kernels.elementwise import activate, add, add_nearest, affine, mean, pad, scale
from minicnn.fast.numba_kernels.matmul import linear, pack
from minicnn.fast.numba_kernels.max_pool import max_pool
from minicnn.fast.numpy_kernels.matmul import mix
from minicnn.fast.one_run import lock
from minicnn.fast.run import run


def locked(kernel):
    """The kernel, which only one thread at a time can call."""
    @functools.wraps(kernel)
    def call(*args, **kwargs):
        with lock:
            return kernel(*args, **kwargs)

    return call


KERNELS = {name: locked(kernel) for module in (nms, roi_align, roi_pool, resize, unplanned) for name, kernel in module.KERNELS.items()}
KERNELS = {name: announced(kernel) for name, kernel in {"run": run, **scratch.KERNELS, **KERNELS}.items()}

__all__ = ["KERNELS", "activate", "add", "add_nearest", "affine", "convolve", "depthwise", "filters", "linear", "max_pool", "mean", "mix",
           "pack", "pad", "scale", "winograd", "winograd_scratch"]

"""The kernels in NumPy: the steps of a plan, and the operations outside of a plan.

``minicnn.fast.numba_kernels`` has the same steps compiled by Numba.
"""

from minicnn.fast import scratch
from minicnn.fast.numpy_kernels import nms, unplanned
from minicnn.fast.numpy_kernels.conv_depthwise import depthwise
from minicnn.fast.numpy_kernels.conv_direct import convolve
from minicnn.fast.numpy_kernels.conv_winograd import filters, winograd, winograd_scratch
from minicnn.fast.numpy_kernels.elementwise import activate, add, add_nearest, affine, mean, pad, scale
from minicnn.fast.numpy_kernels.matmul import linear, mix, pack
from minicnn.fast.numpy_kernels.max_pool import max_pool
from minicnn.fast.run import run

KERNELS = {"run": run, **scratch.KERNELS, **nms.KERNELS, **unplanned.KERNELS}

__all__ = ["KERNELS", "activate", "add", "add_nearest", "affine", "convolve", "depthwise", "filters", "linear", "max_pool", "mean", "mix",
           "pack", "pad", "scale", "winograd", "winograd_scratch"]

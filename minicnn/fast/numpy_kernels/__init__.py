"""The steps of a plan, and the twins of operations, in NumPy alone. ``minicnn.fast.numba_kernels`` has the same compiled by Numba."""

from minicnn.fast import scratch
from minicnn.fast.numpy_kernels import nms, unplanned
from minicnn.fast.numpy_kernels.conv_depthwise import depthwise
from minicnn.fast.numpy_kernels.conv_winograd import filters, winograd, winograd_scratch
from minicnn.fast.numpy_kernels.elementwise import activate, add, add_nearest, affine, scale
from minicnn.fast.numpy_kernels.matmul import convolve, linear, mix, pack
from minicnn.fast.numpy_kernels.max_pool import max_pool, mean, pad
from minicnn.fast.run import run

KERNELS = {"run": run, **scratch.KERNELS, **nms.KERNELS, **unplanned.KERNELS}

__all__ = ["KERNELS", "activate", "add", "add_nearest", "affine", "convolve", "depthwise", "filters", "linear", "max_pool", "mean", "mix",
           "pack", "pad", "scale", "winograd", "winograd_scratch"]

"""The steps of a plan, and the twins of operations, in NumPy alone. ``minicnn.fast.compiled`` has the same compiled by Numba."""

from minicnn.fast import memory
from minicnn.fast.arrays import regions, training
from minicnn.fast.arrays.depthwise import depthwise
from minicnn.fast.arrays.elementwise import activate, add, add_nearest, affine, scale
from minicnn.fast.arrays.pooling import max_pool, mean, pad
from minicnn.fast.arrays.product import convolve, linear, mix, pack
from minicnn.fast.arrays.winograd import filters, winograd, winograd_scratch
from minicnn.fast.run import run

TWINS = {"run": run, **memory.TWINS, **regions.TWINS, **training.TWINS}

__all__ = ["TWINS", "activate", "add", "add_nearest", "affine", "convolve", "depthwise", "filters", "linear", "max_pool", "mean", "mix",
           "pack", "pad", "scale", "winograd", "winograd_scratch"]

"""The steps of a plan, and the twins of operations, compiled by Numba. ``minicnn.fast.arrays`` has the same in NumPy alone."""

import functools

from minicnn.fast import memory
from minicnn.fast.arrays.product import mix
from minicnn.fast.compiled import regions, resize, training
from minicnn.fast.compiled.compiling import announced
from minicnn.fast.compiled.depthwise import depthwise
from minicnn.fast.compiled.elementwise import activate_numbers as activate
from minicnn.fast.compiled.elementwise import add, add_nearest, affine, max_pool, mean, pad, scale
from minicnn.fast.compiled.product import convolve, linear, pack
from minicnn.fast.compiled.winograd import filters, winograd, winograd_scratch
from minicnn.fast.run import lock, run


def alone(twin):
    """The twin as it is called: by one thread at a time."""
    @functools.wraps(twin)
    def call(*args, **kwargs):
        with lock:
            return twin(*args, **kwargs)

    return call


TWINS = {"run": run, **memory.TWINS, **{name: alone(twin) for name, twin in {**regions.TWINS, **resize.TWINS, **training.TWINS}.items()}}
TWINS = {name: announced(twin) for name, twin in TWINS.items()}

__all__ = ["TWINS", "activate", "add", "add_nearest", "affine", "convolve", "depthwise", "filters", "linear", "max_pool", "mean", "mix",
           "pack", "pad", "scale", "winograd", "winograd_scratch"]

"""Bilinear resizing, compiled: for each row of the result first between two source rows, then between columns."""

import numpy as np
from numba import get_num_threads, prange

from minicnn.fast.numba_kernels.jit import njit
from minicnn.functional.conv import pair
from minicnn.functional.dispatch import REFERENCE
from minicnn.functional.resize import bilinear_index


def interpolate(x, size, mode="nearest"):
    """See ``minicnn.functional.interpolate``; equal to the reference to the last bit."""
    if mode != "bilinear" or x.dtype != np.float32:
        return REFERENCE["interpolate"](x, size, mode)
    (n, c, h, w), (ho, wo) = x.shape, pair(size)
    y = np.empty((n, c, ho, wo), np.float32)
    x = np.require(x, requirements=("C", "W"))                     # read-only: compiled anew
    bilinear(x.reshape(-1), y.reshape(-1), n * c, h, w, ho, wo, *bilinear_index(h, ho), *bilinear_index(w, wo), get_num_threads())
    return y


@njit(cache=True, parallel=True)
def bilinear(x, y, planes, h, w, ho, wo, top, bottom, down, left, right, across, workers):
    """y (planes, Ho, Wo) from x (planes, H, W): between rows top and bottom with weight ``down``, between columns likewise."""
    one = np.float32(1)
    for worker in prange(workers):
        line = np.empty(w, np.float32)
        for out in range(worker, planes * ho, workers):
            r = out % ho
            a, b, share = (out // ho * h + top[r]) * w, (out // ho * h + bottom[r]) * w, down[r]
            for i in range(w):
                line[i] = x[a + i] * (one - share) + x[b + i] * share
            for i in range(wo):
                y[out * wo + i] = line[left[i]] * (one - across[i]) + line[right[i]] * across[i]


KERNELS = {"interpolate": interpolate}

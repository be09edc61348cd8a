"""How long a convolution takes on this machine, and how long its Tucker chains would, told from their shapes without timing them.

A step of a plan takes its time for what it does much of: multiplications of one algorithm or another, numbers read and written.

    milliseconds = sum over the kinds of work of  rate * amount

The amounts follow from the shapes and from the algorithm that ``choose`` takes. The rates are the machine's: ``calibrate`` times some
dozens of convolutions and chains once, fits the rates to them, and keeps them in a file for this processor, number of threads, backend
and versions.

A Tucker chain is three convolutions in the place of one: 1 x 1 to fewer channels, k x k on these, 1 x 1 to the channels that were.
"""

import itertools
import json
import math
import os

import numpy as np

from minicnn.errors import InputError
from minicnn.fast import choose, tuning
from minicnn.fast.measure import contest, into_arena
from minicnn.fast.plan import compile, eights
from minicnn.fast.trace import trace
from minicnn.fast.winograd import POINTS
from minicnn.files import atomic_write, make_folder
from minicnn.functional import kernels
from minicnn.layers import Conv2d, Sequential
from minicnn.progress import Progress

KINDS = (               # of work; rates are milliseconds for
    "product",          # 10^9 multiplications of 1 x 1 convolutions
    "direct",           # 10^9 of direct ones
    "winograd",         # 10^9 of Winograd's products
    "maps",             # 10^6 numbers of maps read and written, by 1 x 1 and direct convolutions
    "patches",          # 10^6 numbers under the kernels of a direct one, which a backend may write out
    "tiles",            # 10^6 numbers of Winograd's transformed tiles
    "weights",          # 10^6 numbers of filters, as the algorithm wants them
    "steps",            # one step
)
GIGA, MEGA = 1e9, 1e6

NAME, FORMAT = "rates.json", 1
SECONDS = 10            # that calibrating may take, besides what it prepares
TURNS = (3, 15)         # at least, at most
SAMPLES = (             # C, O, H, W and settings of the convolutions that are timed, whole and as chains
    (32, 48, 120, 160, {}), (64, 64, 60, 80, {}), (64, 128, 60, 80, {}), (96, 96, 96, 120, {}), (128, 128, 30, 40, {}),
    (128, 128, 60, 80, {}), (160, 224, 40, 60, {}), (224, 224, 88, 120, {}), (320, 320, 30, 40, {}), (384, 384, 30, 40, {}),
    (448, 320, 40, 60, {}), (448, 448, 60, 76, {}), (256, 512, 20, 32, {}),
    (64, 64, 60, 80, {"stride": 2}), (128, 256, 60, 80, {"stride": 2}), (256, 256, 20, 32, {"dilation": 2, "padding": 2}),
    (64, 64, 40, 60, {"kernel_size": 5, "padding": 2}),
)
SHARES = (None, 1 / 4, 1 / 2, 3 / 4)        # of the channels as ranks; None: the whole layer


def chain_milliseconds(layer, shape, ranks, backend=None, rates=None):
    """The milliseconds of a convolution and of its chains.

    Args:
        layer: ``Conv2d`` without groups, such as ``Conv2d(512, 512, 3, padding=1)``; its numbers do not matter.
        shape: (N, C, H, W) of its input.
        ranks: for each chain (r_in, r_out), the channels between its convolutions, or one number for both.
        backend: "numpy" or "numba"; None: the one in use.
        rates: from ``calibrate`` or ``fit``; None: those of this machine, measured now if they never were.

    Returns:
        whole: of the layer; chains: list, of the chain at each of ``ranks``.

    Raises:
        InputError: not such a layer, shape, ranks or backend.
    """
    backend = engine(backend)
    rates = machine_rates(backend) if rates is None else rates
    checked_shape(layer, shape)
    networks = [Sequential([layer])] + [chain(layer, one) for one in ranks]
    whole, *chains = (milliseconds(network, shape, backend, rates) for network in networks)
    return whole, chains


def break_even(layer, shape, backend=None, rates=None):
    """The largest rank, a multiple of 8 for both sides, at which the chain is faster than the layer; 0 if none is. Arguments as above."""
    ranks = list(range(min(layer.in_channels, layer.out_channels) // 8 * 8, 0, -8))
    whole, chains = chain_milliseconds(layer, shape, ranks, backend, rates)
    return next((rank for rank, one in zip(ranks, chains) if one < whole), 0)


def chain(layer, ranks, rng=None):
    """The Tucker chain of a convolution as a network; its weights are drawn from rng, or zeros.

    Raises:
        InputError: a grouped convolution, or ranks that are not from 1 to its channels.

    Reference: Kim, Park, Yoo, Choi, Yang, Shin, Compression of deep convolutional neural networks for fast and low power mobile
    applications (2016), section 3.1, equations 3 to 5.
    """
    if getattr(layer, "kind", None) != "Conv2d" or layer.groups != 1:
        raise InputError(f"got {layer}, expected a convolution without groups. Leave others whole.")
    c, o = layer.in_channels, layer.out_channels
    r_in, r_out = (ranks, ranks) if np.ndim(ranks) == 0 else ranks
    if not (1 <= r_in <= c and 1 <= r_out <= o):
        raise InputError(f"got the ranks {r_in} and {r_out}, expected at least 1 and at most the channels, {c} and {o}. Choose them so.")
    return Sequential([Conv2d(c, r_in, 1, bias=False, rng=rng),
                       Conv2d(r_in, r_out, layer.kernel_size, layer.stride, layer.padding, layer.dilation, bias=False, rng=rng),
                       Conv2d(r_out, o, 1, bias=layer.bias is not None, rng=rng)])


def milliseconds(network, shape, backend, rates):
    """Of the convolutions of a network; what else it does is not counted. shape: (N, C, H, W) of its input."""
    return sum(rates[kind] * amount for kind, amount in amounts(network, shape, backend).items())


def amounts(network, shape, backend):
    """How much of each of ``KINDS`` the convolutions of a network do."""
    operations, _ = trace(network, [shape])
    total = dict.fromkeys(KINDS, 0.0)
    for operation in operations:
        if operation.kind == "conv2d":
            for kind, amount in work(operation, choose.convolution(operation, backend).algorithm).items():
                total[kind] += amount
    return total


def work(operation, algorithm):
    """{kind: amount} of one convolution, its channels rounded up as a plan's are."""
    n, c, h, w = operation.inputs[0].shape
    c, o, pixels, taps = eights(c), eights(operation.shape[1]), choose.pixels(operation), math.prod(operation.settings["weight"].shape[2:])
    if algorithm == "winograd":
        tiles = POINTS * choose.tiles_of(operation)
        return {"winograd": tiles * c * o / GIGA, "tiles": tiles * (c + o) / MEGA, "weights": POINTS * c * o / MEGA, "steps": 1}
    if algorithm == "product":
        return {"product": pixels * c * o / GIGA, "maps": pixels * (c + o) / MEGA, "weights": c * o / MEGA, "steps": 1}
    return {"direct": pixels * taps * c * o / GIGA, "maps": (2 * n * h * w * c + pixels * o) / MEGA, "patches": pixels * taps * c / MEGA,
            "weights": taps * c * o / MEGA, "steps": 1 + any(operation.settings["padding"])}            # a border is a step of its own

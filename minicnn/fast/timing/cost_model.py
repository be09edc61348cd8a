"""Estimates the time of a network's convolutions from their shapes, without running them.

The time of a step is modelled as linear in the amounts of several kinds of work (``KINDS``):

    milliseconds = sum over the kinds of work of  rate * amount

The amounts follow from the shapes and from the algorithm that ``minicnn.fast.choose`` selects. The rates belong to the machine;
``calibration`` measures them.
"""

import math

from minicnn.errors import InputError
from minicnn.fast import choose
from minicnn.fast.layouts import padded_channels
from minicnn.fast.winograd import POINTS
from minicnn.functional import dispatch
from minicnn.trace import trace

KINDS = (               # of work; the rate of each is in milliseconds per
    "product",          # 10^9 multiplications of 1 x 1 convolutions
    "direct",           # 10^9 multiplications of direct convolutions
    "winograd",         # 10^9 multiplications of Winograd's matrix products
    "maps",             # 10^6 numbers of feature maps that 1 x 1 and direct convolutions read and write
    "patches",          # 10^6 numbers in the patches of direct convolutions, which a backend may copy (im2col)
    "tiles",            # 10^6 numbers of Winograd's transformed tiles
    "weights",          # 10^6 numbers of filters, in the form that the algorithm reads
    "steps",            # step of the plan
)
GIGA, MEGA = 1e9, 1e6


def milliseconds(network, shape, backend, rates):
    """Estimated time of the convolutions of a network; its other operations are not counted.

    Args:
        network: a Layer.
        shape: (N, C, H, W) of its input.
        backend: "numpy" or "numba".
        rates: {kind of work: milliseconds}.
    """
    return weighted_sum(rates, amounts(network, shape, backend))


def weighted_sum(rates, amounts):
    """Milliseconds of amounts of work at these rates."""
    return sum(rates[kind] * amount for kind, amount in amounts.items())


def amounts(network, shape, backend):
    """The work of all convolutions of a network on an input of that shape, {kind: amount}."""
    operations, _ = trace(network, [shape])
    total = dict.fromkeys(KINDS, 0.0)
    for operation in operations:
        if operation.kind == "conv2d":
            algorithm = choose.planned_convolution(operation, backend).algorithm
            for kind, amount in convolution_amounts(operation, algorithm).items():
                total[kind] += amount
    return total


def convolution_amounts(operation, algorithm):
    """The work of one traced convolution, {kind: amount}; channels are padded as in a plan."""
    n, c, h, w = operation.inputs[0].shape
    c, o, pixels = padded_channels(c), padded_channels(operation.shape[1]), choose.output_pixels(operation)
    if algorithm == "winograd":
        tiles = POINTS * choose.output_tiles(operation)
        return {"winograd": tiles * c * o / GIGA, "tiles": tiles * (c + o) / MEGA, "weights": POINTS * c * o / MEGA, "steps": 1}
    if algorithm == "product":
        return {"product": pixels * c * o / GIGA, "maps": pixels * (c + o) / MEGA, "weights": c * o / MEGA, "steps": 1}
    taps = math.prod(operation.attributes["weight"].shape[2:])
    return {"direct": pixels * taps * c * o / GIGA, "maps": (2 * n * h * w * c + pixels * o) / MEGA, "patches": pixels * taps * c / MEGA,
            "weights": taps * c * o / MEGA, "steps": 1 + any(operation.attributes["padding"])}         # padding is a step of its own


def planning_backend(backend=None):
    """The backend to estimate for: the given one, or the one in use.

    Raises:
        InputError: the backend does not exist, or makes no plans.
    """
    backend = dispatch.backend() if backend is None else dispatch.checked(backend)
    if backend == "reference":
        raise InputError("got the backend 'reference', expected numpy or numba: it makes no plans. Choose one of them.")
    return backend

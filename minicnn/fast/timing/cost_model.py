"""How long a convolution takes on this machine, and how long its Tucker chains would, told from their shapes without timing them.

A step of a plan takes its time for what it does much of: multiplications of one algorithm or another, numbers read and written.

    milliseconds = sum over the kinds of work of  rate * amount

The amounts follow from the shapes and from the algorithm that ``choose`` takes. The rates are the machine's: ``calibrate`` times some
dozens of convolutions and chains, fits the rates to them, and keeps them in a file beside the downloads, for this processor, number of
threads, backend and versions.

A Tucker chain is three convolutions in the place of one: 1 x 1 to fewer channels, k x k on these, 1 x 1 to as many as there were.
"""

import functools
import itertools
import json
import math
import os
import sys
import time

import numpy as np

from minicnn.errors import InputError
from minicnn.fast import choose, tuned
from minicnn.fast.measure import contest, into_arena
from minicnn.fast.plan import compile, eights
from minicnn.fast.winograd import POINTS
from minicnn.files import atomic_write, cache_folder, make_folder
from minicnn.functional import dispatch
from minicnn.layers import Conv2d, Sequential, tucker_chain
from minicnn.progress import Progress
from minicnn.trace import Untraceable, trace

KINDS = (               # of work; a rate is the milliseconds for
    "product",          # 10^9 multiplications of 1 x 1 convolutions
    "direct",           # 10^9 of direct ones
    "winograd",         # 10^9 of Winograd's products
    "maps",             # 10^6 numbers of maps that 1 x 1 and direct convolutions read and write
    "patches",          # 10^6 numbers under the kernels of direct ones, which a backend may write out
    "tiles",            # 10^6 numbers of Winograd's transformed tiles
    "weights",          # 10^6 numbers of filters, in the algorithm's form
    "steps",            # one step
)
GIGA, MEGA = 1e9, 1e6

NAME, FORMAT = "rates.json", 1
SECONDS = 10            # that the turns of calibrating take together
TURNS = (3, 15)         # at least and at most, whatever SECONDS says
BUSY = 0.2              # root mean square of the relative errors of a fit: if it is more, something else ran meanwhile
SAMPLES = (             # C, O, H, W and settings of the convolutions that are timed, each whole and as chains
    (64, 64, 150, 200, {}), (96, 128, 100, 128, {}), (128, 128, 38, 50, {}), (128, 128, 76, 100, {}), (160, 224, 60, 80, {}),
    (192, 192, 44, 60, {}), (224, 224, 88, 120, {}), (320, 320, 30, 40, {}), (384, 384, 30, 40, {}), (448, 320, 44, 60, {}),
    (448, 448, 60, 76, {}), (256, 512, 20, 32, {}), (576, 576, 24, 40, {}),
    (128, 256, 60, 80, {"stride": 2}), (384, 384, 40, 60, {"stride": 2}), (256, 256, 20, 32, {"dilation": 2, "padding": 2}),
    (96, 96, 60, 80, {"kernel_size": 5, "padding": 2}),
)
SHARES = (1, 1 / 4, 1 / 2, 3 / 4)           # of the channels as ranks; 1: the whole layer


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
    networks = [Sequential([layer])] + [tucker_chain(layer, one) for one in ranks]
    try:
        whole, *chains = (milliseconds(network, shape, backend, rates) for network in networks)
    except Untraceable as error:
        raise InputError(f"got an input of {shape} for {layer}, expected one that it can read ({error}). Give its (N, C, H, W).") from error
    return whole, chains


def break_even(layer, shape, backend=None, rates=None):
    """The largest rank, a multiple of 8 for both sides, at which the chain is faster than the layer; 0 if none is. Arguments as above."""
    ranks = list(range(min(layer.in_channels, layer.out_channels) // 8 * 8, 0, -8))
    whole, chains = chain_milliseconds(layer, shape, ranks, backend, rates)
    return next((rank for rank, one in zip(ranks, chains) if one < whole), 0)


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


# the machine's rates

def machine_rates(backend):
    """This machine's {kind: rate} for "numpy" or "numba": what was kept, else measured now."""
    return kept(rates_file(), setting(backend)) or calibrate(backend)


def calibrate(backend=None):
    """Measure this machine's rates and keep them: about 15 seconds, with progress; more where the machine is slow.

    Args:
        backend: "numpy" or "numba"; None: the one in use.

    Returns:
        rates: {kind of work: milliseconds}.
    """
    backend = engine(backend)
    path = rates_file()
    make_folder(path.parent)
    networks = samples()
    with Progress(len(networks), "preparing to time convolutions", "networks") as progress:
        calls = timed_calls(networks, backend, lambda: progress.update(1))
    for call in calls:                                      # compiles what is not yet compiled
        call()
    start = time.perf_counter()
    for call in calls:
        call()
    least, most = TURNS
    turns = min(most, max(least, int(SECONDS / (time.perf_counter() - start))))
    with Progress(turns * len(calls), "timing convolutions", "runs") as progress:
        found = contest(calls, turns, lambda: progress.update(1))
    done = [amounts(network, shape, backend) for network, shape in networks]
    rates = fit(list(zip(done, found)))
    errors = [sum(rates[kind] * amount for kind, amount in one.items()) / ms - 1 for one, ms in zip(done, found)]
    error = math.sqrt(sum(error**2 for error in errors) / len(errors))
    if error > BUSY:
        print(f"minicnn: warning: the machine was busy while its speed was measured (times scatter by {error:.0%}), so that it will be "
              "measured again the next time. Let nothing else run meanwhile.", file=sys.stderr)
    else:
        keep(path, setting(backend), rates)
    return rates


def samples():
    """The networks that are timed, each with the shape of its input."""
    rng = np.random.default_rng(0)
    networks = []
    for c, o, h, w, settings in SAMPLES:
        layer = Conv2d(c, o, **{"kernel_size": 3, "padding": 1, **settings}, rng=rng)
        networks += [(Sequential([layer]) if share == 1 else tucker_chain(layer, (int(share * c), int(share * o)), rng), (1, c, h, w))
                     for share in SHARES]
    return networks


def timed_calls(networks, backend, after):
    """For each network a function that runs its plan on random numbers, all in one arena; ``after`` is called for each plan made."""
    rng = np.random.default_rng(0)
    plans, inputs = [], []
    for network, shape in networks:
        plans.append(into_arena(compile(network, shape, backend)))
        n, c, h, w = shape
        inputs.append(rng.standard_normal((n, h, w, c), np.float32).transpose(0, 3, 1, 2))
        after()
    arena = np.empty(max(plan.arena_size for plan in plans), np.float32)
    return [functools.partial(plan.run, [x], arena) for plan, x in zip(plans, inputs)]


def fit(measured):
    """The rates, none below 0, that leave the least sum of squared relative errors.

    The least has some rates at 0, and the others as if no bound were there. With so few, every such set can be tried.

    Args:
        measured: list of (amounts, milliseconds).
    """
    a = np.array([[done[kind] for kind in KINDS] for done, _ in measured]) / [[milliseconds] for _, milliseconds in measured]
    best, least = np.zeros(len(KINDS)), len(a)
    for some in itertools.product((False, True), repeat=len(KINDS)):
        columns = a[:, some]
        rates = np.linalg.lstsq(columns, np.ones(len(a)), rcond=None)[0]
        error = np.sum((columns @ rates - 1) ** 2)
        if error < least and (rates >= 0).all():
            best, least = np.zeros(len(KINDS)), error
            best[list(some)] = rates
    return dict(zip(KINDS, best.tolist()))


def engine(backend):
    """The backend to ask about.

    Raises:
        InputError: there is no such one, or it makes no plans.
    """
    backend = dispatch.backend() if backend is None else dispatch.checked(backend)
    if backend == "reference":
        raise InputError("got the backend 'reference', expected numpy or numba: it makes no plans. Choose one of them.")
    return backend


def rates_file():
    """Where the rates are kept."""
    return cache_folder() / NAME


def setting(backend):
    """What rates depend on, as a text; where Winograd's algorithm is turned off, its rates are not measured."""
    return tuned.setting(backend) + (", without Winograd's algorithm" if os.environ.get("MINICNN_WINOGRAD") == "0" else "")


def kept(path, key):
    """The rates of a file, or None if there are none that can be used."""
    return settings(path).get(key)


def settings(path):
    """{setting: rates} of a file; empty if it cannot be used: it is then written anew."""
    try:
        document = json.loads(path.read_bytes())
        usable = document["format"] == FORMAT and all(
            list(rates) == list(KINDS) and all(isinstance(rate, (int, float)) and 0 <= rate < math.inf for rate in rates.values())
            for rates in document["settings"].values())
        return document["settings"] if usable else {}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return {}


def keep(path, key, rates):
    """Add rates to the file."""
    text = json.dumps({"format": FORMAT, "settings": {**settings(path), key: rates}}, indent=1, ensure_ascii=False)
    with atomic_write(path) as file:
        file.write(text.encode())

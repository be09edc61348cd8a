"""The rates of the cost model on this machine: measured once, then kept in a file.

``calibrate`` times some dozens of convolutions and Tucker chains, fits the rates of ``cost_model`` to their times by least squares, and
keeps them in ``rates.json`` in the cache folder, for this processor, number of threads, backend and versions.
"""

import functools
import itertools
import json
import math
import re
import sys
import time
from pathlib import Path

import numpy as np

from minicnn.errors import InputError
from minicnn.fast import tuned
from minicnn.fast.plan.build import compile
from minicnn.fast.timing.cost_model import KINDS, amounts, planning_backend, weighted_sum
from minicnn.fast.timing.interleaved import interleaved_milliseconds, with_result_in_arena
from minicnn.fast.winograd import winograd_allowed
from minicnn.files import atomic_write, cache_folder, make_cache_folder
from minicnn.layers import Conv2d, Sequential, tucker_chain
from minicnn.progress import Progress

NAME, FORMAT = "rates.json", 1
WITHOUT = ", without Winograd's algorithm"
SECONDS = 10            # of timing in all
ROUNDS = (3, 15)        # at least and at most, whatever SECONDS asks for
BUSY = 0.2              # relative root-mean-square error of the fit above which the machine must have been busy
SAMPLES: tuple = (      # C, O, H, W and arguments of the convolutions that are timed, each whole and as chains
    (64, 64, 150, 200, {}), (96, 128, 100, 128, {}), (128, 128, 38, 50, {}), (128, 128, 76, 100, {}), (160, 224, 60, 80, {}),
    (192, 192, 44, 60, {}), (224, 224, 88, 120, {}), (320, 320, 30, 40, {}), (384, 384, 30, 40, {}), (448, 320, 44, 60, {}),
    (448, 448, 60, 76, {}), (256, 512, 20, 32, {}), (576, 576, 24, 40, {}),
    (128, 256, 60, 80, {"stride": 2}), (384, 384, 40, 60, {"stride": 2}), (256, 256, 20, 32, {"dilation": 2, "padding": 2}),
    (96, 96, 60, 80, {"kernel_size": 5, "padding": 2}),
)
SHARES = (1, 1 / 4, 1 / 2, 3 / 4)           # of the channels as ranks of the chains; 1: the whole layer


def machine_rates(backend: str) -> dict[str, float]:
    """This machine's rates for "numpy" or "numba", {kind of work: milliseconds}: from the file, else measured now."""
    return read_rates(rates_file(), machine_key(backend)) or calibrate(backend)


def calibrate(backend: str | None = None) -> dict[str, float]:
    """Measure this machine's rates and keep them: about 15 seconds, with a progress bar; longer where the machine is slow.

    Args:
        backend: "numpy" or "numba"; None: the one in use.

    Returns:
        rates: {kind of work: milliseconds}.

    Raises:
        InputError: the backend makes no plans, or the cache folder cannot be written.
    """
    backend = planning_backend(backend)
    path = rates_file()
    make_cache_folder(path.parent)
    networks = sample_networks()
    times = time_networks(networks, backend)
    work = [amounts(network, shape, backend) for network, shape in networks]
    rates = fit_rates(list(zip(work, times)))
    errors = [weighted_sum(rates, done) / milliseconds - 1 for done, milliseconds in zip(work, times)]
    error = math.sqrt(sum(error**2 for error in errors) / len(errors))
    if error > BUSY:
        print(f"minicnn: warning: the machine was busy while its speed was measured (times scatter by {error:.0%}), so it will be "
              "measured again the next time. Let nothing else run meanwhile.", file=sys.stderr)
    else:
        write_rates(path, machine_key(backend), rates)
    return rates


def sample_networks():
    """The networks that are timed, each with the shape of its input."""
    rng = np.random.default_rng(0)
    networks = []
    for c, o, h, w, options in SAMPLES:
        layer = Conv2d(c, o, **{"kernel_size": 3, "padding": 1, **options}, rng=rng)
        networks += [(Sequential([layer]) if share == 1 else tucker_chain(layer, (int(share * c), int(share * o)), rng), (1, c, h, w))
                     for share in SHARES]
    return networks


def time_networks(networks, backend):
    """Milliseconds of each (network, shape of its input), run interleaved for about ``SECONDS``."""
    with Progress(len(networks), "preparing to time convolutions", "networks") as progress:
        calls = plan_calls(networks, backend, lambda: progress.update(1))
    for call in calls:                                      # compiles what is not yet compiled
        call()
    start = time.perf_counter()
    for call in calls:
        call()
    least, most = ROUNDS
    rounds = min(most, max(least, int(SECONDS / (time.perf_counter() - start))))
    with Progress(rounds * len(calls), "timing convolutions", "runs") as progress:
        return interleaved_milliseconds(calls, rounds, lambda: progress.update(1))


def plan_calls(networks, backend, after):
    """For each network a function that runs its plan on random numbers; all share one arena. ``after`` is called for each plan made."""
    rng = np.random.default_rng(0)
    plans, inputs = [], []
    for network, shape in networks:
        plans.append(with_result_in_arena(compile(network, shape, backend)))
        n, c, h, w = shape
        inputs.append(rng.standard_normal((n, h, w, c), np.float32).transpose(0, 3, 1, 2))
        after()
    arena = np.empty(max(plan.arena_size for plan in plans), np.float32)
    return [functools.partial(plan.run, [x], arena) for plan, x in zip(plans, inputs)]


def fit_rates(measured):
    """The rates, none negative, with the least sum of squared relative errors.

    Non-negative least squares: in the solution some rates are 0, and the others are those of the unconstrained problem without these
    kinds. There are few enough kinds to try every subset.

    Args:
        measured: list of (amounts, milliseconds).
    """
    a = np.array([[work[kind] for kind in KINDS] for work, _ in measured]) / [[milliseconds] for _, milliseconds in measured]
    best, least = np.zeros(len(KINDS)), len(a)
    for positive in itertools.product((False, True), repeat=len(KINDS)):
        columns = a[:, positive]
        rates = np.linalg.lstsq(columns, np.ones(len(a)), rcond=None)[0]
        error = np.sum((columns @ rates - 1) ** 2)
        if error < least and (rates >= 0).all():
            best, least = np.zeros(len(KINDS)), error
            best[list(positive)] = rates
    return dict(zip(KINDS, best.tolist()))


# the file of rates

def rates_file():
    """The path of the file of rates."""
    return cache_folder() / NAME


def machine_key(backend):
    """Everything that rates depend on, in words: with Winograd's algorithm turned off, its rates are not measured."""
    return tuned.machine_key(backend) + ("" if winograd_allowed() else WITHOUT)


def read_rates(path, key):
    """The rates of that machine key in a file, or None if there are none, or the file is damaged."""
    return read_file(path).get(key)


def read_file(path):
    """{machine key: rates} of a file; empty if it is missing or damaged, in which case it is written anew."""
    try:
        document = json.loads(path.read_bytes())
        usable = document["format"] == FORMAT and all(
            list(rates) == list(KINDS) and all(isinstance(rate, (int, float)) and 0 <= rate < math.inf for rate in rates.values())
            for rates in document["settings"].values())
        return document["settings"] if usable else {}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return {}


def write_rates(path, key, rates):
    """Add rates to the file."""
    write_file(path, {**read_file(path), key: rates})


def write_file(path, settings):
    """Write {machine key: rates}."""
    with atomic_write(path) as file:
        file.write(json.dumps({"format": FORMAT, "settings": settings}, indent=1, ensure_ascii=False).encode())


# a file for another machine

def write_machine(path, backend, again=False):
    """Write this machine's rates, and nothing else, for ``read_machine`` on another machine.

    Args:
        path: of the file. backend: "numpy" or "numba". again: measure them also if they are known.

    Returns:
        key: what they depend on, in words.

    Raises:
        InputError: the machine was busy while they were measured; nothing is written.
    """
    key = machine_key(backend)
    if again:
        settings = read_file(rates_file())
        settings.pop(key, None)
        make_cache_folder(rates_file().parent)
        write_file(rates_file(), settings)
    rates = machine_rates(backend)
    if read_rates(rates_file(), key) is None:
        raise InputError(f"got a busy machine, whose speeds would be wrong in {path}, expected an idle one. Let nothing else run, and try "
                         "again.")
    write_file(path, {key: rates})
    return key


def read_machine(path):
    """(key, backend, rates) of the only machine in a file.

    Raises:
        InputError: there is no such file, or it does not hold the rates of one machine, backend and set of versions; or they are with
            Winograd's algorithm, and it is turned off here, or the other way round.
    """
    settings, make = read_file(Path(path)), "Run 'minicnn tune --rates-out FILE' on the machine that the network is for, and give that."
    if not settings:
        why = "which holds no speeds" if Path(path).exists() else "which is not there"
        raise InputError(f"got the file {path}, {why}, expected speeds of a machine. {make}")
    if len(settings) > 1:
        raise InputError(f"got the speeds of {len(settings)} machines or settings in {path} ({'; '.join(settings)}), expected those of "
                         f"one. {make}")
    (key, rates), = settings.items()
    found = re.search(r" threads, (numpy|numba), ", key)
    if not found:
        raise InputError(f"got speeds of {key} in {path}, expected the backend numpy or numba among these words. {make}")
    if winograd_allowed() == key.endswith(WITHOUT):
        raise InputError(f"got speeds measured {'without' if winograd_allowed() else 'with'} Winograd's algorithm in {path}, expected them "
                         f"as it is used here. {'Set' if winograd_allowed() else 'Unset'} MINICNN_WINOGRAD=0.")
    return key, found[1], rates

"""How fast the steps of a network's plans are, and how fast the machine could be.

The machine has two speeds, that of a large matrix product and that of memory, both measured with the backend's own code: a network
computed by it is never much faster than these allow.
"""

import contextlib
import statistics
import time
from collections import Counter

import numpy as np

from minicnn.fast import choose, machine
from minicnn.fast.plan import ALIGNED, backend_steps, compile, eights
from minicnn.fast.run import observed
from minicnn.hooks import timed, watch
from minicnn.layers import Conv2d, MaxPool2d, ReLU, Sequential

SIDE = 1024             # of the matrices of the large product
CACHES = 4              # times the largest cache: what an array has at least that shall not fit in it
LEAST, MOST = 2**26, 2**28      # bytes of such an array, whatever the caches
INPUT, OUTPUT = 12 * 20, 10 * 16        # FLOP of Winograd's transforms, for a tile and channel: calls of rows_of_b and rows_of_a


# the machine

def product_speed(backend):
    """GFLOP/s of a large matrix product: NumPy's, or Numba's own."""
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal((SIDE, SIDE), np.float32) for _ in range(2))
    y = np.empty((SIDE, SIDE), np.float32)
    if backend == "numba":
        steps = backend_steps(backend)
        packed, bias = steps.pack(weight), np.zeros(SIDE, np.float32)
        seconds = least_seconds(lambda: steps.linear(x, packed, bias, y))
    else:
        seconds = least_seconds(lambda: np.matmul(x, weight, out=y))
    return 2 * SIDE**3 / seconds / 1e9


def memory_speed(backend):
    """GB/s between processor and memory: the better of a copy and of the backend's sum of two maps, larger than the caches."""
    size = min(MOST, max(LEAST, CACHES * max(machine.caches().values(), default=0)))
    x, z, y = (np.ones((1, 1, size // 256, 64), np.float32) for _ in range(3))
    add = (lambda: np.add(x, z, out=y)) if backend == "reference" else (lambda: backend_steps(backend).add(x, z, y))
    return max(3 * x.nbytes / least_seconds(add), 2 * x.nbytes / least_seconds(lambda: np.copyto(y, x))) / 1e9


def least_seconds(call, seconds=0.5, times=5):
    """The shortest of several calls, the first not counted: at least ``times``, for at least ``seconds``."""
    call()
    found, begin = [], time.perf_counter()
    while len(found) < times or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


# a network

def measure(model, call, runs, stages=(), after=lambda: None):
    """Where the time of a call goes.

    Args:
        model: a Layer; what ``call`` runs.
        call: function without arguments.
        runs: how often it is timed, after one run that compiles and plans.
        stages: paths of layers that are no network of their own; what they do between the plans is told too.
        after: called after each run.

    Returns:
        first_ms: of the first run;
        total_ms: of each run;
        steps: a dictionary for each step of each plan, in the order of the network (of a layer, where no plan was made). "path": the
            network's; "name": within the model; "algorithm"; "result": its sides, without the batch; "batch": how many; "flop":
            counted directly, whatever the algorithm saves; "arithmetic": what it does; "bytes": of all it must read and write once;
            "ms", "ms_least", "ms_most": the median of the runs, and the extremes;
        between: {path: median ms} of what the stages do besides, and at last of the rest, whose path is "".
    """
    stages = [*stages, ""]
    watch = Watch(model)
    start = time.perf_counter()
    with observed(watch):
        call()
    first = 1000 * (time.perf_counter() - start)
    after()
    leaves = unplanned(model, watch, stages)
    facts = {**watch.facts(), **leaf_facts(model, leaves, call)}

    totals, spent, own = [], {key: [] for key in facts}, {path: [] for path in stages}
    inner_first = sorted([*stages[:-1], *leaves], key=lambda path: -path.count("."))
    for _ in range(runs):
        watch.begin()
        with observed(watch), timed(model, inner_first) as inclusive:
            start = time.perf_counter()
            call()
            totals.append(1000 * (time.perf_counter() - start))
        found = {**watch.spent, **{(path, 0, 0): inclusive[path] for path in leaves}}
        for key in facts:
            spent[key].append(found[key])
        for path, milliseconds in own_times({**inclusive, "": totals[-1]}, stages, found).items():
            own[path].append(milliseconds)
        after()

    order = {path: i for i, path in enumerate(children_first(model))}
    steps = [{**facts[key], "ms": statistics.median(spent[key]), "ms_least": min(spent[key]), "ms_most": max(spent[key])}
             for key in sorted(facts, key=lambda key: (order[key[0]], *key[1:]))]
    return first, totals, steps, {path: statistics.median(own[path]) for path in sorted(stages, key=order.get)}


class Watch:
    """For ``run.observed``: the milliseconds of every step of every plan of one run.

    Keys are (the network's path, how many of its plans ran before, number of the step). A plan's first step has the taking in of the
    inputs with it.
    """

    def __init__(self, model):
        self.model = model
        self.paths = {id(layer): path for path, layer in reversed(list(model.named_layers()))}
        self.begin()

    def begin(self):
        self.spent, self.plans, self.turns = {}, {}, Counter()

    @contextlib.contextmanager
    def __call__(self, network, plan, n):
        path = self.paths[id(network)]
        turn, number = self.turns[path], 0
        self.turns[path] += 1
        self.plans[path, turn] = plan, n
        last = time.perf_counter()

        def after(step):
            nonlocal last, number
            now = time.perf_counter()
            self.spent[path, turn, number] = 1000 * (now - last)
            number, last = number + 1, time.perf_counter()
        yield after

    def facts(self):
        """{key: what is known of that step beforehand}."""
        return {(path, turn, number): {"path": path, "name": self.name(path, step, plan), **step_facts(plan, step, n)}
                for (path, turn), (plan, n) in self.plans.items() for number, step in enumerate(plan.steps)}

    def name(self, path, step, plan):
        """backbone and "0: border" -> "backbone.0: border"; with the result's sides, if the network ran on several maps."""
        layer = f"{path}.{step.name}".strip(".")
        known = layer.partition(":")[0] in self.paths.values()
        name = layer if known else f"{path}: {step.name}".removeprefix(": ")
        sides = plan.buffers[step.output].shape[1:-1]
        return f"{name} {'x'.join(map(str, sides))}" if self.turns[path] > 1 and sides else name


def unplanned(model, watch, stages):
    """Paths of the layers without children that no plan has taken over."""
    planned = {path for path, _ in watch.plans}
    return [path for path, layer in model.named_layers()
            if path and not layer.children() and path not in stages and not any(within(path, one) for one in planned)]


def within(path, folder):
    return not folder or path == folder or path.startswith(f"{folder}.")


def step_facts(plan, step, n):
    """What a step computes and moves when n inputs come; see ``measure``."""
    share = n / plan.shapes[0][0]
    places = [place for place in (*step.inputs, step.extra, step.output) if place is not None]
    weights = sum(value.nbytes for value in step.arguments.values() if isinstance(value, np.ndarray))
    return {"algorithm": step.algorithm, "result": list(plan.buffers[step.output].shape[1:]), "batch": n,
            "flop": round(2 * step.multiplications * share), "arithmetic": round(arithmetic(plan, step) * share),
            "bytes": round(4 * share * sum(plan.buffers[place].size for place in places)) + weights}


def arithmetic(plan, step):
    """FLOP that a step does: Winograd's algorithm has fewer multiplications than are counted, and its transforms besides."""
    if not step.algorithm.startswith("winograd"):
        return 2 * step.multiplications
    (n, h, w, c), o = plan.buffers[step.inputs[0]].shape, plan.buffers[step.output].shape[-1]
    down, across = (-(-(side + 2 * padding - 2) // 4) for side, padding in zip((h, w), step.arguments["padding"]))
    return n * down * across * (2 * 36 * c * o + INPUT * c + OUTPUT * o)


def leaf_facts(model, leaves, call):
    """{key: facts} of layers that run as they are, found by one run; a layer may be used several times."""
    facts = {}

    def observer(path, layer):
        def observe(x, y):
            own = sum(array.nbytes for _, array in layer.named_arrays())
            flop = 2 * y.size * layer.weight[0].size if getattr(layer, "weight", None) is not None and layer.weight.ndim > 1 else 0
            row = facts.setdefault((path, 0, 0), {"path": path, "name": path, "algorithm": layer.kind, "result": list(y.shape[1:]),
                                                  "batch": len(y), "flop": 0, "arithmetic": 0, "bytes": 0})
            row["flop"] += flop
            row["arithmetic"] += flop
            row["bytes"] += x.nbytes + y.nbytes + own
        return observe

    if leaves:
        with watch(model, {path: observer(path, model.get_layer(path)) for path in leaves}):
            call()
    return facts


def own_times(inclusive, stages, found):
    """{stage: its milliseconds without those of the steps, leaves and other stages in it}."""
    own = {}
    for path in sorted(stages, key=lambda path: (not path, -path.count("."))):
        inner = sum(milliseconds for (where, _, _), milliseconds in found.items() if within(where, path))
        own[path] = inclusive[path] - inner - sum(own[other] for other in own if within(other, path))
    return own


def children_first(layer, path=""):
    """Paths of a layer and all below it, parents last."""
    for name, child in layer.children():
        yield from children_first(child, f"{path}.{name}".strip("."))
    yield path


# algorithms

class Trial:
    """One convolution, computed by each of several algorithms, on random numbers.

    Args:
        operation: traced, of a plan that was made: with its activation, and the pooling that went into it.
        backend: "numpy" or "numba".
        choices: the algorithms, each a ``choose.Choice``.

    ``calls`` holds a function for each, which returns the result.
    """

    def __init__(self, operation, backend, choices):
        s, rng = operation.settings, np.random.default_rng(0)
        n, c, h, w = operation.inputs[0].shape
        o, c = eights(len(s["weight"])), eights(c)                      # as wide as the plan's buffers
        layers = [Conv2d(c, o, s["weight"].shape[2:], s["stride"], s["padding"], s["dilation"], rng=rng), ReLU()]
        network = Sequential(layers + [MaxPool2d(2)] * bool(s.get("pool")))
        x = rng.standard_normal((n, h, w, c), np.float32).transpose(0, 3, 1, 2)
        weights, plans = {}, []
        for choice in choices:
            with choose.by(lambda *_: choice):
                plans.append(into_arena(compile(network, x.shape, backend, weights)))
        arena = np.empty(max(plan.arena_size for plan in plans), np.float32)
        self.calls = [lambda plan=plan: plan.run([x], arena) for plan in plans]


def into_arena(plan):
    """The plan, with its result in the arena too: so no fresh memory is timed. Its result holds until the next run."""
    buffer = plan.buffers[plan.result.place]
    buffer.offset = -(-plan.arena_size // ALIGNED) * ALIGNED
    plan.arena_size = buffer.offset + buffer.size
    return plan


def contest(calls, runs, after=lambda: None):
    """Milliseconds of each of several calls, which take turns.

    A machine is now faster, now slower, for seconds at a time. So each time is divided by the median of its turn; what is returned are
    the medians of these ratios over the turns, times the median of the turns.

    Args:
        calls: functions without arguments, each of which has run before.
        runs: turns.
        after: called after each.
    """
    found = np.empty((runs, len(calls)))
    for turn, row in enumerate(found):
        for i in np.roll(np.arange(len(calls)), -turn):         # not always behind the same one
            start = time.perf_counter()
            calls[i]()
            row[i] = 1000 * (time.perf_counter() - start)
            after()
    level = np.median(found, axis=1)
    return (np.median(found / level[:, None], axis=0) * np.median(level)).tolist()

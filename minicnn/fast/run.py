"""Running a finished network by its plan: the engine's twin of ``kernels.run``.

A plan is made when a network meets a shape of input for the first time, and kept. It holds the weights in other forms, so the
network's arrays become read-only meanwhile: to change one in place raises ValueError instead of being without effect. To assign a
new array or setting to a layer, ``replace_layer``, ``load_arrays``, surgery and ``train()`` are all allowed; the next run then plans
anew. Of a network that no plan can hold everything stays as it is.
"""

import contextlib
import contextvars
import operator
import threading
import weakref
from collections import OrderedDict

import numpy as np

from minicnn.fast.layouts import empty
from minicnn.fast.plan import compile
from minicnn.functional import dispatch
from minicnn.trace import Untraceable

PLANS = 8               # shapes that are remembered for a network
ROUND = 128             # more inputs than FEW in a batch (proposals, mostly) share the plan of the next multiple
FEW = 16

PASSING = {"training", "rng", "trainable", "backend", "record", "_gradients"}     # attributes of layers that no plan depends on

_finished = weakref.WeakKeyDictionary()
_observer = contextvars.ContextVar("observer", default=None)
lock = threading.RLock()            # Numba's workqueue is not made for two threads that start parallel work


class Finished:
    """A network that stays as it is: its parts (which are so kept from being forgotten), weights in other forms, plans, and an arena."""

    def __init__(self, network, parts):
        self.network, self.parts = weakref.ref(network), parts
        self.arrays = [part for part in parts if isinstance(part, np.ndarray)]
        self.weights, self.plans, self.arena, self.frozen = {}, OrderedDict(), np.empty(0, np.float32), False

    def holds(self, parts):
        """Whether these are still the network's parts, and their numbers unchanged."""
        return len(parts) == len(self.parts) and all(map(operator.is_, parts, self.parts)) and \
            not (self.frozen and any(array.flags.writeable for array in self.arrays))

    def plan(self, shapes, backend):
        key = (backend, shapes)
        if key not in self.plans:
            weights = dict(self.weights)
            try:
                self.plans[key] = compile(self.network(), shapes, backend, weights)
                self.weights = weights
                self.freeze()
            except Untraceable:
                self.plans[key] = None
            while len(self.plans) > PLANS:
                self.plans.popitem(last=False)
        self.plans.move_to_end(key)
        return self.plans[key]

    def freeze(self):
        """Make the arrays read-only; one that was not may be new to other networks, too, that share it."""
        thawed = {id(array) for array in self.arrays if array.flags.writeable}
        for other in _finished.values():
            if other is not self and other.frozen and not thawed.isdisjoint(map(id, other.arrays)):
                other.parts = ()
        for array in self.arrays:
            array.flags.writeable = False
        self.frozen = True

    def run(self, plan, inputs):
        if self.arena.size < plan.arena_size:
            self.arena = None                                   # the old one first, so that both are never there
            self.arena = empty(plan.arena_size)
        observer = _observer.get()
        if observer is None:
            return plan.run(inputs, self.arena)
        with observer(self.network(), plan, len(inputs[0])) as observe:
            return plan.run(inputs, self.arena, observe)

    @property
    def nbytes(self):
        """Bytes of the weights in other forms, and of the arena."""
        arrays = [array for forms in self.weights.values() for array in forms]
        return self.arena.nbytes + sum(array.nbytes for array in arrays)


def finished():
    """Every ``Finished`` there is now."""
    return list(_finished.values())


@contextlib.contextmanager
def observed(observer):
    """Within the block, in this thread, plans are watched while they run.

    Args:
        observer: called with the network, its plan and the number of inputs; returns a context manager that stands round the run and
            gives a function, which is called with each step after it ran.
    """
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def run(network, *inputs):
    """``network.forward(*inputs)``, by a plan where there can be one: float32 arrays, as many inputs of each, and a network in evaluation
    mode that can be traced."""
    layers = [layer for _, layer in network.named_layers()]
    if any(layer.training or not layer.traceable for layer in layers) or not all(isinstance(x, np.ndarray) for x in inputs) or \
            any(x.dtype != np.float32 or x.ndim not in (2, 4) or not x.size or len(x) != len(inputs[0]) for x in inputs):
        return network.forward(*inputs)
    parts = [value for layer in layers for name, value in vars(layer).items() if name not in PASSING]
    if any(part.dtype.kind == "f" and part.dtype != np.float32 for part in parts if isinstance(part, np.ndarray)):
        return network.forward(*inputs)
    with lock:
        finished = _finished.get(network)
        if finished is None or not finished.holds(parts):
            finished = _finished[network] = Finished(network, parts)
        plan = finished.plan(tuple((planned(x.shape[0]), *x.shape[1:]) for x in inputs), dispatch.backend())
        if plan is None:
            return network.forward(*inputs)
        return finished.run(plan, inputs)


def planned(n):
    """For how many inputs a plan is made when n come."""
    return n if n <= FEW else -(-n // ROUND) * ROUND

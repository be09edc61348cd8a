"""Running a finished network by its plan: the engine's twin of ``kernels.run``.

A plan is made when a network meets a shape of input for the first time, and kept. It holds the weights in other forms, so the
network's arrays become read-only meanwhile: to change one in place raises ValueError instead of being without effect. To assign a
new array to a layer, ``load_arrays``, surgery and ``train()`` are all allowed; the next run then plans anew.
"""

import threading
import weakref
from collections import OrderedDict

import numpy as np

from minicnn.fast.plan import compile
from minicnn.fast.trace import Untraceable
from minicnn.functional import kernels

PLANS = 8               # shapes that are remembered for a network
ROUND = 128             # more inputs than FEW in a batch (proposals, mostly) share the plan of the next multiple
FEW = 16

_finished = weakref.WeakKeyDictionary()
_lock = threading.RLock()           # Numba's workqueue is not made for two threads that start parallel work


class Finished:
    """A network that stays as it is: its arrays (which it keeps from being forgotten), their other forms, plans, and one arena."""

    def __init__(self, network, arrays):
        self.arrays, self.weights, self.plans, self.arena = arrays, {}, OrderedDict(), np.empty(0, np.float32)
        self.network = weakref.ref(network)
        for array in arrays:
            array.flags.writeable = False

    def holds(self, arrays):
        """Whether these are still the network's arrays, unchanged."""
        return len(arrays) == len(self.arrays) and all(a is b and not a.flags.writeable for a, b in zip(arrays, self.arrays))

    def plan(self, shapes, backend):
        key = (backend, shapes)
        if key not in self.plans:
            try:
                self.plans[key] = compile(self.network(), shapes, backend, self.weights)
            except Untraceable:
                self.plans[key] = None
            while len(self.plans) > PLANS:
                self.plans.popitem(last=False)
        self.plans.move_to_end(key)
        return self.plans[key]

    def run(self, plan, inputs):
        if self.arena.size < plan.arena_size:
            self.arena = None                                   # the old one first, so that both are never there
            self.arena = np.empty(plan.arena_size, np.float32)
        return plan.run(inputs, self.arena)


def run(network, *inputs):
    """``network.forward(*inputs)``, by a plan where there can be one: float32 inputs, a network in evaluation mode, traceable."""
    layers = [layer for _, layer in network.named_layers()]
    if any(layer.training or not layer.traceable for layer in layers) or \
            any(x.dtype != np.float32 or x.ndim not in (2, 4) or not x.size for x in inputs):
        return network.forward(*inputs)
    arrays = [value for layer in layers for name in (*layer.parameter_names, *layer.buffer_names)
              if (value := getattr(layer, name)) is not None]
    if any(array.dtype != np.float32 for array in arrays):
        return network.forward(*inputs)
    with _lock:
        finished = _finished.get(network)
        if finished is None or not finished.holds(arrays):
            finished = _finished[network] = Finished(network, arrays)
        plan = finished.plan(tuple((planned(x.shape[0]), *x.shape[1:]) for x in inputs), kernels.backend())
        if plan is None:
            return network.forward(*inputs)
        return finished.run(plan, inputs)


def planned(n):
    """For how many inputs a plan is made when n come."""
    return n if n <= FEW else -(-n // ROUND) * ROUND

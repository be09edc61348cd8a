"""Runs a finished network by its plan: the engine's kernel of ``dispatch.run``.

A plan is made when a network meets a shape of input for the first time, and kept. It holds the weights in other forms, so the
network's arrays become read-only meanwhile: changing one in place raises ValueError instead of having no effect. Assigning a new
array or attribute to a layer, ``replace_layer``, ``load_arrays``, pruning and decomposition, and ``train()`` are all allowed; the next
run then plans anew. A network that no plan can hold is left as it is, and its layers run.
"""

import contextlib
import contextvars
import operator
import weakref
from collections import OrderedDict

import numpy as np

from minicnn.fast.layouts import empty, round_up
from minicnn.fast.one_run import lock
from minicnn.fast.plan.build import compile
from minicnn.functional import dispatch
from minicnn.trace import Untraceable

PLANS = 8               # shapes of input that are remembered for a network
FEW, MULTIPLE = 16, 128         # a batch of more than FEW inputs (mostly proposals) uses the plan of the next multiple of MULTIPLE

UNPLANNED = {"training", "rng", "trainable", "backend", "record", "_gradients"}       # attributes of layers that no plan depends on

_finished: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()         # network -> Finished
_observer = contextvars.ContextVar("observer", default=None)


class Finished:
    """A network that does not change: its parts, transformed weights, plans by shape, and the arena that they share.

    Args:
        network: a Layer; only weakly referenced.
        parts: attributes of its layers; they are referenced, so that no new object can take the identity of one.
    """

    def __init__(self, network, parts):
        self.network, self.parts = weakref.ref(network), parts
        self.arrays = [part for part in parts if isinstance(part, np.ndarray)]
        self.weights, self.plans, self.arena, self.frozen = {}, OrderedDict(), np.empty(0, np.float32), False

    def is_current(self, parts):
        """Whether these are still the network's parts, and the arrays' numbers unchanged."""
        return len(parts) == len(self.parts) and all(map(operator.is_, parts, self.parts)) and \
            not (self.frozen and any(array.flags.writeable for array in self.arrays))

    def plan(self, shapes, backend):
        """The plan for inputs of these shapes; None if there can be none."""
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
        """Make the arrays read-only. Other networks that share a writeable one plan anew: its numbers may have changed."""
        writeable = {id(array) for array in self.arrays if array.flags.writeable}
        for other in _finished.values():
            if other is not self and other.frozen and not writeable.isdisjoint(map(id, other.arrays)):
                other.parts = ()
        for array in self.arrays:
            array.flags.writeable = False
        self.frozen = True

    def run(self, plan, inputs):
        """The network's outputs, by one of its plans."""
        if self.arena.size < plan.arena_size:
            self.arena = None                                   # free the old one first, so that both never exist at once
            self.arena = empty(plan.arena_size)
        observer = _observer.get()
        if observer is None:
            return plan.run(inputs, self.arena)
        with observer(self.network(), plan, len(inputs[0])) as observe:
            return plan.run(inputs, self.arena, observe)

    @property
    def nbytes(self):
        """Bytes of the transformed weights and of the arena."""
        arrays = [array for forms in self.weights.values() for array in forms]
        return self.arena.nbytes + sum(array.nbytes for array in arrays)


def finished():
    """All existing ``Finished`` networks."""
    return list(_finished.values())


@contextlib.contextmanager
def observed(observer):
    """Within the block, in this thread, observe plans while they run.

    Args:
        observer: called with the network, its plan and the number of inputs; returns a context manager that is entered around the run,
            and whose value is a function that is called with each step after it ran.
    """
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def run(network, *inputs):
    """``network.forward(*inputs)``, by a plan where that is possible: see ``plannable_parts`` and ``plannable_inputs``."""
    parts = plannable_parts(network)
    if parts is None or not plannable_inputs(inputs):
        return network.forward(*inputs)
    with lock:
        finished = _finished.get(network)
        if finished is None or not finished.is_current(parts):
            finished = _finished[network] = Finished(network, parts)
        plan = finished.plan(tuple((planned_batch(x.shape[0]), *x.shape[1:]) for x in inputs), dispatch.backend())
        if plan is None:
            return network.forward(*inputs)
        return finished.run(plan, inputs)


def plannable_parts(network):
    """Attributes of the layers that a plan depends on; None if there can be no plan.

    A plan needs layers that are traceable, in evaluation mode, and without floating-point arrays other than float32.
    """
    layers = [layer for _, layer in network.named_layers()]
    if any(layer.training or not layer.traceable for layer in layers):
        return None
    parts = [value for layer in layers for name, value in vars(layer).items() if name not in UNPLANNED]
    floats = [part.dtype for part in parts if isinstance(part, np.ndarray) and part.dtype.kind == "f"]
    return parts if all(dtype == np.float32 for dtype in floats) else None


def plannable_inputs(inputs):
    """Whether inputs are non-empty float32 arrays (N, C, H, W) or (N, F), all of the same N."""
    return all(isinstance(x, np.ndarray) for x in inputs) and all(
        x.dtype == np.float32 and x.ndim in (2, 4) and x.size and len(x) == len(inputs[0]) for x in inputs)


def planned_batch(n):
    """The batch size of the plan that runs n inputs."""
    return n if n <= FEW else round_up(n, MULTIPLE)

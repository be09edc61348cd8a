"""Looking at what passes through a layer while the network runs."""

import contextlib
import time

from minicnn.functional.dispatch import run
from minicnn.layers import Layer


class Probe(Layer):
    """Stands in for a layer, and shows every input and output to ``observe(x, y)``, of several inputs all. Inference only."""

    traceable = False

    def __init__(self, layer, observe):
        self.layer, self.observe = layer, observe

    def __call__(self, *inputs):
        y = self.layer(*inputs)
        self.observe(*inputs, y)
        return y


class Stopwatch(Layer):
    """Stands in for a layer, and adds the milliseconds of each call to ``milliseconds[path]``."""

    traceable = False

    def __init__(self, layer, milliseconds, path):
        self.layer, self.milliseconds, self.path = layer, milliseconds, path

    def __call__(self, *args):
        return self.clocked(self.layer, *args)

    def forward(self, *inputs):
        return self.clocked(run, self.layer, *inputs)

    def clocked(self, function, *args):
        start = time.perf_counter()
        y = function(*args)
        self.milliseconds[self.path] += 1000 * (time.perf_counter() - start)
        return y

    def __getattr__(self, name):
        return getattr(self.layer, name)


def probed(model, observers):
    """Within the block, show the layers' inputs and outputs.

    Args:
        model: a Layer; it is as before when the block ends.
        observers: mapping of dotted path to ``observe(x, y)``.
    """
    return standing_in(model, {path: Probe(model.get_layer(path), observe) for path, observe in observers.items()})


@contextlib.contextmanager
def timed(model, paths):
    """Within the block, measure how long layers take; gives {path: milliseconds}, which grow with each call."""
    milliseconds = dict.fromkeys(paths, 0.0)
    with standing_in(model, {path: Stopwatch(model.get_layer(path), milliseconds, path) for path in paths}):
        yield milliseconds


@contextlib.contextmanager
def standing_in(model, layers):
    """Within the block, other layers stand at these paths; of two, one in the other, the inner comes first."""
    originals = {path: model.get_layer(path) for path in layers}
    try:
        for path, layer in layers.items():
            model.replace_layer(path, layer)
        yield
    finally:
        for path, layer in reversed(originals.items()):
            model.replace_layer(path, layer)

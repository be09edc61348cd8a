"""Watching the layers of a network while it runs, and replacing some of them for a while."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from minicnn.functional.dispatch import run
from minicnn.layers import Layer


class Watched(Layer):
    """A layer with functions that are called before and after it; for inference only.

    Args:
        layer: the layer; its attributes can be read from here, too.
        before: function of the inputs, or None.
        after: function of the inputs and the output, or None.
    """

    traceable = False       # a plan of the network round it would run without calling the functions

    def __init__(self, layer: Layer, before: Callable | None, after: Callable | None):
        self.layer, self.before, self.after = layer, before, after

    def __call__(self, *inputs: Any) -> Any:
        return self.observed(self.layer, inputs)

    def forward(self, *inputs: Any) -> Any:
        """Called by ``dispatch.run``: the layer's own plan still runs."""
        return self.observed(functools.partial(run, self.layer), inputs)

    def observed(self, compute, inputs):
        if self.before is not None:
            self.before(*inputs)
        y = compute(*inputs)
        if self.after is not None:
            self.after(*inputs, y)
        return y

    def __getattr__(self, name):
        return getattr(self.layer, name)


def watch(model: Layer, after: Mapping[str, Callable] | None = None, before: Mapping[str, Callable] | None = None,
          ) -> contextlib.AbstractContextManager[None]:
    """Context manager: call functions with the inputs and outputs of layers, at each of their calls.

    A function given in ``before`` may raise to stop the network early; the model is restored then, too.

    Args:
        model: the network.
        after: {dotted path of a layer: f(*inputs, output)}, called after the layer.
        before: {dotted path of a layer: f(*inputs)}, called before the layer.

    Raises:
        KeyError: a path has no layer. Nothing has been changed then.
    """
    after, before = after or {}, before or {}
    return replace(model, {path: Watched(model.get_layer(path), before.get(path), after.get(path)) for path in {**before, **after}})


@contextlib.contextmanager
def timed(model: Layer, paths: Iterable[str]) -> Iterator[dict[str, float]]:
    """Context manager: measure how long layers take; gives {path: milliseconds}, the sum of the calls so far."""
    milliseconds, starts = dict.fromkeys(paths, 0.0), {}

    def start(path, *_):
        starts[path] = time.perf_counter()

    def stop(path, *_):
        milliseconds[path] += 1000 * (time.perf_counter() - starts[path])

    with watch(model, *({path: functools.partial(function, path) for path in milliseconds} for function in (stop, start))):
        yield milliseconds


@contextlib.contextmanager
def replace(model: Layer, layers: Mapping[str, Layer]) -> Iterator[None]:
    """Context manager: put other layers at some paths of a model, and the original ones back at the end.

    Args:
        model: the network.
        layers: {dotted path: layer}. Where one path lies within another, the original layer at the outer path has the new inner
            layer for a child until the end.

    Raises:
        KeyError: a path has no layer. Nothing has been changed then.
    """
    originals = {path: model.get_layer(path) for path in sorted(layers, key=lambda path: -path.count("."))}     # innermost first
    try:
        for path in originals:
            model.replace_layer(path, layers[path])
        yield
    finally:
        for path, layer in reversed(originals.items()):
            model.replace_layer(path, layer)

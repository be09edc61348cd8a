"""Looking at what passes through a layer while the network runs."""

import contextlib

from minicnn.layers import Layer


class Probe(Layer):
    """Stands in for a layer, and shows every input and output to ``observe(x, y)``. Inference only."""

    def __init__(self, layer, observe):
        self.layer, self.observe = layer, observe

    def __call__(self, x):
        y = self.layer(x)
        self.observe(x, y)
        return y


@contextlib.contextmanager
def probed(model, observers):
    """Within the block, show the layers' inputs and outputs.

    Args:
        model: a Layer; it is as before when the block ends.
        observers: mapping of dotted path to ``observe(x, y)``.
    """
    originals = {path: model.get_layer(path) for path in observers}
    try:
        for path, observe in observers.items():
            model.replace_layer(path, Probe(originals[path], observe))
        yield
    finally:
        for path, layer in originals.items():
            model.replace_layer(path, layer)

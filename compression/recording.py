"""Networks that end inside another one: what some of its layers read and return, as outputs of a network that a plan can hold."""

import contextlib
import functools

from minicnn.compression.cost_table import has_weight_matrix
from minicnn.functional.dispatch import run
from minicnn.hooks import replace, watch
from minicnn.layers import Layer
from minicnn.trace import Untraceable, trace


class Function(Layer):
    """A function of arrays as a network, of which a plan can be made.

    Args:
        function: called with the input arrays; returns arrays, also nested in tuples and lists.
    """

    def __init__(self, function):
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)

    def __call__(self, *inputs):
        return run(self, *inputs)


class Recorder(Function):
    """A part of a model that also returns the inputs and outputs of some of its layers.

    Its output is (what ``through`` returns, [input, output, input, output, ...] call by call).

    Args:
        model: the network. paths: of the layers. through: function that passes an input through the model, such as
            ``model.backbone_and_rpn``.

    Attributes:
        called: the layers' paths in the order of the calls, for the last input of a new shape.
    """

    def __init__(self, model, paths, through):
        self.paths, self.called = paths, []
        super().__init__(functools.partial(recorded, model, paths, through, self.called))


def recorded(model, paths, through, called, *inputs):
    """See ``Recorder``; fills ``called``."""
    calls = []
    with watch(model, {path: functools.partial(lambda path, x, y: calls.append((path, x, y)), path) for path in paths}):
        result = through(*inputs)
    called[:] = [path for path, _, _ in calls]
    return result, [array for _, x, y in calls for array in (x, y)]


class LayerInputs(Function):
    """What one layer of a model reads, as a network of all that runs before that layer. Its output is a list with an input of each call.

    Args:
        model: has the layer. path: of the layer. calls: how often it is called. through: function that passes an input through the
            model.
        start: path of an earlier layer, or None. If it is given, that layer reads a second input in place of what comes from the first
            one; a plan then leaves out all that is not needed.
    """

    def __init__(self, model, path, calls, through, start=None):
        super().__init__(functools.partial(inputs_of, model, path, calls, through, start))

    def needs_start_only(self, *shapes):
        """Whether the output depends on the second input alone."""
        try:
            operations, _ = trace(self, shapes)
        except Untraceable:
            return False
        return not any(operations[0] in operation.inputs for operation in operations)


class Reached(Exception):
    """Raised to stop the network: the layer has been called as often as it is on an image."""


def inputs_of(model, path, calls, through, start, x, held=None):
    """The inputs of ``calls`` calls of a layer; the network runs no further. See ``LayerInputs``."""
    caught = []

    def stop(x):
        caught.append(x)
        if len(caught) == calls:
            raise Reached

    earlier = {} if start is None else {start: FixedInput(model.get_layer(start), held)}
    with replace(model, earlier), watch(model, before={path: stop}), contextlib.suppress(Reached):
        through(x)
    return caught


class FixedInput(Layer):
    """A layer that is called once and reads a given input in place of the one it is called with."""

    traceable = False       # as a part of a network; the ``LayerInputs`` around it is traced

    def __init__(self, layer, held):
        self.layer, self.held = layer, held

    def __call__(self, x):
        return self.layer(self.held)


def relu_followed(model, through, x):
    """Paths of the layers whose outputs only ReLUs read while ``x`` passes ``through`` a model; empty if that cannot be traced."""
    paths = {id(layer.weight): path for path, layer in model.named_layers() if has_weight_matrix(layer)}
    try:
        operations, _ = trace(Function(through), [x.shape])
    except Untraceable:
        return set()
    consumers = {}
    for operation in operations:
        for read in operation.inputs:
            consumers.setdefault(read, set()).add(operation.kind)
    return {paths[id(operation.attributes["weight"])] for operation, kinds in consumers.items()
            if kinds == {"relu"} and id(operation.attributes.get("weight")) in paths}

"""A plan: the steps that a finished network takes for one size of input, with everything decided that can be decided beforehand.

The network is traced (``trace``), norms are folded into the convolutions before them, activations, sums and poolings go where their
input is made, each convolution gets an algorithm (``choose``), and every result a place in one block of memory, the arena, which it
leaves to others when its last reader is done. Inside a plan an image is (N, H, W, C), its channels filled up with zeros to a
multiple of eight, so that every step reads and writes whole vectors.

``print(plan)`` shows it.
"""

import importlib
import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from minicnn.fast import choose
from minicnn.functional import dispatch
from minicnn.trace import Untraceable, parts, trace

EIGHT = 8               # channels of a vector
ALIGNED = 16            # float32 numbers of a cache line: results begin on one
ACTIVATIONS = ("relu", "hardswish", "hardsigmoid")


@dataclass
class Step:
    """One call of a backend's function.

    Args:
        name: the path of the layer whose weights it holds, or what it does.
        algorithm: what ``choose`` decided, in words.
        function: called with the input buffers, ``arguments`` and y.
        inputs, output: places in the plan's list of buffers.
        arguments: weights and settings by name.
        scratch: place of its working memory among the buffers, or None.
        multiplications: of the direct algorithm, whatever this step does instead.
        flat: the first input is read as (N, F), whatever its sides.
        extra: place of what is added before the activation, or None.
    """

    name: str
    algorithm: str
    function: object
    inputs: list
    output: int
    arguments: dict
    scratch: int = None
    multiplications: int = 0
    flat: bool = False
    extra: int = None


@dataclass
class Output:
    """A result for the caller: its buffer, its channels (the buffer may have more), and what is done to it before it is given away."""

    place: int
    channels: int
    views: list

    def of(self, arrays):
        x = arrays[self.place][..., :self.channels]
        x = np.moveaxis(x, -1, 1)
        for view in self.views:
            x = view(x)
        return x


@dataclass
class Buffer:
    """A result or working memory: its shape, and from the making to the last reading the numbers of the steps."""

    shape: tuple
    begin: int
    end: int
    offset: int = None          # float32 numbers into the arena; None: given from outside, or made anew for the caller

    @property
    def size(self):
        return math.prod(self.shape)


@dataclass
class Plan:
    """What ``compile`` makes: see the module's text.

    Args:
        shapes: of the inputs, (N, C, H, W) or (N, F); fewer than N images may come.
        backend: "numpy" or "numba".
        steps, buffers: in order of running and of making.
        entries: for each input its buffer, and whether it may come as it is, in any memory order.
        result: what the network returns; (buffer, operation) in the places of arrays.
        arena_size: float32 numbers.
    """

    shapes: list
    backend: str
    steps: list = field(default_factory=list)
    buffers: list = field(default_factory=list)
    entries: list = field(default_factory=list)
    result: object = None
    arena_size: int = 0

    def run(self, inputs, arena, observe=None):
        """The network's results for inputs of at most the planned number of images; they own their memory.

        Args:
            inputs: list of float32 arrays.
            arena: ``arena_size`` float32 numbers.
            observe: None, or called with each step after it ran.
        """
        n = len(inputs[0])
        arrays = [np.empty((n, *buffer.shape[1:]), np.float32) if buffer.offset is None else
                  arena[buffer.offset:buffer.offset + buffer.size].reshape(buffer.shape) for buffer in self.buffers]
        if n < self.shapes[0][0]:
            arrays = [array[:n] if array.ndim > 1 else array for array in arrays]          # scratch has one side
        steps = backend_steps(self.backend)
        for x, (place, raw) in zip(inputs, self.entries):
            last = np.moveaxis(x, 1, -1)
            if raw or (last.flags.c_contiguous and last.shape == arrays[place].shape):
                arrays[place] = last
            elif last.ndim == 4:
                steps.pad(last, arrays[place], (0, 0))
            else:
                arrays[place][:, :last.shape[1]] = last
                arrays[place][:, last.shape[1]:] = 0
        for step in self.steps:
            operands = [arrays[place] for place in step.inputs]
            if step.flat:
                operands[0] = operands[0].reshape(n, -1)
            more = {name: arrays[place] for name, place in (("scratch", step.scratch), ("extra", step.extra)) if place is not None}
            step.function(*operands, y=arrays[step.output], **step.arguments, **more)
            if observe is not None:
                observe(step)
        return delivered(self.result, lambda output: output.of(arrays))

    @property
    def weight_bytes(self):
        """Bytes of the weights in the forms that the steps want."""
        arrays = {id(a): a.nbytes for step in self.steps for a in step.arguments.values() if isinstance(a, np.ndarray)}
        return sum(arrays.values())

    def __str__(self):
        lines = [f"{'step':<34} {'result':<20} {'algorithm':<24}"]
        for step in self.steps:
            n, *sides = self.buffers[step.output].shape
            lines.append(f"{step.name[-34:]:<34} {' x '.join(map(str, sides)):<20} {step.algorithm:<24}")
        mib = 2**20
        return "\n".join([*lines, f"{len(self.steps)} steps by {self.backend}; weights {self.weight_bytes / mib:.0f} MiB, "
                                  f"arena {4 * self.arena_size / mib:.0f} MiB"])


def backend_steps(backend):
    """The module with a backend's step functions."""
    return importlib.import_module(dispatch.TWINS[backend])


def compile(network, shapes, backend=None, weights=None):
    """Plan a network, or a part of one, for inputs of these shapes.

    Args:
        network: a Layer in evaluation mode.
        shapes: (N, C, H, W) or (N, F) of each input, or one such shape.
        backend: "numpy" or "numba"; None: the one in use.
        weights: dict, filled with transformed weights, to be given again for another shape of the same network.

    Raises:
        Untraceable: the network does something that no plan can hold; run it as it is.
    """
    shapes = [shapes] if isinstance(shapes[0], int) else list(shapes)
    backend = dispatch.backend() if backend is None else dispatch.checked(backend)
    operations, result = trace(network, shapes)
    names = {id(array): path.rpartition(".")[0] for path, array in network.named_arrays()}
    return Compiler(backend, {} if weights is None else weights, names).plan(shapes, operations, result)


def delivered(result, give):
    """What a network returns, with ``give(part)`` in the places of its parts."""
    return type(result)(delivered(part, give) for part in result) if isinstance(result, (list, tuple)) else give(result)


def fuse(operations, result, backend):
    """Norms, activations, sums and poolings go into the operation that makes what they read, if nothing else reads it.

    Returns:
        the operations that are left, in order; ``stand``: {merged operation: the one that computes it now}.
    """
    uses = Counter(one for operation in operations for one in operation.inputs)
    uses.update(parts(result))
    order = {operation: number for number, operation in enumerate(operations)}
    stand, left = {}, []
    for operation in operations:
        operation.inputs = [stand.get(one, one) for one in operation.inputs]
        if operation.kind == "conv2d":
            operation.choice = choose.convolution(operation, backend)
            operation.multiplications = math.prod(operation.shape) // operation.shape[1] * operation.settings["weight"].size
        host = merge(operation, uses, order)
        if host is None:
            left.append(operation)
        else:
            stand[operation], uses[host] = host, uses[operation]
            order[host] = order[operation]
            left.remove(host)               # it runs where the last of its parts stood, when all that it reads is there
            left.append(host)
    return left, stand


def merge(operation, uses, order):
    """Merge an operation into the one that makes its input; that one, or None."""
    free = [one for one in operation.inputs if uses[one] == 1 and one.activation is None and not one.settings.get("pool")]
    if operation.kind == "batch_norm":
        s = operation.settings
        scale = s["weight"].astype(np.float64) / np.sqrt(s["var"].astype(np.float64) + s["eps"])
        shift = s["bias"] - s["mean"] * scale
        if free and free[0].kind == "conv2d" and "norm" not in free[0].settings and "extra" not in free[0].settings:
            free[0].settings.update(norm=(scale, shift), norm_of=s["weight"])
            return free[0]
        operation.settings.update(scale=scale, shift=shift)
    elif operation.kind in ACTIVATIONS and free and free[0].kind in ("conv2d", "linear", "batch_norm", "add"):
        free[0].activation = operation.kind
        return free[0]
    elif operation.kind == "add" and all(one.kind != "resize" for one in operation.inputs):
        hosts = [one for one in free if one.kind == "conv2d" and one.choice.takes_extra and "extra" not in one.settings]
        if hosts and operation.inputs[0] is not operation.inputs[1]:
            host = max(hosts, key=order.get)
            other = operation.inputs[operation.inputs[0] is host]
            host.settings["extra"] = True
            host.inputs.append(other)
            return host
    elif operation.kind == "max_pool2d" and operation.inputs[0].kind == "conv2d" and uses[operation.inputs[0]] == 1:
        host, s = operation.inputs[0], operation.settings
        whole = tuple(side // 2 for side in host.shape[2:]) == operation.shape[2:]
        if host.choice.pools and host.activation in (None, "relu") and whole and not host.settings.get("pool") and \
                (s["kernel"], s["stride"], s["padding"]) == ((2, 2), (2, 2), (0, 0)):
            host.settings["pool"], host.shape = True, operation.shape
            return host
    return None


class Compiler:
    """Turns the operations of one network into the steps of one plan."""

    def __init__(self, backend, weights, names):
        self.backend, self.steps, self.weights, self.names = backend, backend_steps(backend), weights, names

    def plan(self, shapes, operations, result):
        operations, stand = fuse(operations, result, self.backend)
        self.plan_ = Plan(shapes, self.backend)
        self.place = {}
        readers = Counter(one for operation in operations for one in operation.inputs)
        for operation in operations:
            if operation.kind == "input":
                raw = [one for one in operations if operation in one.inputs]
                raw = bool(raw) and all(one.kind == "conv2d" and one.choice.algorithm == "direct" and operation not in one.inputs[1:]
                                        for one in raw)                    # not where it is added: channels are filled up there
                operation.raw = raw
                self.place[operation] = self.buffer(operation.shape, raw)
                self.plan_.entries.append((self.place[operation], raw))
            elif operation.kind == "flatten":
                self.place[operation] = self.read(operation.inputs[0])
            elif operation.kind == "resize":
                if readers[operation] != 1:
                    raise Untraceable("a resized map that is not only added")
            elif operation.kind != "view":
                getattr(self, operation.kind)(operation)

        self.plan_.result = delivered(result, lambda part: self.found(stand.get(part, part), stand))
        lay_out(self.plan_)
        return self.plan_

    def found(self, operation, stand):
        """The ``Output`` of an operation that the network returns."""
        views = []
        while operation.kind in ("view", "flatten"):
            views.insert(0, operation.settings.get("function", lambda x: x.reshape(len(x), -1)))
            operation = operation.inputs[0]
            operation = stand.get(operation, operation)
        if operation.kind == "input":
            raise Untraceable("an input is returned")           # it would be the caller's own array, or lie in the arena
        place = self.read(operation)
        self.plan_.buffers[place].end = math.inf
        return Output(place, operation.shape[1], views)

    # buffers and steps

    def read(self, operation):
        """The place of what another operation reads, which is the buffer's own numbers."""
        if operation.kind in ("view", "flatten", "resize"):
            raise Untraceable(f"something else than was foreseen reads a {operation.kind}")
        return self.place[operation]

    def buffer(self, shape, raw=False):
        if not raw:
            shape = (shape[0], *shape[2:], eights(shape[1])) if len(shape) == 4 else (shape[0], eights(shape[1]))
        else:
            shape = (shape[0], *shape[2:], shape[1])
        return self.memory(shape)

    def memory(self, shape):
        now = len(self.plan_.steps)
        self.plan_.buffers.append(Buffer(tuple(shape), now, now))
        return len(self.plan_.buffers) - 1

    def step(self, name, algorithm, function, inputs, output, scratch=None, multiplications=0, flat=False, extra=None,
             **arguments):
        now = len(self.plan_.steps)
        for place in (*inputs, output, scratch, extra):
            if place is not None:
                self.plan_.buffers[place].end = now
        self.plan_.steps.append(Step(name, algorithm, getattr(self.steps, function), list(inputs), output, arguments, scratch,
                                     multiplications, flat, extra))

    def transformed(self, key, make):
        """A weight in a form that a step wants: made once for all plans of a network."""
        key = (self.backend, *key)
        if key not in self.weights:
            self.weights[key] = make()
        return self.weights[key]

    # one method for each kind of operation

    def conv2d(self, operation):
        s, choice = operation.settings, operation.choice
        weight, name = s["weight"], self.names.get(id(s["weight"]), "convolution")
        x = operation.inputs[0]
        raw = getattr(x, "raw", False)
        inputs = [self.read(x)]
        key = (id(weight), id(s["bias"]), id(s.get("norm_of")), choice.algorithm, raw)
        arguments = {"activation": operation.activation}
        sides, multiplications = self.plan_.buffers[inputs[0]].shape, operation.multiplications

        if choice.algorithm == "depthwise":
            packed, bias = self.transformed(key, lambda: depthwise_weights(s))
            self.step(name, str(choice), "depthwise", inputs, self.output(operation), weight=packed, bias=bias, stride=s["stride"],
                      padding=s["padding"], dilation=s["dilation"], multiplications=multiplications, **arguments)
            return
        if choice.algorithm == "winograd":
            packed, bias = self.transformed(key, lambda: self.winograd_weights(s))
            output = self.output(operation)
            scratch = self.memory([self.steps.winograd_scratch(sides, eights(weight.shape[0]), s["padding"], **choice.options)])
            self.step(name, str(choice), "winograd", inputs, output, scratch, filters=packed, bias=bias, padding=s["padding"],
                      pool=s.get("pool", False), multiplications=multiplications, **choice.options, **arguments)
            return
        packed, bias = self.transformed(key, lambda: self.direct_weights(s, raw))
        if choice.algorithm == "direct" and (raw or any(s["padding"])):
            n, h, w, c = sides
            (ph, pw) = s["padding"]
            padded = self.memory((n, h + 2 * ph, w + 2 * pw, c))
            self.step(f"{name}: border", "copy", "pad", inputs, padded, padding=s["padding"])
            inputs = [padded]
        extra = self.read(operation.inputs[1]) if s.get("extra") else None
        output = self.output(operation)
        function = "linear"
        if choice.algorithm == "direct":
            function = "convolve"
            arguments.update(kernel=weight.shape[2:], stride=s["stride"], dilation=s["dilation"])
        self.step(name, str(choice), function, inputs, output, packed=packed, bias=bias, multiplications=multiplications, extra=extra,
                  **arguments)

    def linear(self, operation):
        s, x, origin = operation.settings, operation.inputs[0], None
        if x.kind == "flatten":
            x = x.inputs[0]
            origin = x.shape
        key = (id(s["weight"]), id(s["bias"]), "linear", origin and origin[1:])
        packed, bias = self.transformed(key, lambda: self.linear_weights(s, origin))
        self.step(self.names.get(id(s["weight"]), "linear"), "product", "linear", [self.read(x)], self.output(operation), packed=packed,
                  bias=bias, activation=operation.activation, multiplications=operation.shape[0] * s["weight"].size, flat=True)

    def linear_blocks(self, operation):
        weight = operation.settings["weight"]
        self.step(self.names.get(id(weight), "blocks"), "product", "mix", [self.read(operation.inputs[0])], self.output(operation),
                  weight=weight, multiplications=math.prod(operation.shape) * weight.shape[1])

    def batch_norm(self, operation):
        s = operation.settings
        scale, shift = (widened(part, eights(len(part))) for part in (s["scale"], s["shift"]))
        self.step("norm", "elementwise", "affine", [self.read(operation.inputs[0])], self.output(operation), scale=scale, shift=shift,
                  activation=operation.activation)

    def max_pool2d(self, operation):
        self.step("max pooling", "elementwise", "max_pool", [self.read(operation.inputs[0])], self.output(operation),
                  **operation.settings)

    def mean(self, operation):
        self.step("mean of pixels", "elementwise", "mean", [self.read(operation.inputs[0])], self.output(operation))

    def multiply(self, operation):
        self.step("scale of channels", "elementwise", "scale", [self.read(one) for one in operation.inputs], self.output(operation))

    def add(self, operation):
        x, z = operation.inputs
        if x.kind == "resize":
            x, z = z, x
        if z.kind == "resize" and operation.activation is None and x.kind != "resize":
            places = [self.read(x), self.read(z.inputs[0])]
            self.step("resized and added", "elementwise", "add_nearest", places, self.output(operation))
        else:
            self.step("sum", "elementwise", "add", [self.read(x), self.read(z)], self.output(operation),
                      activation=operation.activation)

    def elementwise(self, operation):
        self.step(operation.kind, "elementwise", "activate", [self.read(operation.inputs[0])], self.output(operation),
                  activation=operation.kind)

    relu = hardswish = hardsigmoid = elementwise

    def output(self, operation):
        self.place[operation] = self.buffer(operation.shape)
        return self.place[operation]

    # weights

    def winograd_weights(self, s):
        weight, bias = folded(s)
        o, c = eights(weight.shape[0]), eights(weight.shape[1])
        return self.steps.filters(widened(weight, o, c)), widened(bias, o)

    def direct_weights(self, s, raw):
        weight, bias = folded(s)
        o, c = eights(weight.shape[0]), weight.shape[1] if raw else eights(weight.shape[1])
        weight = widened(weight, o, c).transpose(2, 3, 1, 0)                                 # (KH, KW, C, O)
        return self.steps.pack(np.ascontiguousarray(weight.reshape(-1, o))), widened(bias, o)

    def linear_weights(self, s, origin):
        weight, bias = folded(s)
        o = eights(weight.shape[0])
        if origin is None:
            weight = widened(weight, o, eights(weight.shape[1])).T
        else:
            c, h, w = origin[1:] if len(origin) == 4 else (origin[1], 1, 1)
            weight = widened(weight.reshape(-1, c, h, w), o, eights(c)).transpose(2, 3, 1, 0).reshape(-1, o)     # (H W C, O)
        return self.steps.pack(np.ascontiguousarray(weight)), widened(bias, o)


def eights(channels):
    """Channels of a buffer: the next multiple of eight."""
    return -(-channels // EIGHT) * EIGHT


def widened(array, *sides):
    """An array with zeros added at the end of its first axes up to these sides, as contiguous float32."""
    add = [(0, side - had) for had, side in zip(array.shape, sides)] + [(0, 0)] * (array.ndim - len(sides))
    return np.pad(np.asarray(array, np.float32), add) if any(after for _, after in add) else np.ascontiguousarray(array, np.float32)


def folded(s):
    """Weight and bias of a layer, its norm taken in: W' = scale W, b' = scale b + shift, in float64."""
    weight, bias = s["weight"], s["bias"]
    bias = np.zeros(len(weight)) if bias is None else bias
    if "norm" in s:
        scale, shift = s["norm"]
        weight, bias = weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), bias * scale + shift
    return weight, bias


def depthwise_weights(s):
    weight, bias = folded(s)
    c = eights(len(weight))
    return widened(widened(weight, c)[:, 0].transpose(1, 2, 0)), widened(bias, c)             # (KH, KW, C)


def lay_out(plan):
    """Give each buffer a place in the arena: the largest first, each at the lowest place that is free while it lives."""
    placed = []
    given = {place for place, _ in plan.entries}
    for place, buffer in sorted(enumerate(plan.buffers), key=lambda item: -item[1].size):
        raw = dict(plan.entries).get(place, False)
        if raw or (buffer.end == math.inf and place not in given):
            continue
        offset = 0
        for other in sorted((one for one in placed if one.begin <= buffer.end and buffer.begin <= one.end), key=lambda one: one.offset):
            if offset + buffer.size <= other.offset:
                break
            offset = max(offset, -(-(other.offset + other.size) // ALIGNED) * ALIGNED)
        buffer.offset = offset
        placed.append(buffer)
        plan.arena_size = max(plan.arena_size, offset + buffer.size)

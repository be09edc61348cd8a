"""Makes the plan of a finished network for one size of input: everything that can be decided beforehand is decided here.

The network is traced (``minicnn.trace``); norms, activations, sums and poolings are fused into the operations before them (``fuse``);
each convolution gets an algorithm (``minicnn.fast.choose``); each operation becomes one or two steps (``steps``) with weights in the form
that they read (``weights``); and each result gets a place in one block of memory (``arena``). Inside a plan an image is (N, H, W, C), its
channels padded with zeros to a multiple of eight, so that every step reads and writes whole vectors.
"""

import math
from collections.abc import Sequence

from minicnn.fast.layouts import padded_channels
from minicnn.fast.plan import weights as forms
from minicnn.fast.plan.arena import place_buffers
from minicnn.fast.plan.fuse import ACTIVATIONS, fuse
from minicnn.fast.plan.steps import Buffer, Output, Plan, Step, backend_kernels, map_outputs
from minicnn.functional import dispatch
from minicnn.layers import Layer
from minicnn.trace import Untraceable, trace


def compile(network: Layer, shapes: Sequence, backend: str | None = None, weights: dict | None = None) -> Plan:
    """Plan a network, or a part of one, for inputs of these shapes.

    Args:
        network: a Layer in evaluation mode.
        shapes: (N, C, H, W) or (N, F) of each input, or one such shape.
        backend: "numpy" or "numba"; None: the one in use.
        weights: dict, filled with transformed weights, to be passed again for another shape of the same network.

    Returns:
        plan: run it by ``plan.run``, or print it.

    Raises:
        Untraceable: the network does something that no plan can hold; run its layers instead.

    >>> import numpy as np
    >>> from minicnn.layers import Conv2d, MaxPool2d, ReLU, Sequential
    >>> network = Sequential([Conv2d(16, 24, 3, padding=1, rng=np.random.default_rng(0)), ReLU(), MaxPool2d(2)])
    >>> plan = compile(network, (1, 16, 20, 12), "numpy")
    >>> [(step.name, step.algorithm) for step in plan.steps]
    [('0', 'winograd, 2 x 15 tiles')]
    >>> plan.run([np.zeros((1, 16, 20, 12), np.float32)], np.empty(plan.arena_size, np.float32)).shape
    (1, 24, 10, 6)
    """
    shapes = [shapes] if isinstance(shapes[0], int) else list(shapes)
    backend = dispatch.backend() if backend is None else dispatch.checked(backend)
    operations, result = trace(network, shapes)
    names = {id(array): path.rpartition(".")[0] for path, array in network.named_arrays()}
    return Builder(shapes, backend, {} if weights is None else weights, names).build(operations, result)


class Builder:
    """Turns the traced operations of one network into the steps of one plan.

    Args:
        shapes: of the inputs.
        backend: "numpy" or "numba".
        weights: dict of transformed weights, shared by the plans of a network.
        names: {id of a layer's array: path of the layer}.
    """

    def __init__(self, shapes, backend, weights, names):
        self.plan, self.backend, self.kernels = Plan(shapes, backend), backend, backend_kernels(backend)
        self.weights, self.names = weights, names
        self.place = {}                             # operation -> index of its result's buffer

    def build(self, operations, result):
        """The plan of operations that were traced, and of what the network returns."""
        operations, fused = fuse(operations, result, self.backend)
        consumers = {}
        for operation in operations:
            for source in operation.inputs:
                consumers.setdefault(source, []).append(operation)
        for operation in operations:
            self.add_operation(operation, consumers.get(operation, []))
        self.plan.result = map_outputs(result, lambda part: self.output(fused.get(part, part), fused))
        place_buffers(self.plan)
        return self.plan

    def add_operation(self, operation, consumers):
        """Append an operation's steps; inputs, views and resizings have none of their own."""
        if operation.kind == "input":
            self.add_input(operation, consumers)
        elif operation.kind == "flatten":
            self.place[operation] = self.read(operation.inputs[0])
        elif operation.kind == "resize":
            if len(consumers) != 1:
                raise Untraceable("a resized map that is not only added")
        elif operation.kind != "view":
            STEPS[operation.kind](self, operation)

    def add_input(self, operation, consumers):
        """Its buffer; it is read as it is, without padded channels, if only direct convolutions read it, and none adds it."""
        operation.as_it_is = bool(consumers) and all(
            consumer.kind == "conv2d" and consumer.choice.algorithm == "direct" and operation not in consumer.inputs[1:]
            for consumer in consumers)
        self.place[operation] = self.result_buffer(operation.shape, padded=not operation.as_it_is)
        self.plan.entries.append((self.place[operation], operation.as_it_is))

    def output(self, operation, fused):
        """The ``Output`` of an operation whose result the network returns."""
        views = []
        while operation.kind in ("view", "flatten"):
            views.insert(0, operation.attributes.get("function", lambda x: x.reshape(len(x), -1)))
            operation = operation.inputs[0]
            operation = fused.get(operation, operation)
        if operation.kind == "input":
            raise Untraceable("an input is returned")           # it would be the caller's own array, or lie in the arena
        place = self.read(operation)
        self.plan.buffers[place].end = math.inf
        return Output(place, operation.shape[1], views)

    # buffers and steps

    def read(self, operation):
        """The index of the buffer with an operation's result."""
        if operation.kind in ("view", "flatten", "resize"):
            raise Untraceable(f"an operation that cannot read a {operation.kind}")
        return self.place[operation]

    def result_buffer(self, shape, padded=True):
        """The index of a new buffer for a result (N, C, H, W) or (N, F)."""
        channels = padded_channels(shape[1]) if padded else shape[1]
        return self.new_buffer((shape[0], *shape[2:], channels))

    def new_buffer(self, shape):
        now = len(self.plan.steps)
        self.plan.buffers.append(Buffer(tuple(shape), now, now))
        return len(self.plan.buffers) - 1

    def write(self, operation):
        """The index of a new buffer for an operation's result."""
        self.place[operation] = self.result_buffer(operation.shape)
        return self.place[operation]

    def step(self, name, algorithm, function, inputs, output, scratch=None, multiplications=0, flat=False, extra=None, **arguments):
        """Append a step; see ``Step``. function: name of the backend's kernel."""
        now = len(self.plan.steps)
        for place in (*inputs, output, scratch, extra):
            if place is not None:
                self.plan.buffers[place].end = now
        self.plan.steps.append(Step(name, algorithm, getattr(self.kernels, function), list(inputs), output, arguments, scratch,
                                    multiplications, flat, extra))

    def transformed(self, key, make):
        """Weights in the form that a step reads: made once for all plans of a network."""
        key = (self.backend, *key)
        if key not in self.weights:
            self.weights[key] = make()
        return self.weights[key]

    def name_of(self, weight, otherwise):
        """The path of the layer that a weight belongs to."""
        return self.names.get(id(weight), otherwise)


# for each kind of operation a function that appends its steps

def add_convolution(builder, operation):
    """One step, after a step that pads the image where the algorithm needs it."""
    attributes, choice, x = operation.attributes, operation.choice, operation.inputs[0]
    as_it_is = getattr(x, "as_it_is", False)
    key = (id(attributes["weight"]), id(attributes["bias"]), id(attributes.get("norm_of")), choice.algorithm, as_it_is)
    common = {"name": builder.name_of(attributes["weight"], "convolution"), "algorithm": str(choice), "activation": operation.activation,
              "multiplications": operation.multiplications}
    if choice.algorithm == "depthwise":
        weight, bias = builder.transformed(key, lambda: forms.depthwise_weights(attributes))
        builder.step(function="depthwise", inputs=[builder.read(x)], output=builder.write(operation), weight=weight, bias=bias,
                     stride=attributes["stride"], padding=attributes["padding"], dilation=attributes["dilation"], **common)
    elif choice.algorithm == "winograd":
        filters, bias = builder.transformed(key, lambda: forms.winograd_weights(attributes, builder.kernels))
        add_winograd(builder, operation, filters, bias, common)
    else:
        packed, bias = builder.transformed(key, lambda: forms.direct_weights(attributes, as_it_is, builder.kernels))
        add_product(builder, operation, packed, bias, as_it_is, common)


def add_winograd(builder, operation, filters, bias, common):
    """The step of a convolution by Winograd's algorithm, with scratch memory."""
    attributes, choice, place = operation.attributes, operation.choice, builder.read(operation.inputs[0])
    output, outputs = builder.write(operation), padded_channels(attributes["weight"].shape[0])
    scratch = builder.new_buffer([builder.kernels.winograd_scratch(builder.plan.buffers[place].shape, outputs, attributes["padding"],
                                                                   **choice.options)])
    builder.step(function="winograd", inputs=[place], output=output, scratch=scratch, filters=filters, bias=bias,
                 padding=attributes["padding"], pool=attributes.get("pool", False), **choice.options, **common)


def add_product(builder, operation, packed, bias, as_it_is, common):
    """The steps of a 1 x 1 or direct convolution, which is a matrix product; it can add another map."""
    attributes, place, kernel = operation.attributes, builder.read(operation.inputs[0]), "linear"
    if operation.choice.algorithm == "direct":
        kernel = "convolve"
        common = {**common, "kernel": attributes["weight"].shape[2:], "stride": attributes["stride"], "dilation": attributes["dilation"]}
        if as_it_is or any(attributes["padding"]):
            place = add_padding(builder, common["name"], place, attributes["padding"])
    extra = builder.read(operation.inputs[1]) if attributes.get("extra") else None
    builder.step(function=kernel, inputs=[place], output=builder.write(operation), packed=packed, bias=bias, extra=extra, **common)


def add_padding(builder, name, place, padding):
    """A step that copies an image into a border of zeros; the index of its buffer."""
    (n, h, w, c), (ph, pw) = builder.plan.buffers[place].shape, padding
    padded = builder.new_buffer((n, h + 2 * ph, w + 2 * pw, c))
    builder.step(f"{name}: border", "copy", "pad", [place], padded, padding=padding)
    return padded


def add_linear(builder, operation):
    attributes, x, flattened_shape = operation.attributes, operation.inputs[0], None
    if x.kind == "flatten":
        x = x.inputs[0]
        flattened_shape = x.shape
    weight = attributes["weight"]
    key = (id(weight), id(attributes["bias"]), "linear", flattened_shape and flattened_shape[1:])
    packed, bias = builder.transformed(key, lambda: forms.linear_weights(attributes, flattened_shape, builder.kernels))
    builder.step(builder.name_of(weight, "linear"), "product", "linear", [builder.read(x)], builder.write(operation), packed=packed,
                 bias=bias, activation=operation.activation, multiplications=operation.shape[0] * weight.size, flat=True)


def add_linear_blocks(builder, operation):
    weight = operation.attributes["weight"]
    builder.step(builder.name_of(weight, "blocks"), "product", "mix", [builder.read(operation.inputs[0])], builder.write(operation),
                 weight=weight, multiplications=math.prod(operation.shape) * weight.shape[1])


def add_norm(builder, operation):
    """A norm that no convolution took in."""
    scale, shift = (forms.zero_padded(part, padded_channels(len(part)))
                    for part in (operation.attributes["scale"], operation.attributes["shift"]))
    builder.step("norm", "elementwise", "affine", [builder.read(operation.inputs[0])], builder.write(operation), scale=scale, shift=shift,
                 activation=operation.activation)


def add_max_pool(builder, operation):
    builder.step("max pooling", "elementwise", "max_pool", [builder.read(operation.inputs[0])], builder.write(operation),
                 **operation.attributes)


def add_mean(builder, operation):
    builder.step("mean of pixels", "elementwise", "mean", [builder.read(operation.inputs[0])], builder.write(operation))


def add_channel_scale(builder, operation):
    """Each channel times one number: a squeeze-and-excitation gate."""
    builder.step("scale of channels", "elementwise", "scale", [builder.read(source) for source in operation.inputs],
                 builder.write(operation))


def add_sum(builder, operation):
    """A sum that no convolution took in; a summand that is resized is resized in the same step."""
    x, z = operation.inputs
    if x.kind == "resize":
        x, z = z, x
    if z.kind == "resize" and operation.activation is None and x.kind != "resize":
        places = [builder.read(x), builder.read(z.inputs[0])]
        builder.step("resized and added", "elementwise", "add_nearest", places, builder.write(operation))
    else:
        builder.step("sum", "elementwise", "add", [builder.read(x), builder.read(z)], builder.write(operation),
                     activation=operation.activation)


def add_activation(builder, operation):
    """An activation that no other operation took in."""
    builder.step(operation.kind, "elementwise", "activate", [builder.read(operation.inputs[0])], builder.write(operation),
                 activation=operation.kind)


STEPS = {"conv2d": add_convolution, "linear": add_linear, "linear_blocks": add_linear_blocks, "batch_norm": add_norm,
         "max_pool2d": add_max_pool, "mean": add_mean, "multiply": add_channel_scale, "add": add_sum,
         **dict.fromkeys(ACTIVATIONS, add_activation)}

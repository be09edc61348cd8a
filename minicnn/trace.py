"""Tracing: the operations of a network, recorded by running it once on symbols, which have a shape but no values.

Layers and networks do not know of it. They call ``minicnn.functional``, whose kernels are those of this file while the backend is "trace",
and they add, multiply, slice, transpose and reshape the symbols that are returned.
"""

import math

import numpy as np

from minicnn.functional import dispatch
from minicnn.functional.conv import Geometry, pair
from minicnn.functional.pool import Windows


class Untraceable(Exception):
    """The network computes something that no plan can hold."""


class Operation:
    """One operation of a network.

    Args:
        kind: its name in ``minicnn.functional``, or "mean", "resize", "input", "add", "multiply", "flatten", "view".
        inputs: the operations whose results it reads.
        shape: of its result, (N, C, H, W) or (N, F).
        attributes: its other arguments, weights among them.
    """

    def __init__(self, kind, inputs, shape, **attributes):
        self.kind, self.inputs, self.shape, self.attributes = kind, list(inputs), tuple(shape), attributes
        self.activation = None


class Symbol:
    """The result of an operation while a network is traced; replaces an array.

    Args:
        operation: whose result it is.
        operations: the list of all operations so far, to which those on the symbol are appended.
    """

    dtype = np.dtype(np.float32)    # of every plan
    __array_ufunc__ = None          # NumPy's functions refuse it, so that a network which calls them itself is untraceable

    def __init__(self, operation, operations):
        self.operation, self.operations = operation, operations

    @property
    def shape(self):
        return self.operation.shape

    @property
    def ndim(self):
        return len(self.shape)

    def __len__(self):
        return self.shape[0]

    def __array__(self, *args, **kwargs):
        raise Untraceable("an array was asked for")

    def record(self, kind, shape, *others, **attributes):
        """Append an operation on this symbol and others; returns the symbol of its result."""
        for other in others:
            if not isinstance(other, Symbol):
                raise Untraceable(f"{kind} with {type(other).__name__}")
        operation = Operation(kind, [self.operation, *(other.operation for other in others)], shape, **attributes)
        self.operations.append(operation)
        return Symbol(operation, self.operations)

    def view(self, shape, function):
        """A view of the array, by a function of it; only outputs of the network may be views."""
        return self.record("view", shape, function=function)

    def __add__(self, other):
        if not isinstance(other, Symbol) or other.shape != self.shape:
            raise Untraceable("a sum of different shapes")
        return self.record("add", self.shape, other)

    def __mul__(self, other):
        if not isinstance(other, Symbol) or self.ndim != 4 or other.shape != (*self.shape[:2], 1, 1):
            raise Untraceable("a product that is not by one factor per channel")
        return self.record("multiply", self.shape, other)

    def __getitem__(self, key):
        every = slice(None)
        if self.ndim != 4 or not isinstance(key, tuple) or len(key) != 4 or key[:2] != (every, every) \
                or not all(isinstance(part, slice) for part in key):
            raise Untraceable("a slice")
        h, w = (len(range(*part.indices(side))) for part, side in zip(key[2:], self.shape[2:]))
        return self.view((*self.shape[:2], h, w), lambda x: x[key])

    def transpose(self, *axes):
        if axes[:1] != (0,):
            raise Untraceable("the batch was transposed")
        return self.view([self.shape[axis] for axis in axes], lambda x: x.transpose(axes))

    def reshape(self, *shape):
        n, size = self.shape[0], 1
        for side in self.shape[1:]:
            size *= side
        if shape[0] != n:
            raise Untraceable("the batch was reshaped")
        rest = list(shape[1:])
        if -1 in rest:
            known = 1
            for side in rest:
                known *= side if side != -1 else 1
            rest[rest.index(-1)] = size // known
        if rest == [size] and self.ndim == 2:
            return self
        if rest == [size] and self.operation.kind != "view":
            return self.record("flatten", (n, size))
        return self.view((n, *rest), lambda x: x.reshape(len(x), *rest))


def symbol(shape):
    """A symbol of an input."""
    operation = Operation("input", (), shape)
    return Symbol(operation, [operation])


def trace(network, shapes):
    """Run a network on symbols.

    Args:
        network: a Layer.
        shapes: of its inputs.

    Returns:
        operations: the inputs, then the operations that the result needs, in the order of their calls.
        result: what the network returned, with operations in place of arrays.

    Raises:
        Untraceable: the network computes something that no plan can hold.

    >>> from minicnn.layers import Conv2d, ReLU, Sequential
    >>> operations, result = trace(Sequential([Conv2d(3, 8, 3), ReLU()]), [(1, 3, 10, 10)])
    >>> [(operation.kind, operation.shape) for operation in operations]
    [('input', (1, 3, 10, 10)), ('conv2d', (1, 8, 8, 8)), ('relu', (1, 8, 8, 8))]
    """
    operations = [Operation("input", (), shape) for shape in shapes]
    symbols = [Symbol(operation, operations) for operation in operations]
    try:
        with dispatch.override("trace"):
            result = network.forward(*symbols)
    except (TypeError, AttributeError, ValueError) as error:
        raise Untraceable(str(error)) from error
    result = to_operations(result)
    return needed(operations, result), result


def needed(operations, result):
    """The inputs, and those of the other operations on which the result depends."""
    found = set(flattened(result))
    for operation in reversed(operations):
        if operation in found:
            found.update(operation.inputs)
    return [operation for operation in operations if operation.kind == "input" or operation in found]


def flattened(result):
    """The results in nested lists and tuples, as one list."""
    return [inner for part in result for inner in flattened(part)] if isinstance(result, (list, tuple)) else [result]


def to_operations(result):
    """A network's result with symbols replaced by their operations, in nested lists and tuples, too."""
    if isinstance(result, Symbol):
        return result.operation
    if isinstance(result, (list, tuple)):
        return type(result)(to_operations(part) for part in result)
    raise Untraceable(f"the network returned {type(result).__name__}")


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    geometry = Geometry(x.shape, weight.shape, stride, padding, dilation, groups)
    return x.record("conv2d", geometry.y_shape, weight=weight, bias=bias, stride=geometry.stride, padding=geometry.padding,
                    dilation=geometry.dilation, groups=groups)


def linear(x, weight, bias=None):
    if x.ndim != 2 or x.shape[1] != weight.shape[1]:
        raise Untraceable("a linear layer that is not on (N, F)")
    return x.record("linear", (x.shape[0], weight.shape[0]), weight=weight, bias=bias)


def linear_blocks(x, weight):
    """Recorded as an operation on the feature maps (N, C, H, W) that were flattened, whose channels are the blocks; its result is
    (N, C, O, 1)."""
    maps = x.operation.inputs[0] if x.operation.kind == "flatten" else None
    if maps is None or math.prod(maps.shape[2:]) != weight.shape[1]:
        raise Untraceable("blocks that are not the channels of a feature map")
    n, c = maps.shape[:2]
    return Symbol(maps, x.operations).record("linear_blocks", (n, c, len(weight), 1), weight=weight).reshape(n, c * len(weight))


def batch_norm(x, running_mean, running_var, weight, bias, eps=1e-5):
    if len(running_mean) != x.shape[1]:
        raise Untraceable("a norm of other channels than its input has")
    return x.record("batch_norm", x.shape, mean=running_mean, var=running_var, weight=weight, bias=bias, eps=eps)


def max_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, return_indices=True):
    if return_indices:
        raise Untraceable("max pooling with indices")
    windows = Windows(x.shape, kernel_size, stride, padding, ceil_mode)
    return x.record("max_pool2d", (*x.shape[:2], *windows.out), kernel=windows.kernel, stride=windows.stride,
                    padding=windows.padding), None


def adaptive_avg_pool2d(x, output_size):
    if pair(output_size) == x.shape[2:]:
        return x
    if pair(output_size) != (1, 1):
        raise Untraceable("an adaptive pooling to more than one pixel")
    return x.record("mean", (*x.shape[:2], 1, 1))


def interpolate(x, size, mode="nearest"):
    if mode != "nearest":
        raise Untraceable(f"{mode} resizing")
    return x.record("resize", (*x.shape[:2], *pair(size)))


def elementwise(name):
    """The kernel of an element-wise operation."""
    return lambda x: x.record(name, x.shape)


def unknown(name):
    """The kernel of an operation that no plan can hold."""
    def refuse(*args, **kwargs):
        raise Untraceable(name)
    return refuse


KERNELS = {
    **{name: unknown(name) for name in dispatch.REFERENCE},
    **{name: elementwise(name) for name in ("relu", "hardswish", "hardsigmoid")},
    "conv2d": conv2d, "linear": linear, "linear_blocks": linear_blocks, "batch_norm": batch_norm, "max_pool2d": max_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d, "interpolate": interpolate, "run": lambda network, *inputs: network.forward(*inputs),
}

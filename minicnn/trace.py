"""What a network does, written down: it is run once on symbols, which have a shape but no numbers, and every operation it asks for
is noted.

Layers and composites need not know of it: they call ``minicnn.functional``, whose kernels are ours meanwhile (the backend "trace"),
and add, multiply, slice, transpose and reshape what they get.
"""

import math

from minicnn.functional import dispatch
from minicnn.functional.conv import Geometry, pair
from minicnn.functional.pool import Windows


class Untraceable(Exception):
    """The network does something that no plan can hold."""


class Operation:
    """One operation of a network.

    Args:
        kind: its name in ``minicnn.functional``, or "input", "add", "multiply", "flatten", "view".
        inputs: the operations whose results it reads.
        shape: of its result, (N, C, H, W) or (N, F).
        attributes: its other arguments, weights included.
    """

    def __init__(self, kind, inputs, shape, **attributes):
        self.kind, self.inputs, self.shape, self.attributes = kind, list(inputs), tuple(shape), attributes
        self.activation = None


class Symbol:
    """A result that is not there yet; stands where an array would."""

    __array_ufunc__ = None          # NumPy's functions refuse it, which makes a network untraceable that calls them itself

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
        for other in others:
            if not isinstance(other, Symbol):
                raise Untraceable(f"{kind} with {type(other).__name__}")
        operation = Operation(kind, [self.operation, *(other.operation for other in others)], shape, **attributes)
        self.operations.append(operation)
        return Symbol(operation, self.operations)

    def view(self, shape, function):
        """A result that costs nothing: ``function`` of the array; only outputs may be such."""
        return self.record("view", shape, function=function)

    def __add__(self, other):
        if not isinstance(other, Symbol) or other.shape != self.shape:
            raise Untraceable("a sum of different shapes")
        return self.record("add", self.shape, other)

    def __mul__(self, other):
        if not isinstance(other, Symbol) or self.ndim != 4 or other.shape != (*self.shape[:2], 1, 1):
            raise Untraceable("a product that is not by one number a channel")
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


def trace(network, shapes):
    """Run a network on symbols.

    Args:
        network: a Layer; shapes: of its inputs.

    Returns:
        operations: list of ``Operation`` that the result needs, in the order they were asked for, all inputs first;
        result: what the network returned, operations in the places of arrays.

    Raises:
        Untraceable: it does something that no plan can hold.
    """
    operations = [Operation("input", (), shape) for shape in shapes]
    symbols = [Symbol(operation, operations) for operation in operations]
    try:
        with dispatch.override("trace"):
            result = network.forward(*symbols)
    except (TypeError, AttributeError, ValueError) as error:
        raise Untraceable(str(error)) from error
    result = replaced(result)
    return needed(operations, result), result


def needed(operations, result):
    """The inputs, and of the other operations those that the result comes from."""
    found = set(parts(result))
    for operation in reversed(operations):
        if operation in found:
            found.update(operation.inputs)
    return [operation for operation in operations if operation.kind == "input" or operation in found]


def parts(result):
    """Every part of what a network returns."""
    return [one for part in result for one in parts(part)] if isinstance(result, (list, tuple)) else [result]


def replaced(result):
    """Symbols become their operations, in lists and tuples too."""
    if isinstance(result, Symbol):
        return result.operation
    if isinstance(result, (list, tuple)):
        return type(result)(replaced(part) for part in result)
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
    """Of flattened maps (N, C, H, W), the pixels of which are the blocks: as an operation on the maps, with a result (N, C, O, 1)."""
    maps = x.operation.inputs[0] if x.operation.kind == "flatten" else None
    if maps is None or math.prod(maps.shape[2:]) != weight.shape[1]:
        raise Untraceable("blocks that are not the pixels of a map")
    n, c = maps.shape[:2]
    return Symbol(maps, x.operations).record("linear_blocks", (n, c, len(weight), 1), weight=weight).reshape(n, c * len(weight))


def batch_norm(x, running_mean, running_var, weight, bias, eps=1e-5):
    return x.record("batch_norm", x.shape, mean=running_mean, var=running_var, weight=weight, bias=bias, eps=eps)


def max_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, return_indices=True):
    if return_indices:
        raise Untraceable("the places of the largest were asked for")
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
    return lambda x: x.record(name, x.shape)


def unknown(name):
    def refuse(*args, **kwargs):
        raise Untraceable(name)
    return refuse


KERNELS = {
    **{name: unknown(name) for name in dispatch.REFERENCE},
    **{name: elementwise(name) for name in ("relu", "hardswish", "hardsigmoid")},
    "conv2d": conv2d, "linear": linear, "linear_blocks": linear_blocks, "batch_norm": batch_norm, "max_pool2d": max_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d, "interpolate": interpolate, "run": lambda network, *inputs: network.forward(*inputs),
}

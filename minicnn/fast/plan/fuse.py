"""Fuses operations: norms, activations, sums and poolings become part of the operation that makes their input."""

import math
from collections import Counter

import numpy as np

from minicnn.fast import choose
from minicnn.trace import flattened

ACTIVATIONS = ("relu", "hardswish", "hardsigmoid")
WITH_ACTIVATION = ("conv2d", "linear", "batch_norm", "add")         # kinds of operations whose steps can end in an activation


def fuse(operations, result, backend):
    """Fuse each norm, activation, sum and pooling into the operation that makes its input, if nothing else reads that input.

    Convolutions get their algorithm here (``operation.choice``), since it decides what can be fused into them.

    Args:
        operations, result: from ``minicnn.trace.trace``; the operations are changed.
        backend: "numpy" or "numba".

    Returns:
        operations: those that are left, in the order in which they run.
        fused: {fused operation: the operation that computes it now}.
    """
    uses = Counter(source for operation in operations for source in operation.inputs)
    uses.update(flattened(result))
    order = {operation: number for number, operation in enumerate(operations)}
    fused, left = {}, []
    for operation in operations:
        operation.inputs = [fused.get(source, source) for source in operation.inputs]
        if operation.kind == "conv2d":
            operation.choice = choose.planned_convolution(operation, backend)
            operation.multiplications = math.prod(operation.shape) // operation.shape[1] * operation.attributes["weight"].size
        host = FUSE[operation.kind](operation, uses, order) if operation.kind in FUSE else None
        if host is None:
            left.append(operation)
        else:
            fused[operation], uses[host] = host, uses[operation]
            order[host] = order[operation]
            left.remove(host)               # the host runs where the last of its parts stood: everything that it reads is there then
            left.append(host)
    return left, fused


def open_inputs(operation, uses):
    """The operation's inputs that nothing else reads, and that end in neither an activation nor a pooling."""
    return [source for source in operation.inputs
            if uses[source] == 1 and source.activation is None and not source.attributes.get("pool")]


# for each kind of operation a function that fuses it, and returns the operation that it became part of, or None

def fuse_norm(operation, uses, order):
    """Into a convolution's weights; a norm that stays becomes a scale and a shift for each channel."""
    attributes = operation.attributes
    scale = attributes["weight"].astype(np.float64) / np.sqrt(attributes["var"].astype(np.float64) + attributes["eps"])
    shift = attributes["bias"] - attributes["mean"] * scale
    host = next(iter(open_inputs(operation, uses)), None)
    if host is not None and host.kind == "conv2d" and "norm" not in host.attributes and "extra" not in host.attributes:
        host.attributes.update(norm=(scale, shift), norm_of=attributes["weight"])
        return host
    attributes.update(scale=scale, shift=shift)
    return None


def fuse_activation(operation, uses, order):
    """Into the step that makes its input."""
    host = next(iter(open_inputs(operation, uses)), None)
    if host is None or host.kind not in WITH_ACTIVATION:
        return None
    host.activation = operation.kind
    return host


def fuse_sum(operation, uses, order):
    """Into the convolution that ends last: it adds the other summand (its ``extra``) before the activation."""
    if any(source.kind == "resize" for source in operation.inputs) or operation.inputs[0] is operation.inputs[1]:
        return None
    hosts = [source for source in open_inputs(operation, uses)
             if source.kind == "conv2d" and source.choice.takes_extra and "extra" not in source.attributes]
    if not hosts:
        return None
    host = max(hosts, key=order.get)
    other = operation.inputs[operation.inputs[0] is host]
    host.attributes["extra"] = True
    host.inputs.append(other)
    return host


def fuse_pooling(operation, uses, order):
    """A 2 x 2 max pooling of stride 2 into a convolution by Winograd's algorithm, before or after its ReLU."""
    host, attributes = operation.inputs[0], operation.attributes
    if host.kind != "conv2d" or uses[host] != 1 or not host.choice.pools:
        return None
    if host.activation not in (None, "relu") or host.attributes.get("pool"):
        return None
    whole_windows = tuple(side // 2 for side in host.shape[2:]) == operation.shape[2:]
    if not whole_windows or (attributes["kernel"], attributes["stride"], attributes["padding"]) != ((2, 2), (2, 2), (0, 0)):
        return None
    host.attributes["pool"], host.shape = True, operation.shape
    return host


FUSE = {"batch_norm": fuse_norm, "add": fuse_sum, "max_pool2d": fuse_pooling, **dict.fromkeys(ACTIVATIONS, fuse_activation)}

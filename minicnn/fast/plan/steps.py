"""What a plan consists of: steps, the buffers that they read and write, and the network's outputs; and how a plan runs."""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn.fast.one_run import lock
from minicnn.functional import dispatch

MIB = 2**20


@dataclass
class Step:
    """One call of a kernel.

    Args:
        name: path of the layer whose weights the step holds, or what it does.
        algorithm: what ``minicnn.fast.choose`` selected, in words.
        function: called with the input buffers, ``arguments`` and y.
        inputs, output: indices into the plan's list of buffers.
        arguments: weights and attributes by name.
        scratch: index of its scratch buffer, or None.
        multiplications: number that the direct algorithm needs, whatever algorithm the step uses.
        flat: read the first input as (N, F), whatever its shape.
        extra: index of the buffer that is added before the activation, or None.
    """

    name: str
    algorithm: str
    function: Callable
    inputs: list
    output: int
    arguments: dict
    scratch: int | None = None
    multiplications: int = 0
    flat: bool = False
    extra: int | None = None

    def run(self, arrays, n):
        """Read and write the plan's buffers, which hold n images."""
        operands = [arrays[place] for place in self.inputs]
        if self.flat:
            operands[0] = operands[0].reshape(n, -1)
        optional = {name: arrays[place] for name, place in (("scratch", self.scratch), ("extra", self.extra)) if place is not None}
        self.function(*operands, y=arrays[self.output], **self.arguments, **optional)


@dataclass
class Output:
    """One array that the network returns.

    Args:
        place: index of its buffer.
        channels: of the array; the buffer may have more.
        views: functions (slicing, transposing, reshaping) that are applied to the array (N, C, H, W) before it is returned.
    """

    place: int
    channels: int
    views: list

    def from_buffers(self, arrays):
        """The array, given the plan's buffers."""
        x = arrays[self.place][..., :self.channels]
        x = np.moveaxis(x, -1, 1)
        for view in self.views:
            x = view(x)
        return x


@dataclass
class Buffer:
    """Memory of one result, or scratch memory of one step.

    Args:
        shape: channels last, padded.
        begin, end: numbers of the first and last step that need it.
        offset: in the arena, in float32 numbers; None if it lies outside: an input used as it is, or an output that the caller keeps.
    """

    shape: tuple
    begin: int
    end: int
    offset: int | None = None

    @property
    def size(self):
        """Float32 numbers."""
        return math.prod(self.shape)


@dataclass
class Plan:
    """The steps of a network for one size of input, made by ``compile``; ``print(plan)`` shows them as a table.

    Args:
        shapes: of the inputs, (N, C, H, W) or (N, F); a run may have fewer than N images.
        backend: "numpy" or "numba".
        steps: in the order in which they run.
        buffers: in the order in which they were made.
        entries: for each input its buffer's index, and whether the array is used as it is, in any memory order.
        result: what the network returns, with an ``Output`` in place of each array.
        arena_size: float32 numbers.
    """

    shapes: list
    backend: str
    steps: list = field(default_factory=list)
    buffers: list = field(default_factory=list)
    entries: list = field(default_factory=list)
    result: object = None
    arena_size: int = 0

    def run(self, inputs: list, arena: np.ndarray, observe: Callable | None = None) -> Any:
        """Compute the network's outputs; they own their memory.

        Args:
            inputs: list of float32 arrays, with at most the planned number of images.
            arena: ``arena_size`` float32 numbers.
            observe: None, or called with each step after it ran.
        """
        n = len(inputs[0])
        arrays = self.allocate(n, arena)
        pad = backend_kernels(self.backend).pad
        with lock:
            for x, (place, as_it_is) in zip(inputs, self.entries):
                arrays[place] = channels_last_input(x, arrays[place], as_it_is, pad)
            for step in self.steps:
                step.run(arrays, n)
                if observe is not None:
                    observe(step)
        return map_outputs(self.result, lambda output: output.from_buffers(arrays))

    def allocate(self, n: int, arena: np.ndarray) -> list:
        """The buffers as arrays, for n images: in the arena, or new where they lie outside."""
        arrays = [np.empty((n, *buffer.shape[1:]), np.float32) if buffer.offset is None else
                  arena[buffer.offset:buffer.offset + buffer.size].reshape(buffer.shape) for buffer in self.buffers]
        if n < self.shapes[0][0]:
            arrays = [array[:n] if array.ndim > 1 else array for array in arrays]          # scratch memory has one axis
        return arrays

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights in the forms that the steps read."""
        arrays = {id(a): a.nbytes for step in self.steps for a in step.arguments.values() if isinstance(a, np.ndarray)}
        return sum(arrays.values())

    def __str__(self):
        lines = [f"{'step':<34} {'result':<20} {'algorithm':<24}"]
        for step in self.steps:
            n, *sides = self.buffers[step.output].shape
            lines.append(f"{step.name[-34:]:<34} {' x '.join(map(str, sides)):<20} {step.algorithm:<24}")
        return "\n".join([*lines, f"{len(self.steps)} steps by {self.backend}; weights {self.weight_bytes / MIB:.0f} MiB, "
                                  f"arena {4 * self.arena_size / MIB:.0f} MiB"])


def channels_last_input(x, buffer, as_it_is, pad):
    """The array that the first steps read: x with channels last, copied into its buffer unless it already lies so.

    Args:
        x: (N, C, H, W) or (N, F).
        buffer: (N, H, W, C') or (N, F'), C' and F' padded.
        as_it_is: x is read with whatever strides it has.
        pad: the backend's kernel of that name.
    """
    last = np.moveaxis(x, 1, -1)
    if as_it_is or (last.flags.c_contiguous and last.shape == buffer.shape):
        return last
    if last.ndim == 4:
        pad(last, buffer, (0, 0))
    else:
        buffer[:, :last.shape[1]] = last
        buffer[:, last.shape[1]:] = 0
    return buffer


def map_outputs(result, function):
    """What a network returns (an array, or lists and tuples of them), with ``function(part)`` in place of each array."""
    if isinstance(result, (list, tuple)):
        return type(result)(map_outputs(part, function) for part in result)
    return function(result)


def backend_kernels(backend):
    """The package with a backend's kernels."""
    return importlib.import_module(dispatch.MODULES[backend])

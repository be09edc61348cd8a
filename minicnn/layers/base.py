"""What all layers share: a layer holds arrays and calls ``minicnn.functional``.

A layer runs in two ways:

* ``y = layer(x)``: inference. Nothing is kept but y.
* ``y, pullback = layer.vjp(x)``: training. ``grad_x = pullback(grad_y)`` returns the gradient of the input and *adds* the gradients of
  the parameters to ``layer.gradients``. The pullback holds what the backward pass needs, so a layer can be used several times in one
  forward pass, and nothing is left behind when the pullback is dropped.

Parameters and buffers have dotted paths, which equal torch's state-dict keys: ``features.0.weight``.
"""

from __future__ import annotations  # np.random is imported only when it is used, which takes time

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

import numpy as np

from minicnn.errors import InputError

Pullback = Callable[[np.ndarray], np.ndarray | None]         # grad_y -> grad_x
L = TypeVar("L", bound="Layer")


class Layer:
    """Base class of layers and networks: the tree of children, paths, modes, gradients.

    A subclass names the attributes that are its arrays in ``parameter_names`` and ``buffer_names`` (one may be None, such as a missing
    bias), and those that are its constructor's arguments in ``argument_names``, so that an archive can describe it. Layers that are
    attributes are its children, in order of assignment. Layers start in evaluation mode; ``train`` and ``eval`` switch.
    """

    parameter_names: tuple[str, ...] = ()
    buffer_names: tuple[str, ...] = ()
    argument_names: tuple[str, ...] = ()
    training = False
    rng: np.random.Generator | None = None
    backend: str | None = None          # of a whole model: the argument of ``minicnn.load``; None: the backend in use
    traceable = True        # False: it must be called with arrays each time, so no plan is made of a network that contains it
    trainable = True        # False: its own parameters get no gradients, so that no optimizer changes them
    architecture: str       # of a whole model, like the next two, see ``models.build``
    architecture_arguments: dict[str, Any]
    record: dict[str, Any]
    _gradients: dict[str, np.ndarray] | None = None

    def __call__(self, x: Any) -> Any:
        raise NotImplementedError

    def forward(self, *inputs: Any) -> Any:
        """Compute layer by layer what ``__call__`` returns; overridden by networks whose ``__call__`` goes through ``dispatch.run``."""
        return self(*inputs)

    def vjp(self, x: Any, input_gradient: bool = True) -> Any:
        """The output y and its pullback, see the module's docstring.

        Args:
            x: the input.
            input_gradient: False: the pullback of a Sequential, or of a layer with parameters, returns None, since the first layer
                of a network needs no grad_x.
        """
        raise NotImplementedError

    # the tree

    def children(self) -> list[tuple[str, Layer]]:
        """(name, layer) of each direct child."""
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Layer)]

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """(path, layer) of this layer, whose path is the prefix, and of all layers below it, parents first."""
        yield prefix, self
        for name, child in self.children():
            yield from child.named_layers(f"{prefix}.{name}" if prefix else name)

    def get_layer(self, path: str) -> Any:
        """The layer at a dotted path.

        Raises:
            KeyError: there is no such layer.
        """
        layer: Any = self
        for name in path.split(".") if path else ():
            layer = dict(layer.children()).get(name)
            if layer is None:
                raise KeyError(f"no layer {path!r}; there are {', '.join(p for p, _ in self.named_layers() if p)}")
        return layer

    def replace_layer(self, path: str, layer: Layer) -> None:
        """Put another layer at a dotted path; the order of the children stays."""
        self.get_layer(path)
        parent, _, name = path.rpartition(".")
        setattr(self.get_layer(parent), name, layer)

    # arrays

    def named_parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        """(path, array) of everything that is trained; the arrays are the layers' own, to be changed in place."""
        yield from self._named("parameter_names")

    def named_buffers(self) -> Iterator[tuple[str, np.ndarray]]:
        """(path, array) of everything that is saved but not trained: running statistics, frozen norms."""
        yield from self._named("buffer_names")

    def named_arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """(path, array) of parameters and buffers, as in a state dict."""
        yield from self._named("parameter_names", "buffer_names")

    def _named(self, *kinds):
        for path, layer in self.named_layers():
            for name in (name for kind in kinds for name in getattr(layer, kind)):
                if getattr(layer, name) is not None:
                    yield f"{path}.{name}" if path else name, getattr(layer, name)

    def load_arrays(self, arrays: MutableMapping[str, np.ndarray], strict: bool = True, consume: bool = False) -> None:
        """Copy arrays into the layers' own.

        Args:
            arrays: {dotted path: array}.
            strict: every path must be present and none left over; False: only paths that both have are copied.
            consume: remove each array from the mapping once it is copied, so that a large network is not in memory twice.

        Raises:
            InputError: arrays are missing, extra or of another shape; the message names the first of each kind and counts the others, and
                nothing has been copied.
        """
        self.check_arrays(arrays, strict)
        self.thaw()
        for path, array in self.named_arrays():
            if path in arrays:
                array[...] = arrays.pop(path) if consume else arrays[path]

    def check_arrays(self, arrays: Mapping[str, Any], strict: bool = True) -> None:
        """Raise the InputError of ``load_arrays`` if the arrays, of which only shapes are read, do not fit."""
        wrong = misfits(dict(self.named_arrays()), arrays, strict)
        if wrong:
            raise InputError(f"the arrays do not fit the network: {'; '.join(wrong)}. Use the file's own architecture.")

    def thaw(self) -> None:
        """Make every array writeable, which a plan may have made read-only; a view of another read-only array becomes a copy."""
        for _, layer in self.named_layers():
            for name in (*layer.parameter_names, *layer.buffer_names):
                array = getattr(layer, name)
                if array is not None and not array.flags.writeable:
                    try:
                        array.flags.writeable = True
                    except ValueError:
                        setattr(layer, name, array.copy())

    # training

    def train(self: L, rng: np.random.Generator | None = None) -> L:
        """Switch this layer and all below it to training mode; rng is for dropout. Returns the layer itself."""
        for _, layer in self.named_layers():
            layer.training, layer.rng = True, rng
        self.thaw()
        return self

    def eval(self: L) -> L:
        """Switch this layer and all below it to evaluation mode. Returns the layer itself."""
        for _, layer in self.named_layers():
            layer.training = False
        return self

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """{parameter name: gradient} of this layer itself; gradients add up until ``zero_grad``."""
        if self._gradients is None:
            self._gradients = {}
        return self._gradients

    def add_gradients(self, **gradients: np.ndarray) -> None:
        """Add gradients by parameter name; those of a missing parameter or of a frozen layer are dropped."""
        for name, gradient in gradients.items():
            if self.trainable and getattr(self, name) is not None:
                self.gradients[name] = self.gradients[name] + gradient if name in self.gradients else gradient

    def named_gradients(self) -> Iterator[tuple[str, np.ndarray]]:
        """(path, array) of every gradient of this layer and all below it."""
        for path, layer in self.named_layers():
            for name, gradient in layer.gradients.items():
                yield f"{path}.{name}" if path else name, gradient

    def zero_grad(self) -> None:
        """Forget the gradients of this layer and all below it."""
        for _, layer in self.named_layers():
            layer._gradients = None

    def has_parameters(self) -> bool:
        """Whether this layer or one below it has parameters that are trained."""
        return any(layer.trainable and any(getattr(layer, name) is not None for name in layer.parameter_names)
                   for _, layer in self.named_layers())

    # removing channels: index holds the channels that stay

    def keep_outputs(self, index: np.ndarray) -> None:
        """Keep only these output channels (or features)."""
        raise NotImplementedError(f"{self.kind} makes no channels of its own")

    def keep_inputs(self, index: np.ndarray) -> None:
        """Keep only these input channels (or features)."""
        raise NotImplementedError(f"{self.kind} reads no channels of its own")

    def keep_channels(self, index: np.ndarray) -> None:
        """Keep only these channels of a layer whose output channels are its input channels (norms, depthwise convolutions)."""
        raise NotImplementedError(f"{self.kind} has no channels of its own")

    # description

    @property
    def kind(self) -> str:
        """The name of the class, as archives hold it."""
        return type(self).__name__

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments: ``make_layer(layer.kind, layer.arguments())`` has arrays of the same shapes."""
        return {name: getattr(self, name) for name in self.argument_names}

    def __repr__(self):
        return f"{self.kind}({', '.join(f'{name}={value}' for name, value in self.arguments().items())})"


def misfits(own, arrays, strict):
    """What does not fit of ``arrays``, see ``Layer.load_arrays``: a text for each kind, its first array and the number of the others."""
    kinds = [[f"{path} is {arrays[path].shape}, expected {own[path].shape}"
              for path in own if path in arrays and arrays[path].shape != own[path].shape]]
    if strict:
        kinds += [[f"missing {path} {own[path].shape}" for path in own if path not in arrays],
                  [f"extra {str(path)[:80]}" for path in arrays if path not in own]]
    return [f"{kind[0]} and {len(kind) - 1} more" if len(kind) > 1 else kind[0] for kind in kinds if kind]


def initial_weights(shape, bias, rng):
    """A weight and a bias (None without one) of torch's default for convolutions and linear layers; zeros where rng is None.

    Both are uniform within 1 / sqrt(fan in), torch's kaiming_uniform_ with a = sqrt(5).
    """
    if rng is None:
        return np.zeros(shape, np.float32), np.zeros(shape[0], np.float32) if bias else None
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    weight = rng.uniform(-bound, bound, shape).astype(np.float32)
    return weight, rng.uniform(-bound, bound, shape[0]).astype(np.float32) if bias else None


def take_rows(index, *arrays):
    """The rows of each array at ``index``; None stays None."""
    return tuple(None if array is None else array[index] for array in arrays)

"""Layers: they hold arrays and call ``minicnn.functional``.

A layer runs in two ways:

* ``y = layer(x)``: inference, nothing is kept but y;
* ``y, pullback = layer.vjp(x)``: training. ``grad_x = pullback(grad_y)`` returns the gradient of the input and *adds* to
  ``layer.gradients``. What the backward pass needs lives in the pullback, so one layer may be used several times in one forward
  pass, and nothing is left behind when the pullback is dropped.

Parameters and buffers are reached by dotted paths, equal to torch's state-dict keys: ``features.0.weight``.
"""

import math

import numpy as np

from minicnn.errors import InputError


class Layer:
    """What all layers share: the tree of children, paths, modes, gradients.

    A subclass names its arrays in ``parameter_names`` and ``buffer_names`` (attributes that may be None, such as a missing bias)
    and its constructor's arguments in ``argument_names`` (attributes too), so that a file can describe it. Layers stored as
    attributes are its children, in order of assignment. Layers start in evaluation mode; ``train`` switches.
    """

    parameter_names = ()
    buffer_names = ()
    argument_names = ()
    training = False
    backend = None          # of a whole model: the one that ``load`` was told; None: the one in use
    traceable = True        # False: it must see arrays each time it is called, so no plan is made of a network that has it
    trainable = True        # False: this layer's own parameters get no gradients, so no optimizer moves them
    architecture: str       # of a whole model, as the next two: see ``models.build``
    architecture_arguments: dict
    record: dict
    _gradients = None

    def __call__(self, x):
        raise NotImplementedError

    def forward(self, *inputs):
        """What ``__call__`` computes, layer by layer; a network whose ``__call__`` goes through ``kernels.run`` says here how."""
        return self(*inputs)

    def vjp(self, x, input_gradient=True):
        """Return y and its pullback.

        With ``input_gradient=False`` the pullback of a Sequential or of a layer with parameters returns None: the first layer of
        a network needs no grad_x.
        """
        raise NotImplementedError

    # the tree

    def children(self):
        """(name, layer) of each direct child."""
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Layer)]

    def named_layers(self, prefix=""):
        """(path, layer) of this layer ("") and all below it, parents first."""
        yield prefix, self
        for name, child in self.children():
            yield from child.named_layers(f"{prefix}.{name}" if prefix else name)

    def get_layer(self, path):
        """The layer at a dotted path.

        Raises:
            KeyError: no layer is there.
        """
        layer = self
        for name in path.split(".") if path else ():
            layer = dict(layer.children()).get(name)
            if layer is None:
                raise KeyError(f"no layer {path!r}; there are {', '.join(p for p, _ in self.named_layers() if p)}")
        return layer

    def replace_layer(self, path, layer):
        """Put another layer at a path, in the same place of the order."""
        self.get_layer(path)
        parent, _, name = path.rpartition(".")
        setattr(self.get_layer(parent), name, layer)

    # arrays

    def named_parameters(self):
        """(path, array) of everything trained; the arrays are the layers' own, to be changed in place."""
        yield from self._named("parameter_names")

    def named_buffers(self):
        """(path, array) of what is kept but not trained (running statistics)."""
        yield from self._named("buffer_names")

    def named_arrays(self):
        """(path, array) of parameters and buffers: a state dict."""
        yield from self._named("parameter_names", "buffer_names")

    def _named(self, *kinds):
        for path, layer in self.named_layers():
            for name in (name for kind in kinds for name in getattr(layer, kind)):
                if getattr(layer, name) is not None:
                    yield f"{path}.{name}" if path else name, getattr(layer, name)

    def load_arrays(self, arrays, strict=True, consume=False):
        """Copy arrays to their paths.

        Args:
            arrays: mapping of dotted path to array.
            strict: every path must be present and none left over; False takes what fits by name.
            consume: take each out of the mapping when it has been copied, so that a large network is not in memory twice.

        Raises:
            InputError: names every missing, extra and mis-shaped array; nothing has been copied then.
        """
        own = dict(self.named_arrays())
        wrong = []
        if strict:
            wrong += [f"missing {path} {own[path].shape}" for path in own if path not in arrays]
            wrong += [f"extra {path}" for path in arrays if path not in own]
        wrong += [f"{path} is {arrays[path].shape}, expected {own[path].shape}"
                  for path in own if path in arrays and arrays[path].shape != own[path].shape]
        if wrong:
            raise InputError(f"the arrays do not fit the network: {'; '.join(wrong)}. Use the file's own architecture.")
        self.thaw()
        for path, array in self.named_arrays():
            if path in arrays:
                array[...] = arrays.pop(path) if consume else arrays[path]

    def thaw(self):
        """Make every array writeable, which a plan may have made read-only; a part of another read-only array becomes a copy of it."""
        for _, layer in self.named_layers():
            for name in (*layer.parameter_names, *layer.buffer_names):
                array = getattr(layer, name)
                if array is not None and not array.flags.writeable:
                    try:
                        array.flags.writeable = True
                    except ValueError:
                        setattr(layer, name, array.copy())

    # training

    def train(self, rng=None):
        """Switch this layer and all below it to training mode; rng: numpy.random.Generator for dropout."""
        for _, layer in self.named_layers():
            layer.training, layer.rng = True, rng
        self.thaw()
        return self

    def eval(self):
        """Switch this layer and all below it to evaluation mode."""
        for _, layer in self.named_layers():
            layer.training = False
        return self

    @property
    def gradients(self):
        """This layer's own gradients by parameter name; they add up until ``zero_grad``."""
        if self._gradients is None:
            self._gradients = {}
        return self._gradients

    def add_gradients(self, **gradients):
        for name, gradient in gradients.items():
            if self.trainable and getattr(self, name) is not None:
                self.gradients[name] = self.gradients[name] + gradient if name in self.gradients else gradient

    def named_gradients(self):
        """(path, array) of every gradient there is."""
        for path, layer in self.named_layers():
            for name, gradient in layer.gradients.items():
                yield f"{path}.{name}" if path else name, gradient

    def zero_grad(self):
        for _, layer in self.named_layers():
            layer._gradients = None

    def has_parameters(self):
        """Whether anything here or below is trained."""
        return any(layer.trainable and any(getattr(layer, name) is not None for name in layer.parameter_names)
                   for _, layer in self.named_layers())

    # surgery: a layer that can lose channels says how; index holds the ones that stay

    def keep_outputs(self, index):
        """Keep only these output channels (or features)."""
        raise NotImplementedError(f"{self.kind} makes no channels of its own")

    def keep_inputs(self, index):
        """Keep only these input channels (or features)."""
        raise NotImplementedError(f"{self.kind} reads no channels of its own")

    def keep_channels(self, index):
        """Keep only these channels, which come in and go out alike (norms, depthwise convolutions)."""
        raise NotImplementedError(f"{self.kind} has no channels of its own")

    # description

    @property
    def kind(self):
        return type(self).__name__

    def arguments(self):
        """The constructor's arguments, such that ``make_layer(layer.kind, layer.arguments())`` has the same shapes."""
        return {name: getattr(self, name) for name in self.argument_names}

    def __repr__(self):
        return f"{self.kind}({', '.join(f'{name}={value}' for name, value in self.arguments().items())})"


def initial_weights(shape, bias, rng):
    """torch's default for convolutions and linear layers (kaiming_uniform_ with a = sqrt(5)), or zeros without rng."""
    if rng is None:
        return np.zeros(shape, np.float32), np.zeros(shape[0], np.float32) if bias else None
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    weight = rng.uniform(-bound, bound, shape).astype(np.float32)
    return weight, rng.uniform(-bound, bound, shape[0]).astype(np.float32) if bias else None


def take_rows(index, *arrays):
    """Each array's rows at ``index``; None stays None."""
    return tuple(None if array is None else array[index] for array in arrays)

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

from minicnn import functional as F
from minicnn.errors import InputError
from minicnn.functional.conv import pair


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


class Sequential(Layer):
    """Children run one after the other: ``Sequential({"conv1": Conv2d(...), "relu1": ReLU()})``, or a list, named 0, 1, 2, ..."""

    def __init__(self, layers):
        vars(self).update(layers if isinstance(layers, dict) else {str(i): layer for i, layer in enumerate(layers)})

    def __call__(self, x):
        for _, layer in self.children():
            x = layer(x)
        return x

    def vjp(self, x, input_gradient=True):
        """Chain the children's pullbacks. Without ``input_gradient``, layers before the first trained one run as inference."""
        pullbacks, needed = [], input_gradient
        for _, layer in self.children():
            if needed or layer.has_parameters():
                x, pullback = layer.vjp(x, needed)
                pullbacks.append(pullback)
                needed = True
            else:
                x = layer(x)

        def pullback_all(grad):
            for pullback in reversed(pullbacks):
                grad = pullback(grad)
            return grad if input_gradient else None
        return x, pullback_all

    def keep_outputs(self, index):
        """Of the last child, such as the last of the layers that one was split into."""
        self.children()[-1][1].keep_outputs(index)

    def keep_inputs(self, index):
        """Of the first child."""
        self.children()[0][1].keep_inputs(index)


class Conv2d(Layer):
    """Convolution with torch.nn.Conv2d's names, shapes and default initialisation: uniform within 1 / sqrt(fan in).

    weight is (out_channels, in_channels // groups, KH, KW), bias (out_channels,) or None; float32. Without rng they are zeros,
    for arrays that are about to be loaded.
    """

    parameter_names = ("weight", "bias")
    argument_names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True, *, rng=None):
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv2d: got in_channels={in_channels}, out_channels={out_channels}, groups={groups}; "
                             "expected both channel counts divisible by groups.")
        self.kernel_size, self.stride, self.padding, self.dilation = map(pair, (kernel_size, stride, padding, dilation))
        self.groups = groups
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight, self.bias = initial(shape, bias, rng)

    @property
    def in_channels(self):
        return self.weight.shape[1] * self.groups

    @property
    def out_channels(self):
        return self.weight.shape[0]

    def arguments(self):
        return {**super().arguments(), "bias": self.bias is not None}

    def keep_outputs(self, index):
        self._refuse_groups()
        self.weight, self.bias = keep_rows(index, self.weight, self.bias)

    def keep_inputs(self, index):
        self._refuse_groups()
        self.weight = self.weight.take(index, axis=1)     # in row order, as a file gives it back

    def keep_channels(self, index):
        if not self.in_channels == self.out_channels == self.groups:
            raise ValueError(f"got {self}, expected a depthwise convolution. Name it as producer or consumer instead.")
        self.weight, self.bias = keep_rows(index, self.weight, self.bias)
        self.groups = len(index)

    def _refuse_groups(self):
        if self.groups > 1:
            raise ValueError(f"got {self}, expected groups=1 to remove channels. Leave this layer out of the pruning.")

    def settings(self):
        return self.stride, self.padding, self.dilation, self.groups

    def __call__(self, x):
        return F.conv2d(x, self.weight, self.bias, *self.settings())

    def vjp(self, x, input_gradient=True):
        def pullback(grad_y):
            grad_x, weight, bias = F.conv2d_backward(grad_y, x, self.weight, *self.settings(), input_gradient)
            self.add_gradients(weight=weight, bias=bias)
            return grad_x
        return self(x), pullback


class Linear(Layer):
    """y = x weight^T + bias, with torch.nn.Linear's names, shapes and default initialisation: uniform within 1 / sqrt(fan in).

    weight is (out_features, in_features), bias (out_features,) or None; float32. Without rng they are zeros.
    """

    parameter_names = ("weight", "bias")
    argument_names = ("in_features", "out_features")

    def __init__(self, in_features, out_features, bias=True, *, rng=None):
        self.weight, self.bias = initial((out_features, in_features), bias, rng)

    @property
    def in_features(self):
        return self.weight.shape[1]

    @property
    def out_features(self):
        return self.weight.shape[0]

    def arguments(self):
        return {**super().arguments(), "bias": self.bias is not None}

    def keep_outputs(self, index):
        self.weight, self.bias = keep_rows(index, self.weight, self.bias)

    def keep_inputs(self, index):
        self.weight = self.weight.take(index, axis=1)     # in row order, as a file gives it back

    def __call__(self, x):
        return F.linear(x, self.weight, self.bias)

    def vjp(self, x, input_gradient=True):
        def pullback(grad_y):
            grad_x, weight, bias = F.linear_backward(grad_y, x, self.weight, input_gradient)
            self.add_gradients(weight=weight, bias=bias)
            return grad_x
        return self(x), pullback


class BlockLinear(Layer):
    """The same linear map of each block of ``in_features`` inputs, see ``functional.linear_blocks``; weight is (out_features,
    in_features), float32. Without rng it is zeros.

    torch's ``Unflatten(1, (-1, in_features))``, ``Linear(in_features, out_features, bias=False)``, ``Flatten()``.
    """

    parameter_names = ("weight",)
    argument_names = ("in_features", "out_features")
    bias = None

    def __init__(self, in_features, out_features, *, rng=None):
        self.weight, _ = initial((out_features, in_features), False, rng)

    in_features, out_features = Linear.in_features, Linear.out_features

    def keep_channels(self, index):
        """A channel is a block, and has nothing here of its own."""

    def __call__(self, x):
        return F.linear_blocks(x, self.weight)

    def vjp(self, x, input_gradient=True):
        def pullback(grad_y):
            grad_x, weight = F.linear_blocks_backward(grad_y, x, self.weight, input_gradient)
            self.add_gradients(weight=weight)
            return grad_x
        return self(x), pullback


def initial(shape, bias, rng):
    """torch's default for convolutions and linear layers (kaiming_uniform_ with a = sqrt(5)), or zeros without rng."""
    if rng is None:
        return np.zeros(shape, np.float32), np.zeros(shape[0], np.float32) if bias else None
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    weight = rng.uniform(-bound, bound, shape).astype(np.float32)
    return weight, rng.uniform(-bound, bound, shape[0]).astype(np.float32) if bias else None


def keep_rows(index, *arrays):
    """Each array's rows at ``index``; None stays None."""
    return tuple(None if array is None else array[index] for array in arrays)


class Norm2d(Layer):
    """What both batch norms share: a scale, a shift and two running statistics per channel."""

    def __init__(self, num_features, eps):
        self.eps = eps
        self.weight, self.bias = np.ones(num_features, np.float32), np.zeros(num_features, np.float32)
        self.running_mean, self.running_var = np.zeros(num_features, np.float32), np.ones(num_features, np.float32)

    @property
    def num_features(self):
        return self.weight.shape[0]

    def keep_channels(self, index):
        self.weight, self.bias, self.running_mean, self.running_var = keep_rows(
            index, self.weight, self.bias, self.running_mean, self.running_var)


class BatchNorm2d(Norm2d):
    """Batch normalisation with torch.nn.BatchNorm2d's names and defaults.

    In training mode the batch's statistics normalise, and the running ones move by ``momentum`` (the variance by its unbiased
    estimate); in evaluation mode the running ones normalise. ``num_batches_tracked`` of torch is not kept.
    """

    parameter_names = ("weight", "bias")
    buffer_names = ("running_mean", "running_var")
    argument_names = ("num_features", "eps", "momentum")

    def __init__(self, num_features, eps=1e-5, momentum=0.1, *, rng=None):
        super().__init__(num_features, eps)
        self.momentum = momentum

    def __call__(self, x):
        if self.training:
            return self.vjp(x)[0]
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)

    def vjp(self, x, input_gradient=True):
        if not self.training:
            mean, var = self.running_mean.copy(), self.running_var.copy()
            y, backward = self(x), F.batch_norm_backward
        else:
            y, mean, var = F.batch_norm_training(x, self.weight, self.bias, self.eps)
            backward = F.batch_norm_training_backward
            count = x.size // x.shape[1]
            self.running_mean += self.momentum * (mean - self.running_mean)
            self.running_var += self.momentum * (var * (count / (count - 1)) - self.running_var)

        def pullback(grad_y):
            grad_x, weight, bias = backward(grad_y, x, mean, var, self.weight, self.eps)
            self.add_gradients(weight=weight, bias=bias)
            return grad_x if input_gradient else None
        return y, pullback


class FrozenBatchNorm2d(Norm2d):
    """torchvision's FrozenBatchNorm2d: everything is a buffer, in both modes a fixed scale and shift per channel."""

    buffer_names = ("weight", "bias", "running_mean", "running_var")
    argument_names = ("num_features", "eps")

    def __init__(self, num_features, eps=1e-5, *, rng=None):
        super().__init__(num_features, eps)

    def __call__(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)

    def vjp(self, x, input_gradient=True):
        def pullback(grad_y):           # the same scale, and no shift
            zeros = np.zeros_like(self.bias)
            return F.batch_norm(grad_y, zeros, self.running_var, self.weight, zeros, self.eps)
        return self(x), pullback


class MaxPool2d(Layer):
    """``functional.max_pool2d`` as a layer."""

    argument_names = ("kernel_size", "stride", "padding", "ceil_mode")

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, *, rng=None):
        self.kernel_size, self.stride, self.padding, self.ceil_mode = kernel_size, stride, padding, ceil_mode

    def __call__(self, x):
        return F.max_pool2d(x, **self.arguments(), return_indices=False)[0]

    def vjp(self, x, input_gradient=True):
        y, index = F.max_pool2d(x, **self.arguments())
        return y, lambda grad_y: F.max_pool2d_backward(grad_y, index, x.shape, **self.arguments())


class AvgPool2d(Layer):
    """``functional.avg_pool2d`` as a layer."""

    argument_names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, *, rng=None):
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def __call__(self, x):
        return F.avg_pool2d(x, **self.arguments())

    def vjp(self, x, input_gradient=True):
        return self(x), lambda grad_y: F.avg_pool2d_backward(grad_y, x.shape, **self.arguments())


class AdaptiveAvgPool2d(Layer):
    """``functional.adaptive_avg_pool2d`` as a layer."""

    argument_names = ("output_size",)

    def __init__(self, output_size, *, rng=None):
        self.output_size = output_size

    def __call__(self, x):
        return F.adaptive_avg_pool2d(x, self.output_size)

    def vjp(self, x, input_gradient=True):
        return self(x), lambda grad_y: F.adaptive_avg_pool2d_backward(grad_y, x.shape)


class Flatten(Layer):
    """(N, C, H, W) -> (N, C H W), channels slowest."""

    def __init__(self, *, rng=None):
        pass

    def __call__(self, x):
        return x.reshape(len(x), math.prod(x.shape[1:]))        # -1 would not do for an empty batch

    def vjp(self, x, input_gradient=True):
        return self(x), lambda grad_y: grad_y.reshape(x.shape)


class Dropout(Layer):
    """Zero with probability p in training mode, using the generator given to ``train(rng)``; nothing in evaluation mode."""

    argument_names = ("p",)

    def __init__(self, p=0.5, *, rng=None):
        self.p = p

    def __call__(self, x):
        return self.vjp(x)[0]

    def vjp(self, x, input_gradient=True):
        if not self.training:
            return x, lambda grad_y: grad_y
        if self.rng is None:
            raise ValueError("Dropout: got no generator in training mode, expected one. Call model.train(rng).")
        y, mask = F.dropout(x, self.p, self.rng)
        return y, lambda grad_y: grad_y * mask


class Activation(Layer):
    """An element-wise function without parameters; subclasses name it."""

    function = backward = None

    def __init__(self, *, rng=None):
        pass

    def __call__(self, x):
        return type(self).function(x)

    def vjp(self, x, input_gradient=True):
        return self(x), lambda grad_y: type(self).backward(grad_y, x)


class ReLU(Activation):
    """max(x, 0)."""

    function, backward = F.relu, F.relu_backward


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    function, backward = F.sigmoid, F.sigmoid_backward


class Hardsigmoid(Activation):
    """min(max(x + 3, 0), 6) / 6."""

    function, backward = F.hardsigmoid, F.hardsigmoid_backward


class Hardswish(Activation):
    """x min(max(x + 3, 0), 6) / 6."""

    function, backward = F.hardswish, F.hardswish_backward


KINDS = {cls.__name__: cls for cls in (
    Conv2d, Linear, BlockLinear, BatchNorm2d, FrozenBatchNorm2d, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Flatten, Dropout, ReLU, Sigmoid,
    Hardsigmoid, Hardswish)}


def make_layer(kind, arguments):
    """The layer of a kind and its constructor's arguments, its arrays not yet loaded.

    Raises:
        InputError: an unknown kind, or arguments it does not take.
    """
    if kind not in KINDS:
        raise InputError(f"got a layer of kind {kind!r}, expected one of {', '.join(KINDS)}. Use a newer minicnn for this file.")
    try:
        check_arguments(arguments)
        return KINDS[kind](**arguments)
    except (TypeError, ValueError, ArithmeticError, AttributeError, MemoryError) as error:
        raise InputError(f"got {kind} with arguments {arguments}: {error}. The file is damaged.") from error


def check_arguments(arguments):
    """Raise ValueError for sizes that a layer would take, and fail on, or never come to an end, when it runs."""
    for names, least in (("kernel_size", "stride", "dilation", "groups"), 1), (("padding",), 0):
        for name in names:
            value = arguments.get(name, least)
            sizes = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value,)
            allowed_none = name == "stride" and value is None           # a pooling's default: its kernel size
            if not allowed_none and not all(isinstance(size, int) and size >= least for size in sizes):
                raise ValueError(f"{name}={value!r}, expected integers of at least {least}")

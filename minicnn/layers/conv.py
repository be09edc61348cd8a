"""Convolution."""

from minicnn import functional as F
from minicnn.functional.conv import pair
from minicnn.layers.base import Layer, initial_weights, take_rows


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
        self.weight, self.bias = initial_weights(shape, bias, rng)

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
        self.weight, self.bias = take_rows(index, self.weight, self.bias)

    def keep_inputs(self, index):
        self._refuse_groups()
        self.weight = self.weight.take(index, axis=1)     # in row order, as a file gives it back

    def keep_channels(self, index):
        if not self.in_channels == self.out_channels == self.groups:
            raise ValueError(f"got {self}, expected a depthwise convolution. Name it as producer or consumer instead.")
        self.weight, self.bias = take_rows(index, self.weight, self.bias)
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

"""Networks that are one chain of layers, and which of their channels belong together."""

from typing import NamedTuple

from minicnn.functional.kernels import on_own_backend, run
from minicnn.layers import BatchNorm2d, Conv2d, FrozenBatchNorm2d, Linear, Sequential


class ChannelGroup(NamedTuple):
    """One set of channels that stay or go together. This is all that compression asks of a model.

    producers: paths of the layers whose output channels they are;
    followers: paths of the layers they pass channel by channel (norms, depthwise convolutions);
    consumers: (path, columns) of the layers that read them: ``columns`` input columns a channel, 1 for a convolution, H W for a
    linear layer behind a flatten.
    """

    producers: tuple
    followers: tuple
    consumers: tuple


class Chain(Sequential):
    """A Sequential that knows the shape (C, H, W) of one input and its channel groups."""

    def __init__(self, input_shape, layers):
        super().__init__(layers)
        self.input_shape = input_shape

    @on_own_backend
    def __call__(self, x):
        return run(self, x)

    def forward(self, x):
        return super().__call__(x)

    def channel_groups(self):
        """A group for every convolution and linear layer but the last, which makes the answer.

        The channels that a grouped convolution (not a depthwise one) reads or makes are left alone.
        """
        groups, producer, followers = [], None, []
        for path, layer in self.named_layers():
            grouped = isinstance(layer, Conv2d) and layer.groups > 1
            depthwise = grouped and layer.groups == layer.in_channels == layer.out_channels
            if isinstance(layer, (BatchNorm2d, FrozenBatchNorm2d)) or depthwise:
                followers.append(path)
            elif grouped:
                producer, followers = None, []
            elif isinstance(layer, (Conv2d, Linear)):
                if producer is not None:
                    columns = layer.weight.shape[1] // self.get_layer(producer).weight.shape[0]
                    groups.append(ChannelGroup((producer,), tuple(followers), ((path, columns),)))
                producer, followers = path, []
        return groups

"""Which channels of a network belong together, found by walking along its layers."""

from typing import NamedTuple

from minicnn.layers import Conv2d, Layer, Linear


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


class Walk(NamedTuple):
    """What some layers, one after the other, do with channels.

    reader: path of the first layer that reads them, None if none does; groups: of those made and read within;
    producers, followers: of the ones that come out, as a ``ChannelGroup`` has them; none where they cannot be removed.
    """

    reader: str | None
    groups: list
    producers: tuple
    followers: tuple


def units(path, layer):
    """(path, layer) of what is one step of a chain, in order: layers without children, and those that pass channel by channel."""
    if not layer.children() or passes_channels(layer):
        yield path, layer
    else:
        for name, child in layer.children():
            yield from units(f"{path}.{name}" if path else name, child)


def passes_channels(layer):
    """Whether channels come in and go out alike: norms, depthwise convolutions, squeeze-and-excitation."""
    if isinstance(layer, Conv2d):
        return layer.groups == layer.in_channels == layer.out_channels > 1
    return type(layer).keep_channels is not Layer.keep_channels


def walk(model, steps):
    """Walk along a chain.

    Args:
        model: the network that the paths are of. steps: (path, layer) of each step, see ``units``.
    """
    reader, groups, producers, followers = None, [], (), []
    for path, layer in steps:
        if passes_channels(layer):
            followers.append(path)
        elif isinstance(layer, Conv2d) and layer.groups > 1:
            reader, producers, followers = reader or path, (), []
        elif isinstance(layer, (Conv2d, Linear)):
            if producers:
                groups.append(group(model, producers, followers, [path]))
            reader, producers, followers = reader or path, (path,), []
    return Walk(reader, groups, producers, tuple(followers))


def group(model, producers, followers, readers):
    """The ``ChannelGroup`` of these paths."""
    channels = len(model.get_layer(producers[0]).weight)
    consumers = ((path, model.get_layer(path).weight.shape[1] // channels) for path in readers)
    return ChannelGroup(tuple(producers), tuple(followers), tuple(consumers))

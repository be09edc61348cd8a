"""Which channels of a network belong together, found by walking along its layers."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from minicnn.layers import Conv2d, Layer, Linear


class ChannelGroup(NamedTuple):
    """A set of channels that can only be removed together, from all of these layers.

    Attributes:
        producers: paths of the layers whose output channels they are; several where their outputs are added.
        followers: paths of the layers that they pass channel by channel: norms, depthwise convolutions.
        consumers: (path, columns) of the layers that read them; each channel is ``columns`` input columns of the weight, 1 for a
            convolution, H W for a linear layer behind a flatten.
    """

    producers: tuple[str, ...]
    followers: tuple[str, ...]
    consumers: tuple[tuple[str, int], ...]


class Walk(NamedTuple):
    """The channels of a chain of layers.

    Attributes:
        consumer: path of the first layer that reads the chain's input channels; None if no layer does.
        groups: of the channels that are made and read within the chain.
        producers, followers: of the chain's output channels, see ``ChannelGroup``; empty where they cannot be removed.
    """

    consumer: str | None
    groups: list[ChannelGroup]
    producers: tuple[str, ...]
    followers: tuple[str, ...]


def units(path: str, layer: Layer) -> Iterator[tuple[str, Layer]]:
    """The steps of a chain below a layer: (path, layer) of each layer that has no children or ``passes_channels``, in order."""
    if not layer.children() or passes_channels(layer):
        yield path, layer
    else:
        for name, child in layer.children():
            yield from units(f"{path}.{name}" if path else name, child)


def passes_channels(layer: Layer) -> bool:
    """Whether a layer's output channels are its input channels: norms, depthwise convolutions, squeeze-and-excitation."""
    if isinstance(layer, Conv2d):
        return layer.groups == layer.in_channels == layer.out_channels > 1
    return type(layer).keep_channels is not Layer.keep_channels


def walk(model: Layer, steps: Iterable[tuple[str, Layer]]) -> Walk:
    """Follow the channels along a chain.

    Args:
        model: the network that the paths belong to.
        steps: (path, layer) of each step, see ``units``.

    Returns:
        A ``Walk``.
    """
    consumer: str | None = None
    groups: list[ChannelGroup] = []
    producers: tuple[str, ...] = ()
    followers: list[str] = []
    for path, layer in steps:
        if passes_channels(layer):
            followers.append(path)
        elif isinstance(layer, Conv2d) and layer.groups > 1:
            consumer, producers, followers = consumer or path, (), []
        elif isinstance(layer, (Conv2d, Linear)):
            if producers:
                groups.append(channel_group(model, producers, followers, [path]))
            consumer, producers, followers = consumer or path, (path,), []
    return Walk(consumer, groups, producers, tuple(followers))


def channel_group(model: Layer, producers: Sequence[str], followers: Sequence[str], consumers: Sequence[str | None]) -> ChannelGroup:
    """The ``ChannelGroup`` of these paths, with the columns of each consumer."""
    channels = len(model.get_layer(producers[0]).weight)
    columns = ((path, model.get_layer(path).weight.shape[1] // channels) for path in consumers if path)
    return ChannelGroup(tuple(producers), tuple(followers), tuple(columns))

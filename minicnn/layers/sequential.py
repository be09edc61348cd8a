"""Layers that run one after the other."""

from collections.abc import Sequence

import numpy as np

from minicnn.layers.base import Layer, Pullback


class Sequential(Layer):
    """A chain of layers: each reads the output of the one before.

    Args:
        layers: {name: layer}, in order, or a list of layers, which are named 0, 1, 2, ...

    >>> from minicnn.layers import Conv2d, ReLU
    >>> model = Sequential([Conv2d(3, 8, 3, padding=1), ReLU()])
    >>> model(np.zeros((1, 3, 32, 32), np.float32)).shape
    (1, 8, 32, 32)
    >>> model.get_layer("0")
    Conv2d(in_channels=3, out_channels=8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1, bias=True)
    """

    def __init__(self, layers: dict[str, Layer] | Sequence[Layer]):
        vars(self).update(layers if isinstance(layers, dict) else {str(i): layer for i, layer in enumerate(layers)})

    def __call__(self, x: np.ndarray) -> np.ndarray:
        for _, layer in self.children():
            x = layer(x)
        return x

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        """See ``Layer``; without ``input_gradient`` the layers before the first trained one run as inference."""
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

    def keep_outputs(self, index: np.ndarray) -> None:
        """Keep these output channels of the last child, such as the last factor of a factorised layer."""
        self.children()[-1][1].keep_outputs(index)

    def keep_inputs(self, index: np.ndarray) -> None:
        """Keep these input channels of the first child."""
        self.children()[0][1].keep_inputs(index)

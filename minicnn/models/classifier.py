"""Networks that are a sequence of layers from one image to its logits."""

import numpy as np

from minicnn.errors import InputError
from minicnn.functional.dispatch import on_own_backend, run
from minicnn.layers import Layer, Sequential
from minicnn.models.channel_groups import ChannelGroup, units, walk


class Classifier(Sequential):
    """A ``Sequential`` that knows the shape of its input and its channel groups.

    Args:
        input_shape: (C, H, W) of one image.
        layers: {name: layer}, or a list; see ``Sequential``.
    """

    task = "classification"
    repeats: dict[str, int] = {}        # every layer runs once on an image, see ``protocol.Compressible``

    def __init__(self, input_shape: tuple[int, int, int], layers: dict[str, Layer] | list[Layer]):
        super().__init__(layers)
        self.input_shape = input_shape

    @on_own_backend
    def __call__(self, x: np.ndarray) -> np.ndarray:
        """x (N, C, H, W) -> logits (N, K). With adaptive pooling, as in VGG16, any size will do that the layers take.

        Raises:
            InputError: x is no array of floats of that shape.
        """
        c, h, w = self.input_shape
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or x.ndim != 4 or x.shape[1] != c:
            got = f"an array {x.shape} of {x.dtype}" if isinstance(x, np.ndarray) else f"a {type(x).__name__}"
            raise InputError(f"got {got}, expected images: an array (N, {c}, {h}, {w}) of floats. Give one image x as x[None]; convert "
                             "other numbers by .astype(numpy.float32).")
        try:
            return run(self, x)
        except ValueError as error:
            if x.shape[2:] == (h, w):
                raise
            raise InputError(f"got images of {x.shape[2]} x {x.shape[3]}, expected {h} x {w}, which {self.architecture} takes ({error}). "
                             "Resize them.") from error

    def forward(self, x):
        return super().__call__(x)

    def channel_groups(self) -> list[ChannelGroup]:
        """A group for every convolution and linear layer but the last, whose outputs are the logits.

        The channels that a grouped convolution (not a depthwise one) reads or makes are in no group: they cannot be removed.
        """
        return walk(self, units("", self)).groups

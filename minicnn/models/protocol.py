"""What compression needs of a model: a third kind of network that has these methods can be compressed, too."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from minicnn.layers import Layer
from minicnn.models.channel_groups import ChannelGroup


class Compressible(Protocol):
    """A network whose layers can lose channels and be factorised."""

    architecture: str                   # its name
    task: str                           # "classification" or "detection"
    record: dict[str, Any]              # what an archive holds besides arrays, see ``minicnn.archive``

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image, at which costs are counted."""
        ...

    @property
    def repeats(self) -> Mapping[str, int]:
        """{path: n}: the layers below that path run up to n times on an image (once on each proposal); all others run once."""
        ...

    def channel_groups(self) -> list[ChannelGroup]:
        """Which channels can be removed, and which layers make and read them."""
        ...

    def get_layer(self, path: str) -> Layer:
        """The layer at a dotted path."""
        ...

    def replace_layer(self, path: str, layer: Layer) -> None:
        """Put another layer at a dotted path."""
        ...

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """(path, layer) of the network itself ("") and of all layers below it, parents first."""
        ...

    def named_arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """(path, array) of all parameters and buffers."""
        ...


class CompressibleDetector(Compressible, Protocol):
    """A two-stage detector, whose parts can be run one by one: the layers of each part are observed on inputs that are the same for
    the detector before and after its compression."""

    def prepare(self, image: Any) -> Any:
        """A batch of one image, resized and normalised: ``pixels`` (1, 3, H, W) is what ``backbone_and_rpn`` reads."""
        ...

    def backbone_and_rpn(self, pixels: np.ndarray) -> tuple[list[np.ndarray], list[tuple[np.ndarray, np.ndarray]]]:
        """The backbone's feature maps (N, C, H, W), and the RPN's (logits, deltas) on each of them."""
        ...

    def pool_rois(self, maps: list[np.ndarray], batch: Any, proposals: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Proposals (R, 4) in pixels of the resized image, and the features (R, C, P, P) pooled from them; None: the RPN's own."""
        ...

    def batch_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(3, H, W) of the batch that ``prepare`` makes of an image (3, h, w)."""
        ...

    def pooled_shape(self, maps: list[np.ndarray]) -> tuple[int, int, int]:
        """(C, P, P) of one proposal's features pooled from the maps, of which only shapes are read."""
        ...

    def box_head(self, pooled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Class scores (R, K) and box deltas (R, 4 K) of pooled features."""
        ...

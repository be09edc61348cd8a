"""Which algorithm computes a convolution: by its shape, or by what ``minicnn tune`` measured on this machine."""

from dataclasses import dataclass, field

PASSES = 400            # what Winograd's two transforms cost a number of a tile, in multiplications of its products


@dataclass
class Choice:
    """An algorithm and its settings.

    "product": a 1 x 1 convolution as one matrix product; "direct": patches times filters; "depthwise"; "winograd": F(4 x 4, 3 x 3).
    """

    algorithm: str
    options: dict = field(default_factory=dict)

    @property
    def takes_extra(self):
        """Whether another map can be added before the activation."""
        return self.algorithm in ("product", "direct")

    @property
    def pools(self):
        """Whether a 2 x 2 max pooling can follow in the same step."""
        return self.algorithm == "winograd"

    def __str__(self):
        if self.algorithm != "winograd":
            return self.algorithm
        return f"winograd, {'' if self.options['together'] else '2 x '}{self.options['tiles']} tiles"


def convolution(operation, backend):
    """The ``Choice`` for a traced convolution."""
    s, (n, o, ho, wo) = operation.settings, operation.shape
    _, c, kh, kw = s["weight"].shape
    if s["groups"] > 1:
        from minicnn.fast.trace import Untraceable
        if not s["groups"] == o == operation.inputs[0].shape[1]:
            raise Untraceable("a grouped convolution that is not depthwise")
        return Choice("depthwise")
    if (kh, kw, s["stride"], s["padding"]) == (1, 1, (1, 1), (0, 0)):
        return Choice("product")
    if (kh, kw, s["stride"], s["dilation"]) == (3, 3, (1, 1), (1, 1)) and min(c, o) >= 16:
        tiles = n * -(-ho // 4) * -(-wo // 4)
        if 36 * tiles * c * o + PASSES * tiles * (c + o) < 9 * n * ho * wo * c * o:
            return Choice("winograd", strips(tiles, c, o, backend))
    return Choice("direct")


def strips(tiles, c, o, backend):
    """Tiles of a strip: as many as keep it in the caches; wide layers, whose filters do not fit, share one strip among the threads."""
    if backend == "numpy":
        return {"tiles": min(tiles, 256), "together": True}
    if c * o >= 256 * 512:
        return {"tiles": min(tiles, 96), "together": True}
    return {"tiles": min(tiles, 48 if c + o <= 256 else 24), "together": False}

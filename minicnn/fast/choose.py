"""Which algorithm computes a convolution: by its shape, or by what ``minicnn tune`` measured on this machine.

MINICNN_WINOGRAD=0 in the environment turns Winograd's algorithm off, whatever was measured.
"""

import contextlib
import contextvars
import os
from dataclasses import dataclass, field

from minicnn.fast import tuned

PASSES = 400            # what Winograd's two transforms cost a number of a tile, in multiplications of its products
TILES = {"numpy": (64, 128, 256, 512, 1024), "numba": (24, 48, 96, 256)}       # of a strip: what is tried

_chooser = contextvars.ContextVar("chooser", default=None)


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
    """The ``Choice`` for a traced convolution: what was measured, if its algorithm is one of ``candidates``, else by the rules."""
    possible = candidates(operation, backend)
    wanted = (_chooser.get() or measured)(operation, backend)
    return wanted if wanted and wanted.algorithm in {one.algorithm for one in possible} else possible[0]


@contextlib.contextmanager
def by(chooser):
    """Within the block, in this thread, ``chooser(operation, backend)`` gives the ``Choice``; None leaves it to the rules."""
    token = _chooser.set(chooser)
    try:
        yield
    finally:
        _chooser.reset(token)


def candidates(operation, backend):
    """Every ``Choice`` that can compute a convolution; the rules' own comes first."""
    s, (_, o, _, _) = operation.settings, operation.shape
    choices = [by_rules(operation, backend)]
    if choices[0].algorithm == "product":
        choices.append(Choice("direct"))
    elif fits_winograd(s) and min(s["weight"].shape[1], o) >= 8:
        choices.append(Choice("direct"))
        choices += [Choice("winograd", {"tiles": min(tiles, tiles_of(operation)), "together": together})
                    for tiles in TILES[backend] for together in (True, False)]
    return [one for i, one in enumerate(choices) if one not in choices[:i]]


def measured(operation, backend):
    """The ``Choice`` that won here, on about as many pixels; None: this was not measured."""
    found = tuned.lookup(backend, key(operation), pixels(operation))
    if found is None:
        return None
    algorithm, options = found["algorithm"], {}
    if algorithm == "winograd":                             # the numbers are a file's
        options["tiles"] = max(1, min(found["options"].get("tiles", 1), max(TILES[backend]), tiles_of(operation)))
        options["together"] = bool(found["options"].get("together"))
    return Choice(algorithm, options)


def key(operation):
    """All that tells one convolution from another but the number of pixels, as a text."""
    s = operation.settings
    sides = [f"{name} {'x'.join(map(str, s[name]))}" for name in ("stride", "padding", "dilation")]
    return ", ".join(["x".join(map(str, s["weight"].shape)), *sides, f"groups {s['groups']}"])


def pixels(operation):
    """How many pixels a convolution makes."""
    n, _, h, w = operation.shape
    return n * h * w


def tiles_of(operation):
    """How many tiles of 4 x 4 pixels a convolution makes."""
    n, _, h, w = operation.shape
    return n * -(-h // 4) * -(-w // 4)


def fits_winograd(s):
    """Whether Winograd's algorithm can compute a convolution, and may."""
    settings = (s["weight"].shape[2:], s["stride"], s["dilation"], s["groups"])
    return settings == ((3, 3), (1, 1), (1, 1), 1) and os.environ.get("MINICNN_WINOGRAD") != "0"


def by_rules(operation, backend):
    """The ``Choice`` by the convolution's shape alone."""
    s, (n, o, ho, wo) = operation.settings, operation.shape
    _, c, kh, kw = s["weight"].shape
    if s["groups"] > 1:
        from minicnn.trace import Untraceable
        if not s["groups"] == o == operation.inputs[0].shape[1]:
            raise Untraceable("a grouped convolution that is not depthwise")
        return Choice("depthwise")
    if (kh, kw, s["stride"], s["padding"]) == (1, 1, (1, 1), (0, 0)):
        return Choice("product")
    if fits_winograd(s) and min(c, o) >= 16:
        tiles = tiles_of(operation)
        if 36 * tiles * c * o + PASSES * tiles * (c + o) < 9 * n * ho * wo * c * o:
            return Choice("winograd", strips(tiles, c, o, backend))
    return Choice("direct")


def strips(tiles, c, o, backend):
    """Tiles of a strip: as many as keep it in the caches; wide layers, whose filters do not fit, share one strip among the threads."""
    if backend == "numpy":
        return {"tiles": min(tiles, 256), "together": False}
    if c * o > 256 * 256:
        return {"tiles": tiles if tiles <= 256 else 96, "together": True}
    return {"tiles": min(tiles, 24), "together": False}

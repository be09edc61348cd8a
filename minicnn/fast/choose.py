"""Selects the algorithm of each convolution and linear layer: the only place that does, for plans and for calls outside of a plan.

In a plan, ``planned_convolution`` selects by rules on the shape, or by what ``minicnn tune`` measured on this machine. Outside of a plan
(training), ``unplanned_convolution`` and ``unplanned_linear`` select by rules.

MINICNN_WINOGRAD=0 in the environment turns Winograd's algorithm off, whatever was measured.
"""

import contextlib
import contextvars
from dataclasses import dataclass, field

import numpy as np

from minicnn.fast import tuned
from minicnn.fast.layouts import is_channels_last
from minicnn.fast.winograd import OUT, winograd_allowed
from minicnn.trace import Untraceable

TRANSFORMS = 400        # cost of Winograd's two transforms per number of a tile, in multiplications of its products
TILES = {"numpy": (64, 128, 256, 512, 1024), "numba": (24, 48, 96, 256)}       # in a strip: the candidates of ``minicnn tune``

# outside of a plan
UNPLANNED_TILES = {"numpy": 256, "numba": 128}      # in a strip
FILTER_TRANSFORM = 100  # cost of transforming a filter, which happens at every step of training, in tiles multiplied with it
CHANNELS = 16           # at least, so that vectors along the channels of a pixel are long enough
IMAGES = 16             # at least, so that vectors along the batch are long enough; Numba's kernels take 16 images at a time
BLAS_ROWS = 256         # from this number of rows on, a linear layer is left to BLAS
LARGE = 2**14           # numbers; below, waking a second thread costs more than it saves

_chooser = contextvars.ContextVar("chooser", default=None)


@dataclass
class Choice:
    """An algorithm and its options.

    "product": a 1 x 1 convolution as one matrix product; "direct": patches times filters; "depthwise"; "winograd": F(4 x 4, 3 x 3),
    with the options "tiles", the number of tiles in a strip, and "together", whether all threads work on the same strip.
    """

    algorithm: str
    options: dict = field(default_factory=dict)

    @property
    def takes_extra(self) -> bool:
        """Whether the step can add another map before the activation."""
        return self.algorithm in ("product", "direct")

    @property
    def pools(self) -> bool:
        """Whether the step can end in a 2 x 2 max pooling."""
        return self.algorithm == "winograd"

    def __str__(self):
        if self.algorithm != "winograd":
            return self.algorithm
        return f"winograd, {'' if self.options['together'] else '2 x '}{self.options['tiles']} tiles"


# in a plan

def planned_convolution(operation, backend):
    """The ``Choice`` for a traced convolution: what was measured, if it can compute this convolution, else the rules' choice."""
    possible = candidates(operation, backend)
    wanted = (_chooser.get() or measured)(operation, backend)
    return wanted if wanted and wanted.algorithm in {choice.algorithm for choice in possible} else possible[0]


@contextlib.contextmanager
def choosing(chooser):
    """Within the block, in this thread, ``chooser(operation, backend)`` gives the ``Choice``; None leaves it to the rules."""
    token = _chooser.set(chooser)
    try:
        yield
    finally:
        _chooser.reset(token)


def candidates(operation, backend):
    """Every ``Choice`` that can compute a traced convolution; the rules' choice comes first."""
    attributes, (_, o, _, _) = operation.attributes, operation.shape
    choices = [by_rules(operation, backend)]
    if choices[0].algorithm == "product":
        choices.append(Choice("direct"))
    elif winograd_fits(attributes) and min(attributes["weight"].shape[1], o) >= 8:
        choices.append(Choice("direct"))
        choices += [Choice("winograd", {"tiles": min(tiles, output_tiles(operation)), "together": together})
                    for tiles in TILES[backend] for together in (True, False)]
    return [choice for i, choice in enumerate(choices) if choice not in choices[:i]]


def measured(operation, backend):
    """The ``Choice`` that was fastest on this machine for about this number of pixels; None if none was measured."""
    found = tuned.lookup(backend, key(operation), output_pixels(operation))
    if found is None:
        return None
    algorithm, options = found["algorithm"], {}
    if algorithm == "winograd":                             # the numbers come from a file and may be anything
        options["tiles"] = max(1, min(found["options"].get("tiles", 1), max(TILES[backend]), output_tiles(operation)))
        options["together"] = bool(found["options"].get("together"))
    return Choice(algorithm, options)


def by_rules(operation, backend):
    """The ``Choice`` by the shape of a traced convolution alone.

    Raises:
        Untraceable: it is grouped, and not depthwise.
    """
    attributes, (_, o, _, _) = operation.attributes, operation.shape
    _, c, kh, kw = attributes["weight"].shape
    if attributes["groups"] > 1:
        if not attributes["groups"] == o == operation.inputs[0].shape[1]:
            raise Untraceable("a grouped convolution that is not depthwise")
        return Choice("depthwise")
    if (kh, kw, attributes["stride"], attributes["padding"]) == (1, 1, (1, 1), (0, 0)):
        return Choice("product")
    if winograd_fits(attributes) and min(c, o) >= 16:
        tiles = output_tiles(operation)
        if 36 * tiles * c * o + TRANSFORMS * tiles * (c + o) < 9 * output_pixels(operation) * c * o:
            return Choice("winograd", strip_options(tiles, c, o, backend))
    return Choice("direct")


def strip_options(tiles, c, o, backend):
    """Winograd's options: strips that fit in the caches; in wide layers, whose filters do not fit, all threads share one strip."""
    if backend == "numpy":
        return {"tiles": min(tiles, 256), "together": False}
    if c * o > 256 * 256:
        return {"tiles": tiles if tiles <= 256 else 96, "together": True}
    return {"tiles": min(tiles, 24), "together": False}


def key(operation):
    """A traced convolution in words, without its number of pixels: the key under which measurements are kept."""
    attributes = operation.attributes
    sides = [f"{name} {'x'.join(map(str, attributes[name]))}" for name in ("stride", "padding", "dilation")]
    return ", ".join(["x".join(map(str, attributes["weight"].shape)), *sides, f"groups {attributes['groups']}"])


def output_pixels(operation):
    """Number of pixels in a traced convolution's result, over the batch."""
    n, _, h, w = operation.shape
    return n * h * w


def output_tiles(operation):
    """Number of tiles of 4 x 4 pixels that cover a traced convolution's result."""
    n, _, h, w = operation.shape
    return n * -(-h // OUT) * -(-w // OUT)


def winograd_fits(attributes):
    """Whether Winograd's algorithm can compute a convolution, and is not turned off."""
    needed = (attributes["weight"].shape[2:], attributes["stride"], attributes["dilation"], attributes["groups"])
    return needed == ((3, 3), (1, 1), (1, 1), 1) and winograd_allowed()


# outside of a plan

def unplanned_convolution(geometry, x, weight, backend):
    """The algorithm of a convolution outside of a plan, forward and backward.

    Args:
        geometry: ``minicnn.functional.conv.Geometry`` of the call.
        x: (N, C, H, W).
        weight: (O, C, KH, KW).
        backend: "numpy" or "numba".

    Returns:
        "winograd" for 3 x 3 convolutions with many channels; "batch innermost" (Numba) for a batch of small images; "patches", with
        channels last, for most others; None for what the reference computes: float64, groups, stride together with dilation, and
        with NumPy few channels or a batch in another memory order.
    """
    if not fits(x, x.shape) or not fits(weight, weight.shape) or geometry.groups > 1:
        return None
    (n, c, _, _), stride, dilation, one = x.shape, geometry.stride, geometry.dilation, (1, 1)
    if one not in (stride, dilation) or (backend == "numpy" and c < CHANNELS):
        return None
    if unplanned_winograd(geometry, x, weight):
        return "winograd"
    if backend == "numpy":                      # the reference has the batch innermost, which is right for batches of small images
        return "patches" if n < IMAGES or is_channels_last(x) else None
    if stride == dilation == one and n >= IMAGES and (c < 8 or not is_channels_last(x)):
        return "batch innermost"
    return "patches"


def unplanned_winograd(geometry, x, weight):
    """Whether Winograd's algorithm can compute a convolution outside of a plan, and has fewer multiplications, transforms included."""
    (n, c, _, _), (_, o, ho, wo) = x.shape, geometry.y_shape
    attributes = {"weight": weight, "stride": geometry.stride, "dilation": geometry.dilation, "groups": 1}
    if not winograd_fits(attributes) or min(c, o) < CHANNELS or max(geometry.padding) > 2:
        return False
    tiles = n * -(-ho // OUT) * -(-wo // OUT)
    return (36 + TRANSFORMS / c + TRANSFORMS / o) * tiles + 36 * FILTER_TRANSFORM < 9 * n * ho * wo


def unplanned_linear(x, weight):
    """Whether Numba's kernels with the batch innermost compute a linear layer outside of a plan: a large one behind small images.

    Args:
        x: (N, I).
        weight: (O, I).
    """
    return (x.ndim == weight.ndim == 2 and IMAGES <= len(x) < BLAS_ROWS and weight.size >= LARGE and x.T.flags.c_contiguous and
            not x.flags.c_contiguous and fits(x, (len(x), weight.shape[1])) and fits(weight, weight.shape))


def fits(array, shape):
    """Whether an array is what the kernels take: float32, not empty, of that shape."""
    return array.dtype == np.float32 and array.size > 0 and array.shape == tuple(shape)

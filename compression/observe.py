"""What the layers of a network read and give on unlabelled images: that a smaller network shall give the same, it must be known.

Of a convolution's output random points of each image are kept; what runs on proposals is watched on the best of those that the network
makes of the image.
"""

import contextlib
import functools
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from minicnn.compression.channels import map_pixels
from minicnn.compression.cost_table import has_matrix
from minicnn.functional.dispatch import run
from minicnn.hooks import replace, watch
from minicnn.layers import Layer
from minicnn.progress import Progress
from minicnn.trace import Untraceable, trace

POINTS = 128                # of a layer's outputs on an image, at most: pixels of its maps
PROPOSALS = 32              # that are watched on an image, at most
KEPT = 2**29                # numbers of all layers' outputs that are kept, at most
LARGEST = np.finfo(np.float16).max


@dataclass
class Inputs:
    """Moments of what a layer reads: count, sum (C,), and a sum of products: of the channels of a convolution (C, C), of the pixels of a
    linear layer that reads flattened maps (P, P), those of all channels added."""

    count: int = 0
    sum: np.ndarray = 0
    products: np.ndarray = 0

    @property
    def by_channel(self):
        """Whether ``covariance`` is that of what ``mean`` is of."""
        return np.shape(self.products) == (len(self.sum),) * 2

    @property
    def mean(self):
        return self.sum / self.count

    def covariance(self):
        """(C, C), or (P, P)."""
        mean = self.mean.reshape(-1, len(self.products))
        return self.products / self.count - mean.T @ mean

    def add(self, rows, width):
        """Samples (S, C); width: the products are those of so many neighbours, C or P; 1: none are wanted."""
        self.count += len(rows)
        self.sum = self.sum + rows.sum(axis=0, dtype=np.float64)
        if width > 1:
            rows = rows.reshape(-1, width).astype(np.float64)
            self.products = self.products + rows.T @ rows

    def of(self, channels):
        """The same of some channels, or of the columns of some maps; the covariance of pixels stays that of all."""
        products = self.products
        if self.by_channel:
            products = products[np.ix_(channels, channels)]
        elif np.ndim(products):
            gone = np.delete(self.mean, channels).reshape(-1, len(products))
            products = products - self.count * gone.T @ gone
        return Inputs(self.count, self.sum[channels], products)


@dataclass
class Observation:
    """What a network did on images.

    images: a list; proposals: of each the best (P, 4), see ``pool_rois``;
    points: {path: for each image a list, one a call of the layer, of (rows, columns) or (rows,)}; answers: {path: for each image a
    list of (P, O)}, the layer's outputs at these points; inputs: {path: ``Inputs``}; heads: paths of what runs on proposals; rectified: of
    what nothing but a rectifier reads; order: all paths as they are called.
    """

    images: list
    proposals: list = field(default_factory=list)
    points: dict = field(default_factory=dict)
    answers: dict = field(default_factory=dict)
    inputs: dict = field(default_factory=dict)
    heads: tuple = ()
    rectified: set = field(default_factory=set)
    order: list = field(default_factory=list)

    def all_answers(self, path):
        """(S, O) of all images and calls."""
        return np.concatenate([rows for calls in self.answers[path] for rows in calls])


def observe(model, images, paths, rng):
    """Let a network look at images, and keep what some of its layers did.

    Args:
        model: a ``CompressibleDetector``.
        images: list of what ``prepare`` takes.
        paths: of convolutions and linear layers.
        rng: a Generator, for points.

    Returns:
        An ``Observation``.
    """
    outputs = sum(len(model.get_layer(path).weight) for path in paths)
    count = int(np.clip(KEPT // (outputs * max(len(images), 1)), 1, POINTS))
    pixels = map_pixels(model)
    seen = Observation(list(images), heads=tuple(path for path in paths if on_proposals(model, path)))
    for path in paths:
        seen.points[path], seen.answers[path], seen.inputs[path] = [], [], Inputs()
    maps_watch = Watch(model, [path for path in paths if path not in seen.heads], model.backbone_and_rpn)
    heads_watch = Watch(model, seen.heads, model.box_head)

    def note(watch, arrays):
        for path in watch.paths:
            seen.points[path].append([])
            seen.answers[path].append([])
        outputs = Counter()                                 # of all calls of a layer, of which each gets its share of points
        for path, y in zip(watch.called, arrays[1::2]):
            outputs[path] += y[:, 0].size
        for path, x, y in zip(watch.called, arrays[::2], arrays[1::2]):
            if path not in seen.order:
                seen.order.append(path)
            share = max(1, count * y[:, 0].size // outputs[path])
            points = draw(y, share, rng)
            seen.points[path][-1].append(points)
            seen.answers[path][-1].append(half(at(y, points)))
            seen.inputs[path].add(at(x, draw(x, share, rng)), x.shape[1] if y.ndim == 4 else pixels.get(path, 1))

    with Progress(len(images), "looking at images", "images") as bar:
        for image in images:
            batch = model.prepare(image)
            (maps, _), arrays = run(maps_watch, batch.pixels)
            note(maps_watch, arrays)
            if seen.heads:
                proposals, pooled = model.pool_rois(maps, batch)
                seen.proposals.append(proposals[:PROPOSALS])
                note(heads_watch, run(heads_watch, pooled[:PROPOSALS])[1])
            bar.update(1)
    seen.rectified = rectified(model, model.backbone_and_rpn, batch.pixels)
    if seen.heads:
        seen.rectified |= rectified(model, model.box_head, pooled)
    return seen


class Watch(Layer):
    """What some of a model's layers read and give while something goes through it, as a network, which a plan can hold.

    Args:
        model; paths: of the layers. through: what lets an input through the model, such as ``model.backbone_and_rpn``.

    Attributes:
        called: the paths in the order of the calls, of the last input of a new shape.
    """

    def __init__(self, model, paths, through):
        self.paths, self.called = paths, []
        self.watched = functools.partial(watched, model, paths, through, self.called)

    def forward(self, *inputs):
        """(what ``through`` returns, [what was read and given, call by call])."""
        return self.watched(*inputs)

    def __call__(self, *inputs):
        return run(self, *inputs)


def watched(model, paths, through, called, *inputs):
    """See ``Watch``; fills ``called``."""
    calls = []
    with watch(model, {path: functools.partial(lambda path, x, y: calls.append((path, x, y)), path) for path in paths}):
        result = through(*inputs)
    called[:] = [path for path, _, _ in calls]
    return result, [array for _, x, y in calls for array in (x, y)]


def rectified(model, through, x):
    """Paths of the layers whose answers only rectifiers read while ``x`` goes ``through`` a model; none of what cannot be traced."""
    paths = {id(layer.weight): path for path, layer in model.named_layers() if has_matrix(layer)}
    try:
        operations, _ = trace(Watch(model, (), through), [x.shape])
    except Untraceable:
        return set()
    readers = {}
    for operation in operations:
        for one in operation.inputs:
            readers.setdefault(one, set()).add(operation.kind)
    return {paths[id(one.attributes["weight"])] for one, kinds in readers.items()
            if kinds == {"relu"} and id(one.attributes.get("weight")) in paths}


def on_proposals(model, path):
    """Whether a layer runs on proposals."""
    return any(path.startswith(f"{part}.") for part in model.repeats)


def draw(y, count, rng):
    """Random points of an output (N, O, H, W) or (N, O): (numbers, rows, columns) or (numbers,), each (P,)."""
    places = rng.choice(y[:, 0].size, min(count, y[:, 0].size), replace=False)
    return np.unravel_index(places, y[:, 0].shape)


def at(y, points):
    """The values (P, O) at points."""
    return np.moveaxis(y, 1, -1)[points]


def half(x):
    """x as float16, half as large and precise to three digits."""
    return x.clip(-LARGEST, LARGEST).astype(np.float16)


class Reached(Exception):
    """The layer that is asked for was called as often as it is on an image."""


class Reader(Layer):
    """What one of a network's layers reads, as a network of its own, which a plan can hold: all that runs before that layer.

    Args:
        model: has the layer. path: of it. calls: how often it is called. through: what lets an input through the model, such as
            ``model.backbone_and_rpn``.
        start: path of a layer before it, or None. With one a second input is what that layer reads, in place of what comes from the
            first input; a plan then leaves out all that is needed for nothing.
    """

    def __init__(self, model, path, calls, through, start=None):
        self.stop = functools.partial(stopped, model, path, calls, through, start)

    def forward(self, *inputs):
        """A list, one a call."""
        return self.stop(*inputs)

    def __call__(self, *inputs):
        return run(self, *inputs)

    def starts_there(self, *shapes):
        """Whether all comes from the second input."""
        try:
            operations, _ = trace(self, shapes)
        except Untraceable:
            return False
        return not any(operations[0] in one.inputs for one in operations)


def stopped(model, path, calls, through, start, x, held=None):
    """What a layer reads, ``calls`` times, while something is let through a network that then goes no further."""
    trap = Trap(model.get_layer(path), calls)
    others = {} if start is None else {start: Start(model.get_layer(start), held)}
    with replace(model, {path: trap, **others}), contextlib.suppress(Reached):
        through(x)
    return trap.caught


class Start(Layer):
    """Stands in for a layer that is called once, and reads what it is given here instead."""

    traceable = False       # as a part, like ``Trap``

    def __init__(self, layer, held):
        self.layer, self.held = layer, held

    def __call__(self, x):
        return self.layer(self.held)


class Trap(Layer):
    """Stands in for a layer, keeps what it reads, and stops the network when it was called ``calls`` times."""

    traceable = False       # as a part; the ``Reader`` round it is traced

    def __init__(self, layer, calls):
        self.layer, self.calls, self.caught = layer, calls, []

    def __call__(self, x):
        self.caught.append(x)
        if len(self.caught) == self.calls:
            raise Reached
        return self.layer(x)

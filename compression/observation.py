"""What the layers of a network read and give on unlabelled pictures: that a smaller network shall give the same, it must be known.

Convolutions are watched on a window of each picture, half as high and wide, at a random place; what runs on proposals on some of those
that the network makes of the whole picture.
"""

import functools
from dataclasses import dataclass, field

import numpy as np

from minicnn.layers import Layer
from minicnn.probe import probed, standing_in
from minicnn.progress import Progress

POINTS = 128                # of a layer's output on a picture, at most: pixels of its maps
PROPOSALS = 48              # that are watched on a picture
TOGETHER = 8                # windows that are looked at as one batch, at most
KEPT = 2**29                # numbers of all layers' outputs that are kept, at most
LARGEST = np.finfo(np.float16).max


@dataclass
class Inputs:
    """Moments of what a layer reads, channel by channel: count, sum (C,), and of convolutions the sum of products (C, C)."""

    count: int = 0
    sum: np.ndarray = 0
    products: np.ndarray = 0

    @property
    def mean(self):
        return self.sum / self.count

    def covariance(self):
        """(C, C)."""
        return self.products / self.count - np.outer(self.mean, self.mean)

    def add(self, rows, products):
        """Samples (P, C); products: whether theirs are wanted."""
        self.count += len(rows)
        self.sum = self.sum + rows.sum(axis=0, dtype=np.float64)
        if products:
            rows = rows.astype(np.float64)
            self.products = self.products + rows.T @ rows

    def of(self, channels):
        """The same of some channels."""
        products = self.products[np.ix_(channels, channels)] if np.ndim(self.products) else self.products
        return Inputs(self.count, self.sum[channels], products)


@dataclass
class Observation:
    """What a network did on pictures.

    pictures: a list; windows: the pixels (1, 3, h, w) of one of each, see ``look``; proposals: of each (P, 4), see ``pool``;
    points: {path: for each picture a list, one a call of the layer, of (rows, columns) or (rows,)}; answers: {path: for each picture a
    list of (P, O)}, the layer's outputs at these points; inputs: {path: ``Inputs``}; heads: paths of what runs on proposals; order: all
    paths as they are called.
    """

    pictures: list
    windows: list = field(default_factory=list)
    proposals: list = field(default_factory=list)
    points: dict = field(default_factory=dict)
    answers: dict = field(default_factory=dict)
    inputs: dict = field(default_factory=dict)
    heads: tuple = ()
    order: list = field(default_factory=list)

    def all_answers(self, path):
        """(S, O) of all pictures and calls."""
        return np.concatenate([rows for calls in self.answers[path] for rows in calls])


def observe(model, pictures, paths, rng):
    """Let a network look at pictures, and keep what some of its layers did.

    Args:
        model: with ``window``, ``look``, ``pool``, ``judge`` and ``repeats``, as detectors have.
        pictures: list of what ``window`` takes.
        paths: of convolutions and linear layers.
        rng: a Generator, for windows, proposals and points.

    Returns:
        An ``Observation``.
    """
    outputs = sum(len(model.get_layer(path).weight) for path in paths)
    count = int(np.clip(KEPT // (outputs * max(len(pictures), 1)), 1, POINTS))
    seen = Observation(list(pictures), batches([model.window(picture, rng.random(2)) for picture in pictures]),
                       heads=tuple(path for path in paths if on_proposals(model, path)))
    for path in paths:
        seen.points[path], seen.answers[path], seen.inputs[path] = [], [], Inputs()

    def watched(paths, count):
        """Observers that keep so many points of each call of layers, for one thing that is let through."""
        for path in paths:
            seen.points[path].append([])
            seen.answers[path].append([])
        return probed(model, {path: functools.partial(note, path, count) for path in paths})

    def note(path, count, x, y):
        if path not in seen.order:
            seen.order.append(path)
        points = draw(y, count, rng)
        seen.points[path][-1].append(points)
        seen.answers[path][-1].append(half(at(y, points)))
        seen.inputs[path].add(at(x, draw(x, count, rng)), y.ndim == 4)

    with Progress(len(seen.windows) + bool(seen.heads) * len(pictures), "looking at pictures", "looks") as bar:
        for window in seen.windows:
            with watched([path for path in paths if path not in seen.heads], count * len(window)):
                model.look(window)
            bar.update(1)
        for picture in pictures if seen.heads else ():
            proposals, pooled = model.pool(picture)
            some = rng.choice(len(proposals), min(PROPOSALS, len(proposals)), replace=False)
            seen.proposals.append(proposals[some])
            with watched(seen.heads, count):
                model.judge(pooled[some])
            bar.update(1)
    return seen


def batches(windows):
    """Windows (1, 3, h, w) -> batches of equal sizes, at least ten if there are as many."""
    together, groups = max(1, min(len(windows) // 10, TOGETHER)), {}
    for window in windows:
        groups.setdefault(window.shape, []).append(window)
    return [np.concatenate(group[place:place + together]) for group in groups.values() for place in range(0, len(group), together)]


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
    """The layer that is asked for was called as often as it is on a picture."""


class Trap(Layer):
    """Stands in for a layer, keeps what it reads, and stops the network when it was called ``calls`` times."""

    traceable = False

    def __init__(self, layer, calls):
        self.layer, self.calls, self.caught = layer, calls, []

    def __call__(self, x):
        self.caught.append(x)
        if len(self.caught) == self.calls:
            raise Reached
        return self.layer(x)


def inputs_of(model, path, calls, let_through):
    """What a layer reads while something is let through a network: a list, one a call."""
    trap = Trap(model.get_layer(path), calls)
    with standing_in(model, {path: trap}):
        try:
            let_through()
        except Reached:
            pass
    return trap.caught

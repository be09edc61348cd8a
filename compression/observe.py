"""Step 1: inputs and outputs of a network's layers on unlabelled calibration images, which the smaller network shall reproduce.

Of a convolution's output random points of each image are kept; layers that run on proposals are observed on the best ones that the
network makes of the image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn.compression.channels import map_pixels
from minicnn.compression.cost_table import weighted_layers
from minicnn.compression.recording import Recorder, relu_followed
from minicnn.errors import InputError
from minicnn.functional.dispatch import run
from minicnn.progress import Progress

POINTS = 128                # of a layer's outputs on an image, at most: pixels of its maps
PROPOSALS = 32              # that are observed on an image, at most
KEPT = 2**29                # numbers of all layers' outputs that are kept, at most
LARGEST = np.finfo(np.float16).max


@dataclass
class InputMoments:
    """First and second moments of a layer's inputs.

    count: number of samples; sum: (C,); products: sum of products of the channels of a convolution (C, C), or of the pixels of a linear
    layer that reads flattened maps (P, P), where those of all channels are added.
    """

    count: int = 0
    sum: Any = 0                # arrays once samples are added
    products: Any = 0

    @property
    def by_channel(self) -> bool:
        """Whether ``covariance`` and ``mean`` are of the same channels."""
        return np.shape(self.products) == (len(self.sum),) * 2

    @property
    def mean(self) -> np.ndarray:
        """Mean of each channel, (C,)."""
        return self.sum / self.count

    def covariance(self) -> np.ndarray:
        """Covariance of the channels (C, C), or of the pixels (P, P)."""
        mean = self.mean.reshape(-1, len(self.products))
        return self.products / self.count - mean.T @ mean

    def add(self, rows, width):
        """Add samples (S, C). width: number of neighbouring columns whose products are summed, C or P; 1: no products are needed."""
        self.count += len(rows)
        self.sum = self.sum + rows.sum(axis=0, dtype=np.float64)
        if width > 1:
            rows = rows.reshape(-1, width).astype(np.float64)
            self.products = self.products + rows.T @ rows

    def of(self, channels):
        """The moments of some channels, or of the columns of some maps; the covariance of pixels stays that of all maps."""
        products = self.products
        if self.by_channel:
            products = products[np.ix_(channels, channels)]
        elif np.ndim(products):
            gone = np.delete(self.mean, channels).reshape(-1, len(products))
            products = products - self.count * gone.T @ gone
        return InputMoments(self.count, self.sum[channels], products)


@dataclass
class Observation:
    """Inputs and outputs of a network's layers on calibration images.

    images: list of the images; proposals: for each image the best (P, 4), see ``pool_rois``;
    points: {path: for each image a list, one entry a call of the layer, of (rows, columns) or (rows,)}; outputs: {path: for each image a
    list of (P, O)}, the layer's outputs at these points; inputs: {path: ``InputMoments``}; heads: paths of the layers that run on
    proposals; relu_followed: paths of the layers whose outputs only ReLUs read; order: all paths in the order of their calls.
    """

    images: list
    proposals: list = field(default_factory=list)
    points: dict = field(default_factory=dict)
    outputs: dict = field(default_factory=dict)
    inputs: dict = field(default_factory=dict)
    heads: tuple = ()
    relu_followed: set = field(default_factory=set)
    order: list = field(default_factory=list)

    def all_outputs(self, path: str) -> np.ndarray:
        """Outputs of a layer at the points of all images and calls, (S, O)."""
        return np.concatenate([rows for calls in self.outputs[path] for rows in calls])

    def calls(self, path: str) -> int:
        """How often a layer is called on an image."""
        return len(self.points[path][0])


def observe(model, images: Sequence[np.ndarray], rng: np.random.Generator, paths: Sequence[str] | None = None) -> Observation:
    """Run a detector on calibration images, and keep inputs and outputs of its layers.

    Args:
        model: a ``minicnn.models.protocol.CompressibleDetector``.
        images: list of images that its ``prepare`` takes.
        rng: a Generator, for points.
        paths: of convolutions and linear layers; None: all.

    Returns:
        An ``Observation``.

    Raises:
        InputError: layers that run on proposals shall be observed, and the network proposes nothing in any image.
    """
    paths = weighted_layers(model) if paths is None else paths
    outputs = sum(len(model.get_layer(path).weight) for path in paths)
    count = int(np.clip(KEPT // (outputs * max(len(images), 1)), 1, POINTS))
    observation = Observation(list(images), heads=tuple(path for path in paths if runs_on_proposals(model, path)))
    for path in paths:
        observation.points[path], observation.outputs[path], observation.inputs[path] = [], [], InputMoments()
    keep = Keeper(observation, map_pixels(model), count, rng)
    backbone = Recorder(model, [path for path in paths if path not in observation.heads], model.backbone_and_rpn)
    heads = Recorder(model, observation.heads, model.box_head)
    with Progress(len(images), "observing", "images") as bar:
        for image in images:
            batch = model.prepare(image)
            (maps, _), arrays = run(backbone, batch.pixels)
            keep(backbone, arrays)
            if observation.heads:
                proposals, pooled = model.pool_rois(maps, batch)
                observation.proposals.append(proposals[:PROPOSALS])
                keep(heads, run(heads, pooled[:PROPOSALS])[1])
            bar.update(1)
    if observation.heads and not any(map(len, observation.proposals)):
        raise InputError(f"got {len(images)} images in none of which the network proposes a box, expected some, to observe the layers that "
                         "run on them. Give images of what it detects.")
    observation.relu_followed = relu_followed(model, model.backbone_and_rpn, batch.pixels) | (
        relu_followed(model, model.box_head, pooled) if observation.heads else set())
    return observation


class Keeper:
    """Adds the inputs and outputs on an image to an ``Observation``.

    Args:
        observation: is filled. pixels: see ``channels.map_pixels``. count: points of a layer's outputs. rng: draws them.
    """

    def __init__(self, observation, pixels, count, rng):
        self.observation, self.pixels, self.count, self.rng = observation, pixels, count, rng

    def __call__(self, recorder, arrays):
        """Keep what a ``Recorder`` returned besides its result."""
        observation = self.observation
        for path in recorder.paths:
            observation.points[path].append([])
            observation.outputs[path].append([])
        outputs = Counter()                                 # of all calls of a layer, each of which gets its share of points
        for path, y in zip(recorder.called, arrays[1::2]):
            outputs[path] += y[:, 0].size
        for path, x, y in zip(recorder.called, arrays[::2], arrays[1::2]):
            if path not in observation.order:
                observation.order.append(path)
            share = max(1, self.count * y[:, 0].size // max(1, outputs[path]))        # no output: an image without proposals
            points = draw(y, share, self.rng)
            observation.points[path][-1].append(points)
            observation.outputs[path][-1].append(half(at(y, points)))
            width = x.shape[1] if y.ndim == 4 else self.pixels.get(path, 1)
            observation.inputs[path].add(at(x, draw(x, share, self.rng)), width)


def runs_on_proposals(model, path):
    """Whether a layer runs on proposals."""
    return any(path.startswith(f"{part}.") for part in model.repeats)


def draw(y, count, rng):
    """Random points of an output (N, O, H, W) or (N, O): (numbers, rows, columns) or (numbers,), each (P,)."""
    places = rng.choice(y[:, 0].size, min(count, y[:, 0].size), replace=False)
    return np.unravel_index(places, y[:, 0].shape)


def at(y, points):
    """The values (P, O) of an output (N, O, H, W) or (N, O) at points."""
    return np.moveaxis(y, 1, -1)[points]


def half(x):
    """x as float16, clipped to its range: half the memory, three digits."""
    return x.clip(-LARGEST, LARGEST).astype(np.float16)

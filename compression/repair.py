"""Repair: what was made smaller is fitted anew to what the original gave, layer by layer, without labels and without SGD.

In the order in which the layers run, each one reads what the already repaired layers before it make of the images, and is fitted by
least squares to the original's outputs at the same points (``regression``). So a layer also mends, as far as it can, what those before
it have lost. Where nothing but a rectifier reads a layer, only what the rectifier lets through counts: of VGG16's last convolution that
is one output of twenty.

Of a convolution split into three the first stays as HOSVD made it; core and last layer together are one linear map of its outputs, fitted
whole and cut to the rank again by reduced-rank regression. Of a linear layer split into two the second is fitted. A layer with more than
``WIDEST`` inputs, and a grouped convolution, get a new bias alone.

In memory are samples of one layer at a time, ``observation.POINTS`` of an image at most, what one layer reads of all images if that is
no more than ``HELD`` numbers, and, where several layers of the box head are fitted, what it reads of ``observation.PROPOSALS`` proposals
of an image.

References: see ``regression``; He, Zhang, Sun, Channel pruning for accelerating very deep neural networks (2017), section 3.1, for the
layers that read what pruning left. The order and the target, the original's outputs on the smaller network's own inputs, are those of
Zhang et al. (2016), section 3.3.
"""

import functools

import numpy as np

from minicnn.compression.observe import Reader, at, half
from minicnn.compression.regression import Samples, fit_best, reduce_rank
from minicnn.errors import InputError
from minicnn.layers import Sequential
from minicnn.progress import Progress

WIDEST = 4608               # inputs: 512 channels of 3 x 3; their covariance takes 170 MB
HELD_BACK = 5               # every fifth image chooses the ridge's strength
HELD = 2**27                # numbers of what a layer reads that are kept, at most
LEAST = 10                  # images


def repair(model, seen, kept, changed, rows=(), on_layer=None):
    """Fit the layers that surgery changed, in place.

    Others keep their weights (ours): fitted to proposals that are mostly background, the layers that score them would answer like it.

    Args:
        model: the smaller network, its paths those of the original, layers split or not.
        seen: the original's ``observation.Observation``.
        kept: {path: the output channels that pruning left}, of layers that lost some.
        changed: paths of the layers that were split, or read channels of which some went.
        rows: what was returned of the layers that are fitted already, to go on from there; with the same bytes in the end.
        on_layer: called with all rows after each layer; or None.

    Returns:
        list of {"path", "strength": the ridge's, None where the bias alone was fitted, or nothing, "before", "after": the mean square of
        what the layer's outputs lack, behind the rectifier if one follows, over their variance}, on images that were held back.

    Raises:
        InputError: fewer than ``LEAST`` images.
    """
    if len(seen.images) < LEAST:
        raise InputError(f"got {len(seen.images)} images to repair from, expected at least {LEAST}. Give more.")
    order = [path for path in seen.order if path in changed]
    heads = [path for path in order if path in seen.heads]

    def pixels(number):
        return model.prepare(seen.images[number]).pixels

    def pooled(number):
        batch = model.prepare(seen.images[number])
        return half(model.pool_rois(model.backbone_and_rpn(batch.pixels)[0], batch, seen.proposals[number])[1])

    rows = list(rows)
    done = {row["path"] for row in rows}

    def fit(paths, way):
        for path in paths:
            if path in done:
                way.to(fitted_part(model, path)[0], calls_of(seen, path))       # what it keeps for the layers behind it
            else:
                rows.append(repair_layer(model, path, seen, kept, way))
                if on_layer:
                    on_layer(rows)
            bar.update(1, path)
    with Progress(len(order), "repair", "layers") as bar:
        fit(order[:len(order) - len(heads)], Way(model, model.backbone_and_rpn, pixels, len(seen.images)))
        fit(heads, Way(model, model.box_head, functools.cache(pooled) if len(heads) > 1 else pooled))
    return rows


class Way:
    """How images get through the smaller network to one layer after another.

    What a layer reads is kept where that is little for all images; if all that a later one reads comes from it, they start there.

    Args:
        model; through: see ``observation.Reader``. given: number -> what goes in of an image, of any precision.
        count: of images, which are 0, 1, ...; None: nothing is kept.
    """

    def __init__(self, model, through, given, count=None):
        self.model, self.through, self.given, self.count, self.start, self.held = model, through, given, count, None, []

    def to(self, path, calls):
        """number -> what the layer at a path reads of an image: a list, one a call."""
        read = self.reading(path, calls)
        if self.count is None or calls > 1 or read(0)[0].size * self.count > HELD:
            return read
        held = self.held or [None] * self.count
        for number in range(self.count):
            held[number] = half(read(number)[0])
        self.start, self.held = path, held
        return lambda number: [held[number].astype(np.float32)]

    def reading(self, path, calls):
        """The same without keeping it."""
        if self.start is not None:
            reader, first = Reader(self.model, path, calls, self.through, self.start), self.given(0).astype(np.float32, copy=False)
            if reader.starts_there(first.shape, self.held[0].shape):
                return lambda number: reader(first, self.held[number].astype(np.float32))
        reader = Reader(self.model, path, calls, self.through)
        return lambda number: reader(self.given(number).astype(np.float32, copy=False))


def repair_layer(model, path, seen, kept, way):
    """Fit one layer; see ``repair``."""
    reader, layers = fitted_part(model, path)
    outputs, inputs = len(layers[-1].weight), layers[0].weight[0].size
    channels = kept.get(path, slice(None))
    bias_only = inputs > WIDEST or getattr(layers[0], "groups", 1) > 1
    learnt, held_back = sampled(path, reader, seen, channels, way, outputs if bias_only else inputs,
                                lambda x, points: at(Sequential(layers)(x), points) if bias_only else patches(layers[0], x, points))
    if bias_only:                                           # the map from what the layer gives to what it shall, and no other slope
        factors, bias, strength, before, after = fit_best(learnt, held_back, np.eye(outputs), np.zeros(outputs), strengths=(np.inf,))
    else:
        factors, bias, strength, before, after = fit_best(
            learnt, held_back, matrix(layers), vector(layers[-1]),
            lambda weight, covariance: (weight,) if len(layers) == 1 else reduce_rank(weight, covariance, len(layers[0].weight))[::-1])
    row = {"path": path, "strength": strength if np.isfinite(strength) else None, "before": before, "after": min(before, after)}
    if after >= before:                                     # nothing is better than what there is
        return {**row, "strength": None}
    if bias_only:
        bias, factors = vector(layers[-1]) + bias, ()
    for layer, factor in zip(layers, factors):
        assign(layer, weight=factor)
    assign(layers[-1], bias=bias)
    return row


def sampled(path, reader, seen, channels, way, width, taken):
    """Two ``Samples``, to learn from and to hold back: x, ``taken`` (P, width) of what the layer at the path ``reader`` reads and of
    points; y, the original's answers there. Filled in place, image by image, so that they are not in memory twice."""
    read, samples = way.to(reader, calls_of(seen, path)), []
    images = range(len(seen.images))
    for numbers in ([one for one in images if (one % HELD_BACK == HELD_BACK - 1) == back] for back in (False, True)):
        answers = [rows for one in numbers for rows in seen.answers[path][one]]
        x = np.empty((sum(map(len, answers)), width), np.float32)
        y = np.concatenate([rows[:, channels] for rows in answers], dtype=np.float32)
        end = 0
        for one in numbers:
            for maps, points in zip(read(one), seen.points[path][one]):
                start, end = end, end + len(points[0])
                x[start:end] = taken(maps, points)
        samples.append(Samples(x, y, path in seen.rectified))
    return samples


def calls_of(seen, path):
    """How often a layer is called on an image."""
    return len(seen.points[path][0])


def fitted_part(model, path):
    """(path of the first, layers) of what is fitted at a layer's path: all but the first of a Sequential that stands in its place."""
    place = model.get_layer(path)
    if isinstance(place, Sequential):
        names, layers = zip(*place.children()[1:])
        return f"{path}.{names[0]}", list(layers)
    return path, [place]


def matrix(layers):
    """The map (O, D) of one layer, or of a core and the layer behind it, float64."""
    weight = layers[0].weight.reshape(len(layers[0].weight), -1).astype(np.float64)
    for layer in layers[1:]:
        weight = layer.weight.reshape(layer.weight.shape[:2]).astype(np.float64) @ weight
    return weight


def vector(layer):
    """A layer's bias (O,), float64."""
    return np.zeros(len(layer.weight)) if layer.bias is None else layer.bias.astype(np.float64)


def assign(layer, **arrays):
    """New arrays for a layer, in its shapes and dtype; a plan may hold the old ones."""
    for name, array in arrays.items():
        shape = layer.weight.shape if name == "weight" else array.shape
        setattr(layer, name, array.reshape(shape).astype(layer.weight.dtype))


def patches(layer, x, points):
    """What a layer reads (P, D) for its outputs at points: (P, C KH KW) of a convolution, rows of a linear layer."""
    if x.ndim == 2:
        return x[points]
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    numbers, rows, columns = (place[:, None, None] for place in points)
    rows, columns = rows * sh - ph + (np.arange(kh) * dh)[:, None], columns * sw - pw + np.arange(kw) * dw
    (h, w), inside = x.shape[2:], (rows >= 0) & (rows < x.shape[2]) & (columns >= 0) & (columns < x.shape[3])
    taps = x[numbers, :, rows.clip(0, h - 1), columns.clip(0, w - 1)] * inside[..., None]                         # (P, KH, KW, C)
    return np.moveaxis(taps, -1, 1).reshape(len(numbers), -1)

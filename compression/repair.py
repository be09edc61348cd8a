"""Repair: what was made smaller is fitted anew to what the original gave, layer by layer, without labels and without SGD.

In the order in which the layers run, each one reads what the already repaired layers before it make of the pictures, and is fitted by
least squares to the original's outputs at the same points (``regression``). So a layer also mends, as far as it can, what those before
it have lost.

Of a convolution split into three the first stays as HOSVD made it; core and last layer together are one linear map of its outputs, fitted
whole and then cut to the rank again by reduced-rank regression. Of a linear layer split into two the second is fitted. A layer with more
than ``WIDEST`` inputs, and a grouped convolution, get a new bias alone.

References: see ``regression``; He, Zhang, Sun, Channel pruning for accelerating very deep neural networks (2017), section 3.1, for the
layers that read what pruning left. The order and the target, the original's outputs on the smaller network's own inputs, are those of
Zhang et al. (2016), section 3.3, there with the nonlinearity, here before it (ours: it makes each fit a linear one).
"""

import functools

import numpy as np

from minicnn.compression.observation import at, half, inputs_of
from minicnn.compression.regression import STRENGTHS, Moments, fit, fit_best, reduce_rank
from minicnn.errors import InputError
from minicnn.layers import Sequential
from minicnn.progress import Progress

WIDEST = 4608               # inputs: 512 channels of 3 x 3; moments of so many take 170 MB
HELD_BACK = 5               # every fifth batch of pictures chooses the ridge's strength
LEAST = 10                  # pictures


def repair(model, seen, kept, changed):
    """Fit the layers that surgery changed, in place.

    Others keep their weights (ours): fitted to proposals that are mostly background, the layers that score them would answer like it.

    Args:
        model: the smaller network, its paths those of the original, layers split or not.
        seen: the original's ``observation.Observation``.
        kept: {path: the output channels that pruning left}, of layers that lost some.
        changed: paths of the layers that were split, or read channels of which some went.

    Returns:
        list of {"path", "strength": the ridge's, None where the bias alone was fitted, or nothing, "before", "after": the mean square of
        what the layer's outputs lack, over their variance}, on the pictures that were held back, of which the layer has learnt in the
        end, too.

    Raises:
        InputError: fewer than ``LEAST`` pictures.
    """
    if len(seen.pictures) < LEAST:
        raise InputError(f"got {len(seen.pictures)} pictures to repair from, expected at least {LEAST}. Give more.")
    order = [path for path in seen.order if path in changed]
    total = sum(len(seen.points[path]) for path in order) + len(seen.proposals)
    with Progress(total, "repair", "looks") as bar:
        fitted = [repair_layer(model, path, seen, kept, lambda number: model.look(seen.windows[number]), bar)
                  for path in order if path not in seen.heads]
        pooled = []
        for picture, proposals in zip(seen.pictures, seen.proposals):
            pooled.append(half(model.pool(picture, proposals)[1]))
            bar.update(1, "pooling")
        fitted += [repair_layer(model, path, seen, kept, lambda number: model.judge(pooled[number].astype(np.float32)), bar)
                   for path in order if path in seen.heads]
    return fitted


def repair_layer(model, path, seen, kept, let_through, bar):
    """Fit one layer; ``let_through(number)`` lets a batch, or proposals, through the network. See ``repair``."""
    place = model.get_layer(path)
    head, layers = parts(place)
    outputs, inputs = len(layers[-1].weight), layers[0].weight[0].size
    channels = kept.get(path, slice(None))
    bias_only = inputs > WIDEST or getattr(layers[0], "groups", 1) > 1
    learnt, held_back = (Moments(outputs if bias_only else inputs, outputs) for _ in range(2))
    for number, (places, answers) in enumerate(zip(seen.points[path], seen.answers[path])):
        sums = held_back if number % HELD_BACK == HELD_BACK - 1 else learnt
        caught = inputs_of(model, path, len(places), functools.partial(let_through, number))
        for x, points, y in zip(caught, places, answers):
            sums.add(at(place(x), points) if bias_only else patches(layers[0], x if head is None else head(x), points),
                     y[:, channels])
        bar.update(1, path)
    weight, bias, strengths = matrix(layers), vector(layers[-1]), STRENGTHS
    if bias_only:                                           # the map from what the layer gives to what it shall, and no other slope
        weight, bias, strengths, layers = np.eye(outputs), np.zeros(outputs), (np.inf,), layers[-1:]
    before, energy = held_back.error(weight, bias), held_back.variance() or 1.0
    *new, strength = fit_best(learnt, held_back, weight, strengths, lambda weight, bias: cut(weight, bias, learnt, layers)[:2])
    after = held_back.error(*new)
    if after >= before:                                     # nothing is better than what there is
        return {"path": path, "strength": None, "before": float(before / energy), "after": float(before / energy)}
    learnt.merge(held_back)
    _, bias, factors = cut(*fit(learnt, weight, strength), learnt, layers)
    if bias_only:
        bias, factors = vector(layers[-1]) + bias, ()
    for layer, factor in zip(layers, factors):
        assign(layer, weight=factor)
    assign(layers[-1], bias=bias)
    return {"path": path, "strength": strength if np.isfinite(strength) else None, "before": float(before / energy),
            "after": float(after / energy)}


def parts(place):
    """(the layer that stays, or None; the layers that are fitted) of what stands in a layer's place."""
    if isinstance(place, Sequential):
        head, *layers = (layer for _, layer in place.children())
        return head, layers
    return None, [place]


def matrix(layers):
    """The map (O, D) of one layer, or of a core and the layer behind it, float64."""
    weight = layers[0].weight.reshape(len(layers[0].weight), -1).astype(np.float64)
    for layer in layers[1:]:
        weight = layer.weight.reshape(layer.weight.shape[:2]).astype(np.float64) @ weight
    return weight


def vector(layer):
    """A layer's bias (O,), float64."""
    return np.zeros(len(layer.weight)) if layer.bias is None else layer.bias.astype(np.float64)


def cut(weight, bias, moments, layers):
    """A fitted map as these layers can have it: weight, bias, and the factors, first layer first."""
    if len(layers) == 1:
        return weight, bias, [weight]
    out, inner = reduce_rank(weight, moments.covariance(), len(layers[0].weight))
    mean_x, mean_y = moments.x / moments.count, moments.y / moments.count
    return out @ inner, mean_y - out @ (inner @ mean_x), [inner, out]


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
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    taps = padded[numbers, :, rows * sh + (np.arange(kh) * dh)[:, None], columns * sw + np.arange(kw) * dw]      # (P, KH, KW, C)
    return np.moveaxis(taps, -1, 1).reshape(len(numbers), -1)

"""Step after repair: round a network's weights as an int8 file holds them, and fold the mean error into the biases.

A layer computes W x + b, and from an int8 file Q x + b. The mean of the error over images, (W - Q) mean(x) with the taps of a kernel
summed, is added to b. The means are those of what the smaller network itself reads. For a convolution with padding it is inexact at the
borders, where part of the patch is zeros and not its mean. Layers that were decomposed pass the error on to their last one: only that has
a bias. Where a norm follows in place of a bias, its running mean moves by the same.

Reference: Nagel, van Baalen, Blankevoort, Welling, Data-free quantization through weight equalization and bias correction (2019), section
4.2; differs: the means are taken over images.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from minicnn import int8
from minicnn.compression.cost_table import has_weight_matrix, weighted_layers
from minicnn.compression.observe import PROPOSALS, InputMoments, runs_on_proposals
from minicnn.compression.recording import Function, Recorder
from minicnn.errors import InputError
from minicnn.functional.dispatch import run
from minicnn.hooks import watch
from minicnn.layers import Sequential
from minicnn.progress import shown
from minicnn.trace import Untraceable, trace

ROUNDED = ("float32", "int8")       # dtypes of a compressed network's file
IMAGES = 32                 # of a detector, over which means are taken
BATCH = 100                 # images of a classifier at a time


def check_dtype(dtype):
    """Raise InputError unless a compressed network can be made for files of this dtype."""
    if dtype not in ROUNDED:
        raise InputError(f"got dtype {dtype!r}, expected one of {', '.join(ROUNDED)}. Choose one of them.")


def round_weights(model, images: Sequence[np.ndarray] | np.ndarray = ()) -> None:
    """Give a network the weights that ``minicnn.save(path, model, dtype="int8")`` writes, and biases that fit them, in place.

    Arrays are replaced, not written into.

    Args:
        model: a ``minicnn.models.protocol.Compressible``; of a detector the methods of ``CompressibleDetector`` are used, too.
        images: (N, C, H, W) for a classifier, a list that ``prepare`` takes for a detector; none: the biases stay.

    Raises:
        InputError: a weight is not finite, or beyond the range of int8 files.
    """
    means = input_means(model, images) if len(images) else {}
    norms = norms_behind(model) if means else {}
    for paths in linear_parts(model):
        layers, mean = [model.get_layer(path) for path in paths], means.get(paths[0])
        expected = None if mean is None else mean_output(layers, mean)
        for path, layer in zip(paths, layers):
            layer.weight = int8.decode(*int8.encode(f"{path}.weight", layer.weight))
        if expected is None:
            continue
        error, norm = expected - mean_output(layers, mean), norms.get(paths[-1])
        if layers[-1].bias is not None:
            layers[-1].bias = (layers[-1].bias + error).astype(np.float32)
        elif norm is not None:
            norm.running_mean = (norm.running_mean - error).astype(np.float32)


def input_means(model, images):
    """{path: mean of each input channel (C,), float64} of the convolutions and linear layers that run."""
    moments = {path: InputMoments() for path in weighted_layers(model)}

    def add(path, x, y):
        axes = (0, *range(2, x.ndim))
        moments[path].count += x[:, 0].size
        moments[path].sum = moments[path].sum + x.sum(axis=axes, dtype=np.float64)

    if hasattr(model, "backbone_and_rpn"):
        read_detector(model, images[:IMAGES], add)
    else:
        with watch(model, {path: functools.partial(add, path) for path in moments}):
            for start in range(0, len(images), BATCH):
                model(images[start:start + BATCH])
    return {path: found.mean for path, found in moments.items() if found.count}


def read_detector(model, images, add):
    """Call ``add(path, input, output)`` for each call of a layer, those on proposals with the best ones; see ``observe.observe``."""
    heads = [path for path in weighted_layers(model) if runs_on_proposals(model, path)]
    parts = (Recorder(model, [path for path in weighted_layers(model) if path not in heads], model.backbone_and_rpn),
             Recorder(model, heads, model.box_head))
    for image in shown(images, "rounding", "images"):
        batch = model.prepare(image)
        (maps, _), arrays = run(parts[0], batch.pixels)
        calls = [(parts[0].called, arrays)]
        pooled = model.pool_rois(maps, batch)[1][:PROPOSALS]
        if len(pooled):
            calls.append((parts[1].called, run(parts[1], pooled)[1]))
        for called, found in calls:
            for path, x, y in zip(called, found[::2], found[1::2]):
                add(path, x, y)


def linear_parts(model):
    """Paths of the convolutions and linear layers, in lists: those of a decomposed one, with nothing between them, are in one list."""
    found, done = [], set()
    for path, layer in model.named_layers():
        leaves = [(name, leaf) for name, leaf in layer.named_layers(path) if not leaf.children()]
        alone = isinstance(layer, Sequential) or not layer.children()
        if path not in done and leaves and alone and all(has_weight_matrix(leaf) for _, leaf in leaves):
            found.append([name for name, _ in leaves])
            done.update(name for name, _ in layer.named_layers(path))
    return found


def mean_output(layers, mean):
    """What layers one behind the other make of an input's mean (C,), without their biases: (O,) float64."""
    for layer in layers:
        weight = layer.weight.reshape(*layer.weight.shape[:2], -1).sum(axis=2, dtype=np.float64)
        blocks = mean.reshape(-1, weight.shape[1])              # (groups, C / groups), or those of a BlockLinear; else one
        if layer.kind == "BlockLinear":
            mean = (blocks @ weight.T).ravel()
        else:
            mean = np.einsum("goi,gi->go", weight.reshape(len(blocks), -1, weight.shape[1]), blocks).ravel()
    return mean


def norms_behind(model):
    """{path: norm} of the layers that read the images and whose output a norm alone reads; empty if that cannot be traced."""
    detects = hasattr(model, "backbone_and_rpn")
    through, shape = (model.backbone_and_rpn, model.batch_shape(model.input_shape)) if detects else (model.forward, model.input_shape)
    try:
        operations, _ = trace(Function(through), [(1, *shape)])
    except Untraceable:
        return {}
    paths = {id(layer.weight): path for path, layer in model.named_layers() if has_weight_matrix(layer)}
    norms = {id(layer.running_mean): layer for _, layer in model.named_layers() if hasattr(layer, "running_mean")}
    readers = {}
    for operation in operations:
        for read in operation.inputs:
            readers.setdefault(read, []).append(operation)
    return {paths[id(read.attributes["weight"])]: norms[id(found[0].attributes["mean"])] for read, found in readers.items()
            if len(found) == 1 and found[0].kind == "batch_norm" and id(read.attributes.get("weight")) in paths}

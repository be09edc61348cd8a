"""Step 3: fit the smaller network to the original's outputs, layer by layer, without labels and without SGD.

In the order in which the layers run, each one reads what the already repaired layers before it make of the images, and is fitted by
least squares to the original's outputs at the same points (``regression``). So a layer also corrects, as far as it can, what those before
it have lost. If only ReLUs read a layer, only what they let through counts: of VGG16's last convolution that is one output of twenty.

Of a convolution decomposed into three layers core and last layer together are one linear map of the first one's outputs, fitted whole and
reduced to the rank again by reduced-rank regression; of a linear layer or 1 x 1 convolution decomposed into two the second is fitted.
The first layer, which HOSVD or SVD made, is fitted given the others, before and after these (``first_factor``), where the error on
held-back images falls. With more than ``WIDEST`` inputs of the layer before its decomposition the first stays; a layer with
more than ``WIDEST`` inputs, and a grouped convolution, get a new bias only.

In memory are samples of one layer at a time, ``observe.POINTS`` of an image at most, what one layer reads of all images if that is
no more than ``HELD`` numbers, and, where several layers of the box head are fitted, what it reads of ``observe.PROPOSALS`` proposals
of an image.

References: see ``regression``; He, Zhang, Sun, Channel pruning for accelerating very deep neural networks (2017), section 3.1, for the
consumers of pruned layers. The order and the target, the original's outputs on the smaller network's own inputs, are those of
Zhang et al. (2016), section 3.3.
"""

import functools

import numpy as np

from minicnn.compression.channels import left_channels
from minicnn.compression.first_factor import Chain, Patches, fit_chain
from minicnn.compression.observe import at, half
from minicnn.compression.recording import LayerInputs
from minicnn.compression.regression import Samples, fit_best, reduce_rank
from minicnn.errors import InputError
from minicnn.layers import Sequential
from minicnn.progress import Progress

WIDEST = 4608               # inputs: 512 channels of 3 x 3; their covariance takes 170 MB
HELD_BACK = 5               # every fifth image chooses the ridge's strength
HELD = 2**27                # numbers of what a layer reads that are kept, at most
LEAST = 10                  # images


def repair(model, original, observation, surgery, rows=(), on_layer=None, refit_first=True) -> list[dict]:
    """Fit the layers that were decomposed or read pruned channels, squeeze-and-excitation's own too, in place.

    Other layers keep their weights (ours): fitted to proposals that are mostly background, the layers that score them would favour it.

    Args:
        model: the smaller network, its paths those of the original, layers decomposed or not.
        original: the network before. observation: its ``observe.Observation``.
        surgery: {"removed": {path: indices of removed filters}, "split": {path: ranks}}, see ``reports.cut_record``.
        rows: what was returned for the layers that are fitted already, to resume from there; the final result has the same bytes.
        on_layer: called with all rows after each layer; or None.
        refit_first: fit the first of the layers of a decomposed one, too.

    Returns:
        list of {"path", "strength": the ridge's, None where only the bias was fitted, or nothing, "first_strength": the same of the first
        of a decomposed layer's layers, None where it stays, "before", "after": the mean squared error of the layer's outputs, behind the
        ReLU if one follows, over their variance}, on images that were held back.

    Raises:
        InputError: fewer than ``LEAST`` images, or fewer than ``HELD_BACK`` in which the original proposes boxes.
    """
    check_images(observation)
    kept, readers = after_pruning(original, surgery["removed"])
    order = [path for path in observation.order if path in readers or path in surgery["split"]]
    heads = [path for path in order if path in observation.heads]
    rows = list(rows)
    with Progress(len(order), "repair", "layers") as bar:
        for paths, inputs in ((order[:len(order) - len(heads)], backbone_inputs(model, observation)),
                              (heads, head_inputs(model, observation, len(heads) > 1))):
            for path in paths:
                first, second = (fitted_part(model, path, refit)[0] for refit in (refit_first, False))
                done = any(row["path"] == path for row in rows)
                if not done:
                    rows.append(repair_layer(model, path, observation, kept, inputs, refit_first))
                    if on_layer:
                        on_layer(rows)
                if path != paths[-1] and (done or first != second):
                    inputs.of(second, observation.calls(path))          # kept for the layers behind this one
                bar.update(1, path)
    return rows


def check_images(observation):
    """Raise InputError unless there are enough images to fit layers on some, and to compare strengths on others."""
    count, proposing = len(observation.images), sum(len(boxes) > 0 for boxes in observation.proposals)
    if count < LEAST:
        raise InputError(f"got {count} images to repair from, expected at least {LEAST}. Give more.")
    if observation.heads and proposing < HELD_BACK:
        raise InputError(f"got boxes proposed in {proposing} of {count} images to repair from, expected them in at least {HELD_BACK}. "
                         "Give images of what the network detects.")


def after_pruning(original, removed):
    """Of all layers together, what ``left_channels`` tells of a group; removed: {producer: indices of removed filters}."""
    outputs, inputs = {}, {}
    for group in original.channel_groups():
        gone = removed.get(group.producers[0])
        if gone is not None:
            channels = len(original.get_layer(group.producers[0]).weight)
            for found, left in zip((outputs, inputs), left_channels(original, group, np.delete(np.arange(channels), gone))):
                found.update(left)
    return outputs, inputs


def backbone_inputs(model, observation):
    """``InputReader`` of the layers that run on the images."""
    return InputReader(model, model.backbone_and_rpn, lambda number: model.prepare(observation.images[number]).pixels,
                       len(observation.images))


def head_inputs(model, observation, several):
    """``InputReader`` of the layers that run on proposals. several: whether more than one will be fitted, so that pooled maps are kept."""
    def pooled(number):
        batch = model.prepare(observation.images[number])
        maps, _ = model.backbone_and_rpn(batch.pixels)
        return half(model.pool_rois(maps, batch, observation.proposals[number])[1])
    return InputReader(model, model.box_head, functools.cache(pooled) if several else pooled)


class InputReader:
    """Reads what one layer after another of the smaller network reads of the images.

    What a layer reads is kept if that is little for all images; if all that a later layer reads comes from it, the network starts there.

    Args:
        model; through: see ``recording.LayerInputs``. given: number of an image -> the input of ``through``, of any precision.
        count: number of images; None: nothing is kept.
    """

    def __init__(self, model, through, given, count=None):
        self.model, self.through, self.given, self.count, self.start, self.held = model, through, given, count, None, []

    def of(self, path, calls):
        """Function: number of an image -> the inputs of the layer at a path, a list with an entry of each call."""
        read = self.computed(path, calls)
        if self.count is None or calls > 1 or read(0)[0].size * self.count > HELD:
            return read
        held = self.held or [None] * self.count
        for number in range(self.count):
            held[number] = half(read(number)[0])
        self.start, self.held = path, held
        return lambda number: [held[number].astype(np.float32)]

    def computed(self, path, calls):
        """The same function, keeping nothing."""
        if self.start is not None:
            inputs = LayerInputs(self.model, path, calls, self.through, self.start)
            first = self.given(0).astype(np.float32, copy=False)
            if inputs.needs_start_only(first.shape, self.held[0].shape):
                return lambda number: inputs(first, self.held[number].astype(np.float32))
        inputs = LayerInputs(self.model, path, calls, self.through)
        return lambda number: inputs(self.given(number).astype(np.float32, copy=False))


def repair_layer(model, path, observation, kept, inputs, refit_first):
    """Fit one layer; see ``repair``. inputs: an ``InputReader``."""
    first, layers = fitted_part(model, path, refit_first)
    channels, calls = kept.get(path, slice(None)), observation.calls(path)
    if first != fitted_part(model, path, False)[0]:
        read = inputs.computed(first, calls)                # not kept: what the second layer reads is narrower
        return {"path": path, **repair_chain(layers, *samples_of_chain(path, layers, read, observation, channels))}
    outputs, width = len(layers[-1].weight), layers[0].weight[0].size
    bias_only = width > WIDEST or getattr(layers[0], "groups", 1) > 1
    learnt, held_back = (Samples(x, y, path in observation.relu_followed) for x, y in sampled(
        path, inputs.of(first, calls), observation, channels, outputs if bias_only else width, np.float32,
        lambda x, points: at(Sequential(layers)(x), points) if bias_only else patches(layers[0], x, points)))
    if bias_only:                                           # regress the original's outputs on the layer's own, with a slope of 1
        factors, bias, strength, before, after = fit_best(learnt, held_back, np.eye(outputs), np.zeros(outputs), strengths=(np.inf,))
    else:
        factors, bias, strength, before, after = fit_best(
            learnt, held_back, joint_weight(layers), float_bias(layers[-1]),
            lambda weight, covariance: (weight,) if len(layers) == 1 else reduce_rank(weight, covariance, len(layers[0].weight))[::-1])
    row = {"path": path, "strength": finite(strength), "first_strength": None, "before": before, "after": min(before, after)}
    if after >= before:                                     # nothing is better than the present weights
        return {**row, "strength": None}
    if bias_only:
        bias, factors = float_bias(layers[-1]) + bias, ()
    for layer, factor in zip(layers, factors):
        assign(layer, weight=factor)
    assign(layers[-1], bias=bias)
    return row


def samples_of_chain(path, layers, read, observation, channels):
    """Two ``first_factor.Patches`` of a decomposed layer; layers: what it became; the others: see ``sampled``."""
    return [Patches(x, y, path in observation.relu_followed) for x, y in sampled(
        path, read, observation, channels, patch_width(layers), np.float16,
        lambda x, points: half(patches(layers[len(layers) == 3], x, points)))]              # of three layers the second has the kernel


def repair_chain(layers, learnt, held_back):
    """Fit all layers that one was decomposed into; see ``first_factor.fit_chain``. Returns the row of ``repair``, without the path."""
    first, *core, last = (layer.weight.astype(np.float64) for layer in layers)
    core = core[0].reshape(*core[0].shape[:2], -1) if core else None
    chain = Chain(first.reshape(first.shape[:2]), core, last.reshape(last.shape[:2]), float_bias(layers[-1]))
    chain, strength, first_strength, before, after = fit_chain(chain, learnt, held_back)
    if after < before:
        for layer, factor in zip(layers, (factor for factor in chain[:3] if factor is not None)):
            assign(layer, weight=factor)
        assign(layers[-1], bias=chain.bias)
    return {"strength": finite(strength), "first_strength": finite(first_strength), "before": before, "after": after}


def finite(strength):
    """A ridge's strength as JSON has it: None if it is infinite."""
    return strength if np.isfinite(strength) else None


def sampled(path, read, observation, channels, width, dtype, features):
    """Samples to learn from and to hold back, filled in place, image by image, so that they are not in memory twice.

    Args:
        path: of the layer, whose original outputs are y. read: see ``InputReader.of``. channels: the outputs that are left.
        features: (what was read, points) -> x (P, width) of this dtype.

    Yields:
        x: (S, width); y: (S, O) float32; twice.
    """
    images = [number for number, calls in enumerate(observation.outputs[path]) if any(map(len, calls))]      # not those without proposals
    held_back = images[HELD_BACK - 1::HELD_BACK]
    for numbers in (np.setdiff1d(images, held_back).tolist(), held_back):
        outputs = [rows for number in numbers for rows in observation.outputs[path][number]]
        x = np.empty((sum(map(len, outputs)), width), dtype)
        y = np.concatenate([rows[:, channels] for rows in outputs], dtype=np.float32)
        end = 0
        for number in numbers:
            for maps, points in zip(read(number), observation.points[path][number]):
                start, end = end, end + len(points[0])
                x[start:end] = features(maps, points)
        yield x, y


def fitted_part(model, path, refit_first):
    """(path of the first, layers) of what is fitted at a layer's path: all layers of a Sequential in its place, or all but the first."""
    place = model.get_layer(path)
    if not isinstance(place, Sequential):
        return path, [place]
    names, layers = zip(*place.children())
    start = 0 if refit_first and has_first_factor(layers) else 1
    return f"{path}.{names[start]}", list(layers[start:])


def has_first_factor(layers):
    """Whether layers are those of ``tucker.three_layers`` or ``svd.two_layers``, and the first is not too wide to be fitted."""
    outer = layers if len(layers) == 2 else layers[::2]
    return (len(layers) in (2, 3) and all(layer.kind in ("Conv2d", "Linear") and layer.weight[0, 0].size == 1 for layer in outer)
            and patch_width(layers) <= WIDEST)


def patch_width(layers):
    """I T: the inputs of a layer before it became two or three."""
    return layers[0].weight.shape[1] * (layers[1].weight[0, 0].size if len(layers) == 3 else 1)


def joint_weight(layers):
    """The linear map (O, D) of one layer, or of a core and the layer behind it, float64."""
    weight = layers[0].weight.reshape(len(layers[0].weight), -1).astype(np.float64)
    for layer in layers[1:]:
        weight = layer.weight.reshape(layer.weight.shape[:2]).astype(np.float64) @ weight
    return weight


def float_bias(layer):
    """A layer's bias (O,), float64; zeros if it has none."""
    return np.zeros(len(layer.weight)) if layer.bias is None else layer.bias.astype(np.float64)


def assign(layer, **arrays):
    """Give a layer new arrays, in its shapes and dtype; a plan may hold the old ones."""
    for name, array in arrays.items():
        shape = layer.weight.shape if name == "weight" else array.shape
        setattr(layer, name, array.reshape(shape).astype(layer.weight.dtype))


def patches(layer, x, points):
    """What a layer reads (P, D) for its outputs at points: (P, C KH KW) for a convolution, rows for a linear layer."""
    if x.ndim == 2:
        return x[points]
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    numbers, rows, columns = (place[:, None, None] for place in points)
    rows, columns = rows * sh - ph + (np.arange(kh) * dh)[:, None], columns * sw - pw + np.arange(kw) * dw
    (h, w), inside = x.shape[2:], (rows >= 0) & (rows < x.shape[2]) & (columns >= 0) & (columns < x.shape[3])
    taps = x[numbers, :, rows.clip(0, h - 1), columns.clip(0, w - 1)] * inside[..., None]                         # (P, KH, KW, C)
    return np.moveaxis(taps, -1, 1).reshape(len(numbers), -1)

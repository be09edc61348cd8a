"""Detectors with random weights that behave like trained ones: activations near 1 all the way, dozens of boxes at the end.

In a network drawn at random the signal vanishes or explodes within twenty layers, and the heads' outputs are the same everywhere. So a
real image runs through it once, and layer by layer the norms take their statistics from it, and the other layers are scaled.
"""

import numpy as np

import minicnn
from minicnn.functional.dispatch import use
from minicnn.hooks import replace
from minicnn.layers import Conv2d, Layer, Linear, Norm2d

STDS = {"rpn.head.cls_logits": 1, "rpn.head.bbox_pred": 0.25, "roi_heads.box_predictor.cls_score": 2,
        "roi_heads.box_predictor.bbox_pred": 1}             # of a layer's outputs; 1 for all others
BOXES = 30                                                  # the least number of detections in the image


def sane_detector(architecture, image, seed=0, recorded=None, **arguments):
    """A detector of ours with activations near 1, the same on every backend.

    Args:
        architecture: its name.
        image: (3, H, W) float32 in [0, 1], to take the statistics from.
        seed: of the weights.
        recorded: ``vectors`` of the detector as recorded. Those of the box head depend on which proposals are kept, which the last digit
            of a product may change. None computes them.
        arguments: the builder's.
    """
    rng = np.random.default_rng(seed)
    model = minicnn.build(architecture, rng=rng, **arguments)
    for _, layer in model.named_layers():
        if isinstance(layer, Norm2d):
            layer.weight[...] = rng.uniform(0.3, 0.9, layer.num_features)
            layer.bias[...] = rng.normal(1.0, 0.3, layer.num_features)
    tuned = {path: Tuned(layer, STDS.get(path, 1)) for path, layer in model.named_layers() if isinstance(layer, (Conv2d, Linear, Norm2d))}
    with use("reference"), replace(model, tuned):
        batch = model.transform([image])
        maps = model.backbone(batch.pixels)
        proposals = model.rpn(maps, batch)
        features = model.roi_heads.box_head(model.roi_heads.box_roi_pool(maps[:model.pooled_maps], proposals, batch.sizes))
        logits, deltas = model.roi_heads.box_predictor(features)
    if recorded is None:
        tune_background(model, logits, deltas, proposals[0], batch.sizes[0])
    else:
        model.load_arrays(recorded, strict=False)
    return model


def vectors(model):
    """{path: array}: the biases and statistics of the box head."""
    return {path: array for path, array in model.named_arrays() if path.startswith("roi_heads.") and array.ndim == 1}


def tune_background(model, logits, deltas, proposals, size):
    """Lower the background's bias from where nothing is detected until ``BOXES`` boxes are."""
    heads = model.roi_heads
    bias, enough = heads.box_predictor.cls_score.bias, min(BOXES, heads.detections_per_img)
    for extra in np.arange(30, -10, -0.25, dtype=np.float32):
        changed = logits + np.eye(1, logits.shape[1], dtype=np.float32) * extra
        if len(heads.select(changed, deltas, proposals, size)[0]) >= enough:
            break
    bias[0] += extra


class Tuned(Layer):
    """Replaces a layer, and at its first call tunes it to that input."""

    def __init__(self, layer, std):
        self.layer, self.std, self.tuned = layer, std, False

    def __call__(self, x):
        if not self.tuned and x.size:
            self.tuned = True
            if isinstance(self.layer, Norm2d):
                self.layer.running_mean[...] = x.mean(axis=(0, 2, 3))
                self.layer.running_var[...] = x.var(axis=(0, 2, 3)) + 1e-3
            else:
                self.scale(self.layer(x))
        return self.layer(x)

    def scale(self, y):
        """Scale by a power of two so that the standard deviation is near ``std``; set the bias, if any, so that the mean is 0."""
        one_value = y[:, 0].size == 1                       # squeeze-and-excitation: a single channel has no statistics
        axes = None if one_value else (0, *range(2, y.ndim))
        std = y.std(axis=axes).mean()
        factor = 2.0 ** np.round(np.log2(self.std / std))
        self.layer.weight *= np.float32(factor)
        if self.layer.bias is not None:
            self.layer.bias[...] = (self.layer.bias - y.mean(axis=axes)) * factor

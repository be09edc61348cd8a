"""The cost table of a network: parameters, multiply-adds (MACs) and bytes, layer by layer."""

import math
from collections.abc import Sequence

import numpy as np

from minicnn.functional import dispatch
from minicnn.hooks import watch
from minicnn.layers import Layer
from minicnn.models.protocol import Compressible
from minicnn.trace import Untraceable, symbol


def cost_table(model: Layer | Compressible, input_shape: Sequence[int]) -> dict:
    """Count parameters, multiply-adds and bytes of every layer that has a weight matrix.

    Args:
        model: the network. Its attribute ``repeats``, if it has one, names the parts that run several times on one image:
            {path: number of runs}, such as a box head that runs on every proposal.
        input_shape: (C, H, W) of one image; the number of multiply-adds depends on it.

    Returns:
        {"layers": [{"path", "kind", "weight": shape, "inputs": [shape of the input for one image, of each call], "output": shape of the
        output for one image, "parameters", "macs", "bytes"}],
        "parameters", "convolution_parameters", "linear_parameters", "macs", "bytes"}. Bytes are those of all arrays, buffers
        included, as float32, uncompressed. MACs are multiply-adds for one image with the largest number of proposals; biases,
        activations and pooling are not counted.

    >>> import numpy as np, minicnn
    >>> model = minicnn.build("lenet5", rng=np.random.default_rng(0))
    >>> table = cost_table(model, model.input_shape)
    >>> table["parameters"], table["macs"], table["layers"][0]["path"]
    (61706, 416520, 'conv1')
    """
    rows = layer_costs(model, input_shape)
    return {
        "layers": rows,
        "parameters": total_size(model, "parameters"),
        "convolution_parameters": sum(row["parameters"] for row in rows if len(row["weight"]) == 4),
        "linear_parameters": sum(row["parameters"] for row in rows if len(row["weight"]) == 2),
        "macs": sum(row["macs"] for row in rows),
        "bytes": total_size(model, "bytes"),
    }


def layer_costs(model, input_shape):
    """The "layers" of ``cost_table``: the model runs once on symbols, or on an image of zeros if it computes what symbols cannot."""
    rows = {}

    def observe(path):
        layer = model.get_layer(path)
        parameters = sum(array.size for _, array in layer.named_parameters())
        weight = layer.weight.shape

        def count(x, y):
            macs = runs_per_image(model, path) * math.prod(weight[1:]) * math.prod(y.shape[1:])
            row = rows.setdefault(path, {"path": path, "kind": layer.kind, "weight": list(weight), "inputs": [],
                                         "output": list(y.shape[1:]), "parameters": parameters, "macs": 0, "bytes": 4 * parameters})
            row["inputs"].append(list(x.shape[1:]))                    # a layer may be called several times
            row["macs"] += macs
        return count

    with watch(model, {path: observe(path) for path in weighted_layers(model)}):
        try:
            run_on_symbols(model, input_shape)
        except (Untraceable, ValueError, TypeError, AttributeError):
            rows.clear()
            # Only shapes count. For rows of 5 numbers OpenBLAS's sgemv for AVX-512 reads uninitialised memory, of which NumPy may warn.
            with np.errstate(invalid="ignore"):
                model(np.zeros((1, *input_shape), np.float32))
    return list(rows.values())


def run_on_symbols(model, input_shape):
    """Run a model for its layers' shapes; of a detector, whose proposals are made of values, one part after the other."""
    with dispatch.override("trace"):
        if hasattr(model, "pooled_shape"):
            maps, _ = model.backbone_and_rpn(symbol((1, *model.batch_shape(input_shape))))
            model.box_head(symbol((1, *model.pooled_shape(maps))))
        else:
            model.forward(symbol((1, *input_shape)))


def total_size(model, kind):
    """The number of "parameters", or the "bytes" of all arrays as float32, without running the model."""
    if kind == "parameters":
        return sum(array.size for _, array in model.named_parameters())
    return 4 * sum(array.size for _, array in model.named_arrays())


def runs_per_image(model, path):
    """How often a layer runs on one image: 1, or the largest number of proposals."""
    return math.prod(often for part, often in getattr(model, "repeats", {}).items() if path.startswith(f"{part}."))


def weighted_layers(model):
    """Paths of the convolutions and linear layers, in the network's order."""
    return [path for path, layer in model.named_layers() if not layer.children() and has_weight_matrix(layer)]


def has_weight_matrix(layer):
    """Whether a layer multiplies by a matrix of weights: a convolution or a linear layer, not a norm."""
    return getattr(layer, "weight", None) is not None and layer.weight.ndim > 1

"""What a network weighs: parameters, multiplications, bytes, layer by layer."""

import math

import numpy as np

from minicnn.probe import probed


def ledger(model, input_shape):
    """Count every layer that has weights and multiplies.

    Args:
        model: a Layer. Parts of it that run several times on one picture are told by its attribute ``repeats``, if it has one:
            {path: how often}, such as a box head that runs on every proposal.
        input_shape: (C, H, W) of one picture; the multiplications depend on it.

    Returns:
        {"layers": [{"path", "kind", "weight": shape, "output": shape of one picture's output, "parameters", "macs", "bytes"}],
        "parameters", "convolution_parameters", "linear_parameters", "macs", "bytes"}. Bytes are those of all arrays, buffers
        too, as float32, uncompressed. MACs are multiply-adds for one picture, with as many proposals as it may have; biases,
        activations and pooling are not counted.
    """
    rows, repeats = {}, getattr(model, "repeats", {})

    def observe(path):
        layer = model.get_layer(path)
        parameters = sum(array.size for _, array in layer.named_parameters())
        weight = layer.weight.shape
        times = math.prod(often for part, often in repeats.items() if path.startswith(f"{part}."))

        def count(x, y):
            macs = times * math.prod(weight) * math.prod(y.shape[2:])  # each weight is used once an output pixel
            row = rows.setdefault(path, {"path": path, "kind": layer.kind, "weight": list(weight), "output": list(y.shape[1:]),
                                         "parameters": parameters, "macs": 0, "bytes": 4 * parameters})
            row["macs"] += macs                                        # a layer may be used several times
        return count

    paths = [path for path, layer in model.named_layers() if not layer.children() and has_matrix(layer)]
    with probed(model, {path: observe(path) for path in paths}):
        model(np.zeros((1, *input_shape), np.float32))
    rows = list(rows.values())
    return {
        "layers": rows,
        "parameters": sum(array.size for _, array in model.named_parameters()),
        "convolution_parameters": sum(row["parameters"] for row in rows if len(row["weight"]) == 4),
        "linear_parameters": sum(row["parameters"] for row in rows if len(row["weight"]) == 2),
        "macs": sum(row["macs"] for row in rows),
        "bytes": 4 * sum(array.size for _, array in model.named_arrays()),
    }


def has_matrix(layer):
    """Whether a layer multiplies by a matrix of weights (a convolution or a linear layer; not a norm)."""
    return getattr(layer, "weight", None) is not None and layer.weight.ndim > 1

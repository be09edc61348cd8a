"""What a network weighs: parameters, multiplications, bytes, layer by layer."""

import math

import numpy as np

from minicnn.hooks import watch


def cost_table(model, input_shape):
    """Count every layer that has weights and multiplies.

    Args:
        model: a Layer. Parts of it that run several times on one image are told by its attribute ``repeats``, if it has one:
            {path: how often}, such as a box head that runs on every proposal.
        input_shape: (C, H, W) of one image; the multiplications depend on it.

    Returns:
        {"layers": [{"path", "kind", "weight": shape, "inputs": shape of what one image gives it, of each call, "output": shape of one
        image's output, "parameters", "macs", "bytes"}],
        "parameters", "convolution_parameters", "linear_parameters", "macs", "bytes"}. Bytes are those of all arrays, buffers
        too, as float32, uncompressed. MACs are multiply-adds for one image, with as many proposals as it may have; biases,
        activations and pooling are not counted.
    """
    rows = {}

    def observe(path):
        layer = model.get_layer(path)
        parameters = sum(array.size for _, array in layer.named_parameters())
        weight = layer.weight.shape

        def count(x, y):
            macs = times(model, path) * math.prod(weight[1:]) * math.prod(y.shape[1:])
            row = rows.setdefault(path, {"path": path, "kind": layer.kind, "weight": list(weight), "inputs": [],
                                         "output": list(y.shape[1:]), "parameters": parameters, "macs": 0, "bytes": 4 * parameters})
            row["inputs"].append(list(x.shape[1:]))                    # a layer may be used several times
            row["macs"] += macs
        return count

    # Only shapes count. Of rows of 5 numbers OpenBLAS's sgemv for AVX-512 reads memory that nobody wrote, and NumPy at times tells of it.
    with watch(model, {path: observe(path) for path in matrices(model)}), np.errstate(invalid="ignore"):
        model(np.zeros((1, *input_shape), np.float32))
    rows = list(rows.values())
    return {
        "layers": rows,
        "parameters": count(model, "parameters"),
        "convolution_parameters": sum(row["parameters"] for row in rows if len(row["weight"]) == 4),
        "linear_parameters": sum(row["parameters"] for row in rows if len(row["weight"]) == 2),
        "macs": sum(row["macs"] for row in rows),
        "bytes": count(model, "bytes"),
    }


def count(model, kind):
    """"parameters", or "bytes" of all arrays as float32, without a run of the model."""
    if kind == "parameters":
        return sum(array.size for _, array in model.named_parameters())
    return 4 * sum(array.size for _, array in model.named_arrays())


def times(model, path):
    """How often a layer runs on one image."""
    return math.prod(often for part, often in getattr(model, "repeats", {}).items() if path.startswith(f"{part}."))


def matrices(model):
    """Paths of the layers that multiply, in the network's order."""
    return [path for path, layer in model.named_layers() if not layer.children() and has_matrix(layer)]


def has_matrix(layer):
    """Whether a layer multiplies by a matrix of weights (a convolution or a linear layer; not a norm)."""
    return getattr(layer, "weight", None) is not None and layer.weight.ndim > 1

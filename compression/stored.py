"""How a network's weights are stored in its file: the dtype, and the bytes of each layer, beside the parameters that costs count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minicnn.archive import read_archive, read_header
from minicnn.compression.cost_table import weighted_layers
from minicnn.files import is_stream
from minicnn.network_files import is_weight_file


def stored(path: str | Path, model: Any) -> dict[str, Any]:
    """What the headers of a file's arrays tell; no values are read.

    Args:
        path: an ``.npz`` written by minicnn; of torch's weights float32 is assumed, which they are converted to.
        model: the network of the file.

    Returns:
        {"dtype": "float32", "float16" or "int8", that of most of the weights; "file_bytes": the size of the file, None for a pipe;
        "bytes": those of all arrays, of int8 weights with their scales; "convolution_bytes", "linear_bytes": of their weights and biases;
        "layers": the same for each of these layers, {path: bytes}}.

    Raises:
        InputError: the file cannot be read.
    """
    headers = {name: (str(array.dtype), array.ndim, array.nbytes) for name, array in model.named_arrays()}
    if is_stream(path):
        return summary(headers, model, None)
    if not is_weight_file(path):
        read, _ = read_archive(path, read_header)
        headers = {name: (str(header.dtype), len(header.shape), header.nbytes) for name, header in read.items()}
    return summary(headers, model, Path(path).stat().st_size)


def summary(headers, model, file_bytes):
    """See ``stored``; headers: {name of an array: (dtype, number of dimensions, bytes)}."""
    weights: dict[str, int] = {}
    for dtype, ndim, size in headers.values():
        if ndim > 1:
            weights[dtype] = weights.get(dtype, 0) + size
    layers = {path: sum(headers[f"{path}.{name}"][2] for name in ("weight", "bias") if f"{path}.{name}" in headers)
              for path in weighted_layers(model)}
    kinds = {ndim: sum(size for path, size in layers.items() if model.get_layer(path).weight.ndim == ndim) for ndim in (2, 4)}
    return {"dtype": max(weights, key=weights.__getitem__, default="float32"), "file_bytes": file_bytes,
            "bytes": sum(size for _, _, size in headers.values()), "convolution_bytes": kinds[4], "linear_bytes": kinds[2],
            "layers": layers}

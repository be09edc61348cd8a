"""What a network's file contains: the costs of its layers, their arguments, and the record of how the file was made."""

from pathlib import Path
from typing import Any

from minicnn.archive import describe
from minicnn.compression.cost_table import cost_table
from minicnn.compression.stored import stored
from minicnn.files import source_file
from minicnn.models.protocol import Compressible
from minicnn.network_files import outline


def info(model: str | Path | Compressible) -> dict[str, Any]:
    """Describe a network, without running it. Of a file the headers of the arrays are read, and all of it once for the SHA-256.

    Args:
        model: a network, or the path of an ``.npz`` written by minicnn.

    Returns:
        document: "file", "sha256" and "stored", see ``stored.stored`` (of a path only); "architecture", its arguments and the record
            ("class_names", "surgery", "provenance", "measured"); the ``cost_table``; "description", the kind and arguments of every
            layer; "input_shape" (C, H, W);
            and "repeats", how often parts of the network run on one image.

    Raises:
        InputError: the file cannot be read.

    >>> import minicnn, numpy as np
    >>> document = info(minicnn.build("lenet5", rng=np.random.default_rng(0)))
    >>> document["parameters"], document["macs"], [row["path"] for row in document["layers"]]
    (61706, 416520, ['conv1', 'conv2', 'fc1', 'fc2', 'fc3'])
    """
    source: dict[str, Any] = {}
    network: Any = model
    if isinstance(model, (str, Path)):
        source, network = source_file(model), outline(model)
        source["stored"] = stored(model, network)
    description = describe(network)
    return {**source, **description, **cost_table(network, network.input_shape), "description": description["layers"],
            "input_shape": list(network.input_shape), "repeats": network.repeats}

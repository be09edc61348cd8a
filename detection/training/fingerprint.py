"""Digests that show whether a checkpoint or a feature cache was made from the same network and the same data."""

import hashlib
import json
import zlib
from pathlib import Path

import numpy as np

from minicnn.errors import InputError


def weights_digest(layer):
    """SHA-256 of the layers below a layer and their weights, as hexadecimal text."""
    digest = hashlib.sha256(repr([(path, child) for path, child in layer.named_layers() if path]).encode())
    for name, array in layer.named_arrays():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def data_crc(data):
    """CRC-32 of ``AnnotatedImages``: the classes, the images' names and all objects; not the pixels."""
    text = json.dumps([data.class_names, *([p.name, p.boxes.tolist(), p.labels.tolist(), p.difficult.tolist(), p.crowd.tolist()]
                                           for p in data.images)])
    return zlib.crc32(text.encode())


def file_crc(path):
    """CRC-32 of a file's bytes.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return zlib.crc32(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror or error}), expected an image. Check the data.") from error

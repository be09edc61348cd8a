"""Checksums that show whether a checkpoint or a feature cache was made from the same data."""

import json
import zlib
from pathlib import Path

from minicnn.errors import InputError


def data_crc(data):
    """CRC-32 of ``AnnotatedImages``: the classes, the images' names and all objects; not the pixels."""
    text = json.dumps([data.class_names, *([p.name, p.boxes.tolist(), p.labels.tolist(), p.difficult.tolist(), p.crowd.tolist()]
                                           for p in data.images)])
    return zlib.crc32(text.encode())


def pictures_crc(data):
    """CRC-32 of the image files of ``AnnotatedImages``.

    Raises:
        InputError: one cannot be read.
    """
    return zlib.crc32(json.dumps([file_crc(image.path) for image in data.images]).encode())


def file_crc(path):
    """CRC-32 of a file's bytes.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return zlib.crc32(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror or error}), expected an image. Check the data.") from error

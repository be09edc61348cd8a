"""Feature cache: the outputs of the frozen stages on disk, so that later epochs need not compute them again.

One file for each image, mirrored and not: float16, half as large as float32 and precise to three digits. In a batch, an image's feature
map is padded with zeros, not its pixels, which gives slightly other values near the added border.
"""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np

from minicnn.data.reduction import reduced_size
from minicnn.detection.training.batches import read_pixels
from minicnn.detection.training.fingerprint import file_crc
from minicnn.detection.transform import Batch, batch_size
from minicnn.errors import InputError
from minicnn.files import atomic_write, make_folder
from minicnn.identity import weights_digest

LARGEST = np.finfo(np.float16).max
MANIFEST = "cache.json"         # {"network": see ``network``, "pictures": {name: CRC of the image file}}


class FeatureCache:
    """The state that ``FasterRCNN.start`` returns, of single images, computed once.

    Args:
        folder: where the features are, or will be written.
        model: the detector, its backbone frozen as in the training to come.
        images: the ``AnnotatedImage``s that will be asked for.

    Raises:
        InputError: no stage is frozen, or the folder holds the features of other weights, sizes or images, or something else.
    """

    def __init__(self, folder, model, images):
        if not model.backbone.frozen():
            raise InputError("got a cache of features where every layer is trained, expected a frozen stage. Lower "
                             "trainable_backbone_layers, or leave the cache out.")
        self.folder = Path(folder)
        expected = {"network": network(model), "pictures": {image.name: file_crc(image.path) for image in images}}
        manifest = read_manifest(self.folder / MANIFEST)
        if manifest is None:
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise InputError(f"got {folder} to keep features in, which holds something else, expected an empty folder. Choose another.")
            manifest = {"network": expected["network"], "pictures": {}}
        changed = [name for name, crc in expected["pictures"].items() if manifest["pictures"].get(name, crc) != crc]
        if manifest["network"] != expected["network"] or changed:
            what = f"another image {changed[0]}" if changed else "another frozen network or another size"
            raise InputError(f"got the features in {folder}, which were made from {what}, expected those of this training. Delete the "
                             "folder, or choose another.")
        make_folder(folder)
        manifest["pictures"].update(expected["pictures"])
        with atomic_write(self.folder / MANIFEST) as file:
            file.write(json.dumps(manifest, indent=1).encode())

    def start(self, model, images):
        """The frozen part of a training step, from the cache; see ``FasterRCNN.start``.

        Args:
            model: the detector, for features that are not on disk yet.
            images: (an ``AnnotatedImage``, whether it is mirrored) each.

        Returns:
            batch: a ``Batch`` whose pixels have the right shape but are all 0.
            state: list of (N, C, h, w) float32, for ``FasterRCNN.vjp``.
        """
        rows = [self.features(model, image, flipped) for image, flipped in images]
        sizes = [tuple(size.tolist()) for size, *_ in rows]
        height, width = batch_size(sizes)
        state = []
        for maps in zip(*(maps for _, *maps in rows)):
            padded = np.zeros((len(maps), *np.max([x.shape for x in maps], axis=0)), np.float32)
            for row, x in zip(padded, maps):
                row[:, :x.shape[1], :x.shape[2]] = x
            state.append(padded)
        pixels = np.broadcast_to(np.float32(0), (len(rows), 3, height, width))
        return Batch(pixels, sizes, [reduced_size(image.height, image.width) for image, _ in images]), state

    def features(self, model, image, flipped):
        """The features of one image, read from its file, which is written first if it is missing.

        Returns:
            [size (2,) of the resized image, then maps (C, h, w) float16].
        """
        path = self.folder / f"{hashlib.sha256(image.name.encode()).hexdigest()[:24]}_{int(flipped)}.npz"
        if not path.exists():
            batch, state = model.start([read_pixels(image, flipped)])
            arrays = [np.array(batch.sizes[0]), *(np.clip(x[0], -LARGEST, LARGEST).astype(np.float16) for x in state)]
            with atomic_write(path) as file:
                np.savez(file, *arrays)
        try:
            with open(path, "rb") as file, np.load(file) as arrays:
                return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"got {path}, which cannot be read ({error}), expected features. Delete it.") from error


def network(model):
    """What features depend on besides the image: a digest of the frozen layers, and the transform's sizes and normalisation."""
    transform = model.transform
    sizes = [transform.min_size, transform.max_size, *map(float, (*transform.image_mean, *transform.image_std))]
    return {"frozen": weights_digest(model.backbone.frozen()), "transform": sizes}


def read_manifest(path):
    """The manifest of a cache, None if there is no file; raises InputError if it is damaged."""
    try:
        manifest = json.loads(path.read_bytes())
        if not isinstance(manifest["network"], dict) or not isinstance(manifest["pictures"], dict):
            raise ValueError("other values")
        return manifest
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"got {path}, which cannot be read ({error}), expected the manifest of a feature cache. Delete the "
                         "folder.") from error

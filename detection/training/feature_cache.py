"""A frozen stage's output kept on disk, so that training what follows need not compute it again in each epoch.

One file for each image, unflipped and flipped: float16, half as large and precise to three digits. An image is then padded to the
batch's size as a map, not as pixels, which differs near the added border.
"""

import hashlib
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from minicnn.detection.training.train import read_pixels, weights_digest
from minicnn.detection.transform import Batch, batch_size
from minicnn.errors import InputError
from minicnn.files import atomic_write, make_folder

LARGEST = np.finfo(np.float16).max
MANIFEST = "cache.json"


class FeatureCache:
    """What ``FasterRCNN.start`` returns for single images, computed once.

    Args:
        folder: where it is, or will be made.
        model: the detector, its backbone frozen as in the training to come.
        images: the ``AnnotatedImage``s that will be asked for.

    Raises:
        InputError: the folder holds the features of other weights, sizes or images, or of something else.
    """

    def __init__(self, folder, model, images):
        if not model.backbone.frozen():
            raise InputError("got a cache of features where every layer is trained, expected a frozen stage. Lower "
                             "trainable_backbone_layers, or leave the cache out.")
        self.folder = Path(folder)
        made_from = {"network": network(model), "pictures": {image.name: file_crc(image.path) for image in images}}
        manifest = self.folder / MANIFEST
        made = read_manifest(manifest)
        if made is None:
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise InputError(f"got {folder} to keep features in, which holds something else, expected an empty folder. Choose another.")
            made = {"network": made_from["network"], "pictures": {}}
        changed = [name for name, crc in made_from["pictures"].items() if made["pictures"].get(name, crc) != crc]
        if made["network"] != made_from["network"] or changed:
            what = f"another image {changed[0]}" if changed else "another frozen network or another size"
            raise InputError(f"got the features in {folder}, which were made from {what}, expected those of this training. Delete the "
                             "folder, or choose another.")
        make_folder(folder)
        made["pictures"].update(made_from["pictures"])
        with atomic_write(manifest) as file:
            file.write(json.dumps(made, indent=1).encode())

    def start(self, model, images):
        """As ``FasterRCNN.start``.

        Args:
            model: the detector.
            images: an ``AnnotatedImage`` and whether it is mirrored, each.

        Returns:
            batch: without pixels, only of their shape; state: see ``models.body.FeatureExtractor.start``.
        """
        rows = [self.features(model, image, flipped) for image, flipped in images]
        sizes = [tuple(size.tolist()) for size, *_ in rows]
        height, width = batch_size(sizes)
        state = []
        for maps in zip(*(maps for _, *maps in rows)):
            whole = np.zeros((len(maps), *np.max([x.shape for x in maps], axis=0)), np.float32)
            for row, x in zip(whole, maps):
                row[:, :x.shape[1], :x.shape[2]] = x
            state.append(whole)
        pixels = np.broadcast_to(np.float32(0), (len(rows), 3, height, width))
        return Batch(pixels, sizes, [(image.height, image.width) for image, _ in images]), state

    def features(self, model, image, flipped):
        """[size (2,) of the resized image, a map (C, h, w) float16, ...]."""
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
    """What the features depend on besides the image: the frozen layers with their arrays, and how images are resized."""
    transform = model.transform
    sizes = [transform.min_size, transform.max_size, *map(float, (*transform.image_mean, *transform.image_std))]
    return {"frozen": weights_digest(model.backbone.frozen()), "transform": sizes}


def file_crc(path):
    """A number that tells other files."""
    try:
        return zlib.crc32(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror or error}), expected an image. Check the data.") from error


def read_manifest(path):
    """What a cache was made from, None where there is none."""
    try:
        made = json.loads(path.read_bytes())
        if not isinstance(made["network"], dict) or not isinstance(made["pictures"], dict):
            raise ValueError("other values")
        return made
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"got {path}, which cannot be read ({error}), expected what a cache was made from. Delete the folder.") from error

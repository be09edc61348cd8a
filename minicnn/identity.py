"""What decides the result of a training or a compression, so that its checkpoint is not taken up by another.

The whole list, by the entry of a checkpoint that holds it:

* of every network (``network_identity``): "layers" (kinds and arguments), "weights" (a digest, before the work), "settings" (the
  architecture and what layers hold besides: image sizes, anchors, thresholds), "backend";
* of a training: "recipe" (the hyperparameters, "trainable_backbone_layers" among them), "seed", "data" (a classifier's images and labels;
  of a detector's data the classes, the images' names and their objects), and of a detector "pictures" (the bytes of the image files),
  "cache" (whether features are kept in float16), "teacher" and "teacher_settings";
* of a detector's compression: "method", "rule" (the targets or the rule for ranks), "options" (low, linear, layers, left out), "errors",
  "minimum", "clusters", "repaired", "refit_first", "seed", "rng" (its state), "pictures" (the calibration images), "rates" (the
  speeds of another machine, if they were given);
* of a classifier's compression: "target", "options", "recipe", "seed", "counts" (of --like), "images" (and labels, to train on).

What only the caller knows, such as the file's name or the validation images, is added by ``compression.checkpoint.Checkpoint``'s
``origin``. Not in the list: the machine, its number of threads and the versions of packages, which change the rounding of sums alone.
"""

import functools
import hashlib
import json
import zlib
from typing import Any

import numpy as np

from minicnn.archive import describe
from minicnn.errors import InputError
from minicnn.functional import dispatch
from minicnn.layers import KINDS, Layer

WORDS = {"recipe": "hyperparameters", "pictures": "images", "teacher_settings": "teacher's settings"}     # of entries, in messages
NOT_SETTINGS = {*vars(Layer), *Layer.__annotations__}               # what every layer has: mode, backend, record, ...
LATER = ("weights", "settings", "backend", "pictures", "teacher_settings", "repaired", "refit_first", "rng", "images", "validation")
# entries that checkpoints of older versions lack, which are resumed all the same


def network_identity(model: Any) -> dict[str, Any]:
    """The entries about a network, a ``Layer``, as it is before the work: "layers", "weights", "settings" and "backend"."""
    return {"layers": describe(model)["layers"], "weights": weights_digest(model), "settings": network_settings(model),
            "backend": dispatch.backend()}


def weights_digest(layer: Layer) -> str:
    """SHA-256 of the layers below a layer and their weights, as hexadecimal text."""
    digest = hashlib.sha256(repr([(path, child) for path, child in layer.named_layers() if path]).encode())
    for name, array in layer.named_arrays():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def arrays_crc(*arrays: np.ndarray) -> int:
    """CRC-32 of the bytes of arrays, one after the other."""
    return functools.reduce(lambda crc, array: zlib.crc32(np.ascontiguousarray(array).data, crc), arrays, 0)


def network_settings(model: Layer) -> dict[str, Any]:
    """The architecture's name, and the plain values that layers hold besides arrays and constructor's arguments, by dotted path.

    >>> import minicnn
    >>> network_settings(minicnn.build("fasterrcnn_vgg16"))["transform.min_size"]
    800
    """
    settings = {"architecture": model.architecture}
    for path, layer in model.named_layers():
        for name, value in vars(layer).items():
            if layer.kind not in KINDS and name not in NOT_SETTINGS and is_plain(value):
                settings[f"{path}.{name}" if path else name] = value
    return jsonable(settings)


def is_plain(value):
    """Whether a value is a number, a text, or a list of such."""
    if isinstance(value, (tuple, list)):
        return all(map(is_plain, value))
    return isinstance(value, (bool, int, float, str, np.generic))


def check_identity(path: Any, work: str, saved: Any, identity: dict[str, Any]) -> list[str]:
    """Compare what a checkpoint says about its work with what is to be done.

    Args:
        path: the checkpoint's, for the message.
        work: "training" or "compression".
        saved: the checkpoint's entries.
        identity: those of the work to be done, as JSON returns them.

    Returns:
        The names of the entries that the checkpoint, of an older version, does not have.

    Raises:
        InputError: they differ; the message names the entries.
    """
    saved = saved if isinstance(saved, dict) else {}
    unknown = [key for key in LATER if key in identity and key not in saved]
    different = [named(key, saved.get(key), identity.get(key)) for key in dict.fromkeys([*identity, *saved])
                 if key not in unknown and (key not in saved or key not in identity or saved[key] != identity[key])]
    if different:
        raise InputError(f"got the checkpoint {path} of another {work} (other {'; '.join(different)}), expected one with these options. "
                         f"Give the same options, files and data, or begin anew with --restart (in Python resume=False).")
    return [WORDS.get(key, key) for key in unknown]


def named(key, one, other):
    """The name of an entry that differs; of several in one entry also which: hyperparameters epochs, lr."""
    word = WORDS.get(key, key)
    if key in (*WORDS, "settings", "options", "rule", "target") and isinstance(one, dict) and isinstance(other, dict):
        word += f" {', '.join(name for name in {**one, **other} if one.get(name) != other.get(name))}"
    return word


def jsonable(value: Any) -> Any:
    """A value as it is read back from JSON: tuples become lists, NumPy's numbers plain ones.

    >>> jsonable({"ranks": (8, 16)})
    {'ranks': [8, 16]}
    """
    return json.loads(json.dumps(value, default=lambda number: number.item()))

"""Find the network among all that a checkpoint holds, and take the prefix off its names.

Training scripts put the state dict under a key of their choice, and wrappers put their name before every array's. Both are found by what
the names end in: an array called ``roi_heads.box_predictor.cls_score.weight`` in torchvision has that end wherever it is stored.
"""

import numpy as np

from minicnn.errors import InputError
from minicnn.weight_files.pickled import Parameter, Unknown
from minicnn.weight_files.tensors import Tensor, Unreadable, printable

# ends of names that tell a network, the most telling first: of whole detectors, of detectors' backbones, of classifiers
MARKS = ("roi_heads.box_predictor.cls_score.weight", "head.classification_head.cls_logits.weight", "backbone.body.conv1.weight",
         "backbone.body.0.0.weight", "backbone.0.weight", "classifier.6.weight", "features.0.weight", "features.0.0.weight",
         "layer1.0.conv1.weight")
PARTS = ("backbone", "body")        # a mark of a classifier after one of these is a detector's
NESTED = ("model", "state_dict", "model_state_dict", "net", "model_weights", "ema", "model_ema")   # where no name is telling
PREFIXES = ("module.", "_orig_mod.")                    # of DataParallel and torch.compile, before every name
TENSORS = (Tensor, Parameter, Unreadable, np.ndarray)
DEPTH = 4               # of dicts in dicts, and of wrappers around a network
LISTED = 4              # networks named in a message


def find_state_dict(value, key=None):
    """The state dict of the network in a checkpoint.

    Args:
        value: the file's whole object, as the unpickler makes it, or {name: array}.
        key: which network where there are several, such as "model_ema": the keys down to it and its prefix, joined by dots. None: there
            is one.

    Returns:
        tensors: {name: Tensor or array}, names without prefix.

    Raises:
        InputError: there is no network, several of them, or something in it is no tensor that can be read.
    """
    if isinstance(value, Unknown) or type(value) is not dict:
        raise no_dict(value)
    found = networks(value)
    if not found and key is None:
        found = networks_under_usual_keys(value)
    if key is not None:
        found = chosen(found, key)
    if len(found) > 1:
        raise InputError(f"got {len(found)} networks ({listed(found)}), expected one. Choose one of them with --key of 'minicnn convert'.")
    _, mapping, prefix = found[0] if found else ("", value, "")
    if prefix:
        mapping = {name.removeprefix(prefix): one for name, one in mapping.items() if isinstance(name, str) and name.startswith(prefix)}
    return checked_tensors(mapping, value)


def networks(value):
    """(label, dict, prefix of its names) of every network in a dict that a mark tells; the label is the keys and the prefix."""
    return [(".".join([*path, *prefix.split(".")[:-1]]), mapping, prefix)
            for path, mapping in mappings(value) for prefix in prefixes(mapping)]


def mappings(value):
    """(path, dict) of a dict and the dicts within it, each once, the outer ones first; a path is the keys down to it."""
    seen, level = {id(value)}, [((), value)]
    for _ in range(DEPTH):
        below = []
        for path, mapping in level:
            yield path, mapping
            for key, inner in mapping.items():
                if isinstance(key, str) and type(inner) is dict and id(inner) not in seen:
                    seen.add(id(inner))
                    below.append(((*path, key), inner))
        level = below


def prefixes(mapping):
    """What stands before the first of ``MARKS`` that names in a dict end in: "" or "module." or several, of as many networks."""
    names = [name for name, value in mapping.items() if isinstance(name, str) and isinstance(value, TENSORS)]
    for mark in MARKS:
        found = [name.removesuffix(mark) for name in names if name.endswith(mark)]
        found = [prefix for prefix in found if not prefix or prefix.endswith(".") and prefix[:-1].rpartition(".")[2] not in PARTS]
        if found:
            return found
    return []


def networks_under_usual_keys(value):
    """As ``networks``, of networks that no mark tells: the dicts with tensors under ``NESTED`` keys."""
    return [(key, value[key], "") for key in NESTED
            if type(value.get(key)) is dict and any(isinstance(one, TENSORS) for one in value[key].values())]


def chosen(found, key):
    """The network of that label or, if there is none, those whose labels begin with it."""
    same = [network for network in found if network[0] == key]
    same = same or [network for network in found if network[0].startswith(f"{key}.")]
    if not same:
        raise InputError(f"got the key {printable(key)!r}, expected one of {listed(found) or 'no networks'}. "
                         "Correct --key.")
    return same


def listed(found):
    """The labels of some networks for a message: model, model_ema and 3 more."""
    more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return ", ".join(printable(label) or "''" for label, *_ in found[:LISTED]) + more


def checked_tensors(mapping, value):
    """{name: Tensor} of a state dict, the prefixes of wrappers taken off.

    Raises:
        InputError: there are no tensors, or other things are among them; ``value``, the file's whole object, is told then.
    """
    tensors = {name: one.tensor if isinstance(one, Parameter) else one for name, one in mapping.items()}
    if not any(isinstance(one, TENSORS) for one in tensors.values()):
        raise no_tensors(value)
    for name, one in tensors.items():
        check_tensor(name, one)
    return without_prefixes(tensors)


def check_tensor(name, value):
    """Raise InputError unless a state dict's entry is a name and a tensor that can be read."""
    if isinstance(value, Unreadable) or isinstance(name, str) and "_packed_params" in name:
        what = value.what if isinstance(value, Unreadable) else "quantised"
        raise InputError(f"got the tensor {printable(name)}, which is {what}, expected plain numbers. Save the network's state dict as "
                         "float32, dense and not quantised.")
    if not isinstance(name, str) or not isinstance(value, (Tensor, np.ndarray)):
        raise InputError(f"got {printable(name)} of type {kind_of(value)} in the state dict, expected names and tensors. "
                         "Save model.state_dict() alone.")


def without_prefixes(arrays):
    """{name: array} without the prefixes of wrappers that stand before every name."""
    for _ in range(DEPTH):
        prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in arrays)), "")
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays


def no_tensors(value):
    """The InputError for a dict without a network's tensors."""
    module = next((one for _, inner in mappings(value) for one in inner.values() if isinstance(one, Unknown) and one.module), None)
    if module:
        return no_dict(module)
    keys = ", ".join(printable(key) for key in list(value)[:10])
    return InputError(f"got a file that holds the keys {keys or '(none)'}, expected a state dict, or one under {', '.join(NESTED[:3])}. "
                      "Save model.state_dict() alone.")


def no_dict(value):
    """The InputError for an object that is no dict; a whole network has words of its own."""
    if isinstance(value, Unknown) and value.module:
        return InputError(f"got a whole pickled network ({printable(value.name)}), expected its state dict: it can only be opened by the "
                          "code that made it. There, save model.state_dict() alone and convert that.")
    return InputError(f"got a file that holds an object of type {kind_of(value)}, expected a state dict. Save model.state_dict().")


def kind_of(value):
    """The type of a value; of an ``Unknown`` the name in the file."""
    return printable(value.name) if isinstance(value, Unknown) else type(value).__name__

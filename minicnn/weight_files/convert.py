"""Convert a state dict of torchvision's to a model of ours, without torch.

The architecture, the number of classes and the width of the box head follow from the arrays' names and shapes. Everything else
(image sizes, normalisation, anchors, class names) comes from a configuration file, or from the architecture's defaults. A wrong default
changes what is found without an error, so what was assumed is told and kept: ``assumptions``.
"""

import json
import math
import re
from pathlib import Path

from minicnn.archive import load_finite_arrays
from minicnn.data.class_names import CLASS_NAMES
from minicnn.errors import InputError
from minicnn.files import source_file
from minicnn.models import build
from minicnn.weight_files.other_networks import other_network
from minicnn.weight_files.published import FILES
from minicnn.weight_files.read import read_state_dict
from minicnn.weight_files.tensors import printable

# {the first digits of the SHA-256 of a file of torchvision's: its architecture}
PUBLISHED = {name.rpartition("-")[2].removesuffix(".pth"): architecture for architecture, name in FILES.items()}
MOBILENETS = ("fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn")
EITHER_NORM = ("fasterrcnn_resnet50_fpn", *MOBILENETS)      # torchvision builds these with frozen or with trainable batch norms

# (name of an array, the only architectures whose state dicts contain it)
MARKS = (
    ("roi_heads.box_head.5.weight", ("fasterrcnn_resnet50_fpn_v2",)),
    ("backbone.body.conv1.weight", ("fasterrcnn_resnet50_fpn",)),
    ("backbone.body.0.0.weight", MOBILENETS),
    ("backbone.0.weight", ("fasterrcnn_vgg16",)),
    ("classifier.6.weight", ("vgg16",)),
)
# torchvision's arguments that are no settings here, and what to do
OBJECT, TRAINED = "expected it in plain names. Leave it out, and give ", "which is no property of a detector, expected none. Leave it out"
OTHER_ARGUMENTS = {
    "fixed_size": "which is not supported, expected min_size and max_size: images keep their shape here. Leave it out only if the detector "
                  "may see other sizes than it was trained on",
    "size_divisible": "which is not supported, expected 32, torchvision's own. Leave it out if it is 32",
    "rpn_anchor_generator": f"{OBJECT}anchor_sizes and aspect_ratios", "box_head": f"{OBJECT}box_head_width",
    "box_roi_pool": f"{OBJECT}roi_output_size, roi_sampling_ratio and roi_pooling",
    "box_predictor": f"{OBJECT}num_classes", "rpn_head": f"{OBJECT}anchor_sizes and aspect_ratios", "backbone": f"{OBJECT}architecture",
    "weights": TRAINED, "weights_backbone": TRAINED, "pretrained": TRAINED, "pretrained_backbone": TRAINED, "progress": TRAINED,
    "trainable_backbone_layers": f"{TRAINED}; training has --trainable-backbone-layers",
}
ARCHITECTURES = sorted(name for _, names in MARKS for name in names)


class OptionNeeded(InputError):
    """A weight file that leaves something open, which ``minicnn convert`` takes as an option, such as "--arch ARCH"."""

    def __init__(self, message, option=""):
        super().__init__(message)
        self.option = option


def convert(path, architecture=None, config=None, norm_eps=None, key=None):
    """Read a weight file into a model.

    Args:
        path: a state dict in torch's zip format, torch's legacy format, or safetensors.
        architecture: needed where names and shapes leave a choice: torchvision's two MobileNet detectors have the same.
        config: a JSON file of torchvision's constructor arguments (see ``detection.settings.Settings``), ``class_names``
            (a list, "coco" or "voc"), and ``architecture``.
        norm_eps: of the frozen norms of ``fasterrcnn_resnet50_fpn``. torchvision takes 0 for its published COCO weights, and files
            fine-tuned from these need 0 too, which cannot be seen from the file. None: 0 for the published file, else 1e-5.
        key: which network where the file holds several, such as "model_ema".

    Returns:
        model: in evaluation mode, with class names and provenance in its ``record``; ``assumed`` there is what ``assumptions`` returns.
        notes: list of str, remarks for the user: what was assumed.

    Raises:
        InputError: file, configuration and architecture do not match.
    """
    read = read_state_dict(path, key)
    arrays = rename(read)
    settings = {} if config is None else read_config(config)
    given = {*settings, *([] if norm_eps is None else ["norm_eps"])}
    names = settings.pop("class_names", None)
    configured = settings.pop("architecture", None)
    source = source_file(path)
    published = PUBLISHED.get(source["sha256"][:8])             # its settings are the architecture's defaults
    requested = next((name for name in (architecture, configured, published) if name is not None), None)
    architecture, arguments = find_architecture(path, arrays, requested), shape_arguments(arrays)
    norm, notes = norm_arguments(architecture, source["sha256"], set(read), norm_eps, settings)
    arguments.update(norm)
    for name, value in arguments.items():
        if name in settings and settings[name] != value:
            raise InputError(f"got {name}={settings[name]} in {config}, expected {value}, as in {path}. Correct the configuration.")
    model = build_with(architecture, settings, arguments, config)
    if model.task == "detection":
        check_anchors(path, arrays, model)
    try:
        load_finite_arrays(model, arrays)
    except InputError as error:
        raise InputError(f"{path} as {architecture}: {error}") from error
    model.record["class_names"] = class_names(names, arguments["num_classes"])
    assumed = {} if published else assumptions(model, given)
    model.record["provenance"] = {"source": source, "assumed": assumed}
    return model, notes + assumption_notes(assumed)


def rename(arrays):
    """Replace names from before torchvision 0.13 by today's, and drop num_batches_tracked, which nothing here reads."""
    renamed = {}
    for name, array in arrays.items():
        if not name.endswith("num_batches_tracked"):
            name = re.sub(r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1", name)
            name = re.sub(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2", name)
            renamed[name] = array
    return renamed


def find_architecture(path, arrays, requested):
    """The architecture that the arrays' names belong to; ``requested`` (or None) decides where several have the same names."""
    found = next((architectures for mark, architectures in MARKS if mark in arrays), ())
    if requested not in (None, *ARCHITECTURES):
        raise InputError(f"got the architecture {requested!r}, expected one of {', '.join(ARCHITECTURES)}. Choose one of them.")
    other = other_network(arrays)
    if other or not found:
        what = other or f"a network with arrays named {', '.join(map(printable, list(arrays)[:3]))}, ..."
        raise InputError(f"{path}: got {what}, expected one of {', '.join(ARCHITECTURES)}.")
    if requested is None and len(found) > 1:
        raise OptionNeeded(f"{path}: got arrays that fit both {' and '.join(found)}, expected a choice between them. "
                           "Add --arch with one of the two.", "--arch ARCH")
    if requested not in (None, *found):
        raise InputError(f"{path}: got arrays of {' or '.join(found)}, expected {requested}. Correct --arch or the configuration.")
    return requested or found[0]


def shape_arguments(arrays):
    """The builder's arguments that follow from shapes: num_classes, and of detectors box_head_width and, unless 7, roi_output_size."""
    def rows(*names):
        return next((len(arrays[name]) for name in names if name in arrays and arrays[name].ndim), None)
    arguments = {
        "num_classes": rows("roi_heads.box_predictor.cls_score.weight", "classifier.6.weight"),
        "box_head_width": rows("roi_heads.box_head.fc7.weight", "roi_heads.box_head.5.weight"),
    }
    head = next((arrays[name] for name in ("roi_heads.box_head.fc6.weight", "roi_heads.box_head.5.weight") if name in arrays), None)
    channels = rows("rpn.head.conv.0.0.weight")                         # of the maps that boxes are pooled from
    if channels and head is not None and head.ndim == 2:
        side = math.isqrt(head.shape[1] // channels)
        arguments["roi_output_size"] = side if side != 7 and side**2 * channels == head.shape[1] else None
    if arguments["num_classes"] is None:
        raise InputError("got no roi_heads.box_predictor.cls_score.weight, expected a whole detector. Save the whole state dict.")
    return {name: value for name, value in arguments.items() if value is not None}


def norm_arguments(architecture, digest, names, norm_eps, settings):
    """The builder's arguments for frozen or trainable batch norms.

    Args:
        architecture: of the weight file.
        digest: its SHA-256, hexadecimal.
        names: of all its arrays; trainable norms count their batches, frozen ones do not.
        norm_eps: the user's choice, or None.
        settings: of the configuration; its ``norm_eps`` is taken out.

    Returns:
        arguments: {"norm", "norm_eps"}, or fewer; notes: list of str for the user.
    """
    if architecture not in EITHER_NORM:
        if norm_eps is not None:
            raise InputError(f"got a norm's eps for {architecture}, expected none. It is for frozen norms; leave it out.")
        return {}, []
    arguments, notes = {"norm": "batch" if any(name.endswith("num_batches_tracked") for name in names) else "frozen"}, []
    configured = settings.pop("norm_eps", None)
    norm_eps = configured if norm_eps is None else norm_eps
    if architecture == "fasterrcnn_resnet50_fpn" and arguments["norm"] == "frozen" and norm_eps is None:
        published = PUBLISHED.get(digest[:8]) == architecture
        norm_eps = 0.0 if published else 1e-5
        notes.append("torchvision's published COCO weights: the frozen norms have eps 0" if published else
                     "the frozen norms have eps 1e-5; a file fine-tuned from torchvision's COCO weights needs 0: --bn-eps 0")
    if norm_eps is not None:
        arguments["norm_eps"] = norm_eps
    return arguments, notes


def assumptions(model, given):
    """What decides a detector's results, cannot be seen in its weights, and was not given.

    Args:
        model: the network, with class names in its ``record``.
        given: names of the settings of the configuration and the options.

    Returns:
        assumed: {name: value as JSON has it}; empty for a classifier.
    """
    if model.task != "detection":
        return {}
    unseen = model.unseen_settings()
    if model.architecture in EITHER_NORM:
        unseen["norm_eps"] = model.architecture_arguments.get("norm_eps", 1e-5)
    if model.record["class_names"]:
        unseen["class_names"] = "coco"
    return json.loads(json.dumps({name: value for name, value in unseen.items() if name not in given}))


def assumption_notes(assumed):
    """The remarks for the user about what was assumed, at most two lines."""
    notes = []
    if assumed.get("last_pool") is False:
        notes.append("VGG16 without its last pooling (stride 16) was assumed; a detector on all of its features (stride 32) has the same "
                     'weights, and needs {"last_pool": true} in the --config')
    if assumed:
        values = ", ".join(f"{name} {json.dumps(value)}" for name, value in assumed.items())
        notes.append(f"assumed, since weights do not show it: {values}; correct what differs with --config of "
                     "'minicnn convert'")
    return notes


def build_with(architecture, settings, arguments, config, rng=None):
    """Build the network from settings and arguments, the latter first; raises InputError that names the wrong setting."""
    try:
        return build(architecture, rng=rng, **{**settings, **arguments})
    except (InputError, TypeError) as error:                            # TypeError: settings contain rng
        reason = error.__cause__ or error
        unknown = re.search(r" argument '(.*?)'", str(reason))
        if unknown and unknown[1] in OTHER_ARGUMENTS:
            raise InputError(f"got {unknown[1]!r} in {config}, an argument of torchvision's, {OTHER_ARGUMENTS[unknown[1]]}.") from error
        if unknown:
            raise InputError(f"got {unknown[1]!r} in {config}, which is no setting of {architecture}, expected names such as min_size. "
                             "Correct the name, or leave it out.") from error
        raise InputError(f"got {reason} for {architecture}. Correct {config or 'the file or the options'}.") from error


def check_anchors(path, arrays, model):
    """Raise InputError, with the remedy, if the file has another number of anchors than the settings: the most likely mistake."""
    layer = model.get_layer("rpn.head.cls_logits")
    name = "rpn.head.cls_logits.weight"
    if name in arrays and arrays[name].ndim and len(arrays[name]) != layer.out_channels:
        raise OptionNeeded(f"{path}: got {len(arrays[name])} anchors per position, expected the {layer.out_channels} of the settings. "
                           "Give its anchor_sizes and aspect_ratios with --config.", "--config FILE.json")


def read_config(path):
    """The settings in a JSON file."""
    try:
        config = json.loads(Path(path).read_bytes())               # bytes: UTF-8 with a BOM and UTF-16, as PowerShell writes
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path} ({error}), expected a JSON file. Check the path and its text.") from error
    if not isinstance(config, dict):
        raise InputError(f"got a {type(config).__name__} in {path}, expected a JSON object of settings. See the README.")
    return config


def class_names(names, num_classes):
    """The class names by label.

    Args:
        names: list of str, "coco", "voc", or None: COCO's for 91 classes, as in torchvision's weights, else none.
        num_classes: with the background.

    Returns:
        names: list of str, empty where they are unknown.
    """
    if names is None:
        return list(CLASS_NAMES["coco"]) if num_classes == len(CLASS_NAMES["coco"]) else []
    if isinstance(names, str):
        if names not in CLASS_NAMES:
            raise InputError(f"got class_names {names!r}, expected a list, or one of {', '.join(CLASS_NAMES)}. Correct the configuration.")
        names = list(CLASS_NAMES[names])
    if not isinstance(names, list) or not all(isinstance(name, str) and name.isprintable() for name in names) or len(names) != num_classes:
        count = len(names) if isinstance(names, list) else names
        raise InputError(f"got {count} class_names for {num_classes} classes, expected a name for each, the background first. "
                         "Correct the configuration.")
    return names

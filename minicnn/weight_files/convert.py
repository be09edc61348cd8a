"""A checkpoint of torchvision's -> a model of ours, without torch.

Names and shapes tell the architecture, the number of classes and the width of the box head. What they do not tell (sizes,
normalisation, anchors, class names) comes from a configuration, else from the architecture's defaults.
"""

import json
import re
from pathlib import Path

from minicnn.archive import load_finite_arrays
from minicnn.data.class_names import CLASS_NAMES
from minicnn.errors import InputError
from minicnn.files import sha256
from minicnn.models import build
from minicnn.weight_files.read import read_state_dict

PUBLISHED_RESNET50_FPN = "258fb6c6"         # the SHA-256 of torchvision's COCO file begins so
MOBILENETS = ("fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn")

# an architecture is recognised by a name that no other has
MARKS = (
    ("roi_heads.box_head.5.weight", ("fasterrcnn_resnet50_fpn_v2",)),
    ("backbone.body.conv1.weight", ("fasterrcnn_resnet50_fpn",)),
    ("backbone.body.0.0.weight", MOBILENETS),
    ("backbone.0.weight", ("fasterrcnn_vgg16",)),
    ("classifier.6.weight", ("vgg16",)),
)
ARCHITECTURES = sorted(name for _, names in MARKS for name in names)


def convert(path, architecture=None, config=None, norm_eps=None):
    """Read a checkpoint into a model.

    Args:
        path: a state dict in torch's zip format, its older one, or safetensors.
        architecture: needed where names and shapes do not tell it: torchvision's two MobileNet detectors share theirs.
        config: a JSON file of torchvision's constructor arguments (see ``detection.faster_rcnn.Settings``), with ``class_names``
            a list, or "coco" or "voc", and ``architecture``.
        norm_eps: of the frozen norms of ``fasterrcnn_resnet50_fpn``. torchvision takes 0 for its published COCO file, and a file
            fine-tuned from that needs 0 too; nothing in it tells. None: 0 for that very file, else 1e-5.

    Returns:
        model, in evaluation mode, its ``record`` filled with class names and provenance; and a list of remarks for the user.

    Raises:
        InputError: file, configuration and architecture do not fit one another.
    """
    read = read_state_dict(path)
    arrays = rename(read)
    settings = {} if config is None else read_config(config)
    names = settings.pop("class_names", None)
    told = settings.pop("architecture", None)
    architecture = choose(path, arrays, told if architecture is None else architecture)
    digest, notes = sha256(path), []

    arguments = shape_arguments(arrays)
    frozen = not any(name.endswith("num_batches_tracked") for name in read)
    del read
    if architecture == "fasterrcnn_resnet50_fpn" or architecture in MOBILENETS:
        arguments["norm"] = "frozen" if frozen else "batch"
        norm_eps = settings.pop("norm_eps", None) if norm_eps is None else norm_eps
    elif norm_eps is not None:
        raise InputError(f"got a norm's eps for {architecture}, expected none. It is for frozen norms; leave it out.")
    for name, value in arguments.items():
        if settings.get(name, value) != value:
            raise InputError(f"got {name}={settings[name]} in {config}, expected {value}, as in {path}. Correct the configuration.")
    if architecture == "fasterrcnn_resnet50_fpn" and arguments["norm"] == "frozen" and norm_eps is None:
        published = digest.startswith(PUBLISHED_RESNET50_FPN)
        norm_eps = 0.0 if published else 1e-5
        notes.append("torchvision's published COCO weights: the frozen norms have eps 0" if published else
                     "the frozen norms have eps 1e-5; a file fine-tuned from torchvision's COCO weights needs 0: --bn-eps 0")
    if norm_eps is not None:
        arguments["norm_eps"] = norm_eps

    model = build_with(architecture, settings, arguments, config)
    if model.task == "detection":
        check_anchors(path, arrays, model)
    try:
        load_finite_arrays(model, arrays)
    except InputError as error:
        raise InputError(f"{path} as {architecture}: {error}") from error
    model.record["class_names"] = class_names(names, arguments["num_classes"])
    model.record["provenance"] = {"source": {"file": Path(path).name, "sha256": digest}}
    return model, notes


def rename(arrays):
    """Today's names for those of files before torchvision 0.13, and no counters of batches, which nothing reads."""
    renamed = {}
    for name, array in arrays.items():
        if not name.endswith("num_batches_tracked"):
            name = re.sub(r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1", name)
            name = re.sub(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2", name)
            renamed[name] = array
    return renamed


def choose(path, arrays, architecture):
    """The architecture that was asked for, if it may be, else the one that the names tell."""
    found = next((architectures for mark, architectures in MARKS if mark in arrays), ())
    if architecture not in (None, *ARCHITECTURES):
        raise InputError(f"got the architecture {architecture!r}, expected one of {', '.join(ARCHITECTURES)}. Choose one of them.")
    if not found:
        raise InputError(f"{path}: got arrays named {', '.join(list(arrays)[:3])}, ..., expected those of a torchvision "
                         f"{', '.join(ARCHITECTURES)}. Save one of their state dicts.")
    if architecture is None and len(found) > 1:
        raise InputError(f"{path}: got arrays that {' and '.join(found)} share, expected to be told which. "
                         "Add --arch with one of the two.")
    if architecture not in (None, *found):
        raise InputError(f"{path}: got arrays of {' or '.join(found)}, expected {architecture}. Correct --arch or the configuration.")
    return architecture or found[0]


def shape_arguments(arrays):
    """The builder's arguments that shapes tell."""
    def rows(*names):
        return next((len(arrays[name]) for name in names if name in arrays and arrays[name].ndim), None)
    told = {
        "num_classes": rows("roi_heads.box_predictor.cls_score.weight", "classifier.6.weight"),
        "box_head_width": rows("roi_heads.box_head.fc7.weight", "roi_heads.box_head.5.weight"),
    }
    if told["num_classes"] is None:
        raise InputError("got no roi_heads.box_predictor.cls_score.weight, expected a whole detector. Save the whole state dict.")
    return {name: value for name, value in told.items() if value is not None}


def build_with(architecture, settings, arguments, config, rng=None):
    """The network, or one line that says which setting is wrong."""
    try:
        return build(architecture, rng=rng, **{**settings, **arguments})
    except (InputError, TypeError) as error:                            # TypeError: a second rng
        reason = error.__cause__ or error
        unknown = re.search(r" argument '(.*?)'", str(reason))
        if unknown:
            raise InputError(f"got {unknown[1]!r} in {config}, which is no setting of {architecture}, expected names such as min_size. "
                             "Correct the name, or leave it out.") from error
        raise InputError(f"got {reason} for {architecture}. Correct {config or 'the file or the options'}.") from error


def check_anchors(path, arrays, model):
    """A file with another number of anchors than the settings have is the likeliest of mistakes: say what to do."""
    layer = model.get_layer("rpn.head.cls_logits")
    name = "rpn.head.cls_logits.weight"
    if name in arrays and arrays[name].ndim and len(arrays[name]) != layer.out_channels:
        raise InputError(f"{path}: got {len(arrays[name])} anchors a cell, expected the {layer.out_channels} of the settings. "
                         "Give its anchor_sizes and aspect_ratios with --config.")


def read_config(path):
    """The settings in a JSON file."""
    try:
        config = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path} ({error}), expected a JSON file. Check the path and its text.") from error
    if not isinstance(config, dict):
        raise InputError(f"got a {type(config).__name__} in {path}, expected a JSON object of settings. See the README.")
    return config


def class_names(names, num_classes):
    """The names by label; without any, 91 classes are taken for COCO's, as torchvision's weights are."""
    if names is None:
        return list(CLASS_NAMES["coco"]) if num_classes == len(CLASS_NAMES["coco"]) else []
    if isinstance(names, str):
        if names not in CLASS_NAMES:
            raise InputError(f"got class_names {names!r}, expected a list, or one of {', '.join(CLASS_NAMES)}. Correct the configuration.")
        names = list(CLASS_NAMES[names])
    if not isinstance(names, list) or not all(isinstance(name, str) and name.isprintable() for name in names) or len(names) != num_classes:
        count = len(names) if isinstance(names, list) else names
        raise InputError(f"got {count} class_names for {num_classes} classes, expected a text for each, the background first. "
                         "Correct the configuration.")
    return names

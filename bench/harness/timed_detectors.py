"""The detectors that several programs run, the photograph they run on, and the settings that give both their sizes."""

import json

from ladder import IMAGES
from sane import sane_detector
from voc import WEIGHTS

from minicnn.data.images import as_input, read_image
from minicnn.weight_files.convert import convert

VGG_SIZES = {"min_size": 600, "max_size": 1000}         # the image of 384 x 512 becomes 600 x 800, in a batch of 608 x 800
MODELS = {
    "fasterrcnn_vgg16": VGG_SIZES, "fasterrcnn_resnet50_fpn": {}, "fasterrcnn_resnet50_fpn_v2": {},
    "fasterrcnn_mobilenet_v3_large_fpn": {}, "fasterrcnn_mobilenet_v3_large_320_fpn": {},
}


def photograph():
    """(384, 512, 3) bytes, which become 600 x 800, 800 x 1066 or 320 x 426."""
    return read_image(IMAGES / "astronaut.jpg")[64:448].copy()


def tuned_detector(name):
    """A detector with random weights that behave like trained ones, the same in every process."""
    return sane_detector(name, as_input(photograph()), **MODELS[name])


def real_or_tuned_detector(name, folder):
    """``fasterrcnn_vgg16`` with the real weights, if they are there; the others as ``tuned_detector`` returns them.

    Args:
        name: the architecture.
        folder: to write the real detector's configuration to.
    """
    if name != "fasterrcnn_vgg16" or not WEIGHTS.exists():
        return tuned_detector(name)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(WEIGHTS.with_suffix(".json").read_text()) | VGG_SIZES))
    return convert(WEIGHTS, config=config)[0]

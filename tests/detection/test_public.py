"""The public names of minicnn.detection, and that inference loads neither training nor evaluation."""

import subprocess
import sys

import pytest

from minicnn import detection


@pytest.mark.parametrize("name", detection.__all__)
def test_every_public_name_can_be_imported_and_is_documented(name):
    assert getattr(detection, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        detection.nothing  # noqa: B018


def test_inference_loads_no_training_and_no_evaluation():
    program = """
import sys
import numpy as np
import minicnn
from minicnn.detection import FasterRCNN, Settings, detect_images, nms
model = minicnn.build("fasterrcnn_mobilenet_v3_large_320_fpn", num_classes=2, min_size=32, max_size=32, box_head_width=8)
assert isinstance(model, FasterRCNN)
model.record["class_names"] = ["__background__", "cat"]
model.detect(np.zeros((32, 32, 3), np.uint8))
loaded = [name for name in sys.modules if name.startswith(("minicnn.detection.training", "minicnn.detection.evaluation"))]
assert not loaded and "minicnn.optim" not in sys.modules, loaded
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr

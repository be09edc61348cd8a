"""A small detector that finds dozens of boxes, and images for it."""

import numpy as np
from sane import sane_detector

CLASSES = ["__background__", "cat", "traffic light", "N/A", "dog"]


def scene(height, width, seed=0):
    """(height, width, 3) bytes: random squares of many sizes on top of each other."""
    rng = np.random.default_rng(seed)
    squares = [np.kron(rng.normal(0, 30, (height // side + 1, width // side + 1, 3)), np.ones((side, side, 1)))[:height, :width]
               for side in (1, 2, 4, 8, 16, 32)]
    return np.clip(128 + sum(squares), 0, 255).astype(np.uint8)


def small_detector():
    """``fasterrcnn_vgg16`` with random weights at a short side of 32 pixels."""
    image = scene(90, 120).transpose(2, 0, 1).astype(np.float32) / 255
    model = sane_detector("fasterrcnn_vgg16", image, num_classes=5, box_head_width=16, min_size=32, max_size=64,
                          anchor_sizes=((16, 32, 64),))
    model.roi_heads.box_predictor.cls_score.bias[0] -= 3            # so that some scores are high
    model.record["class_names"] = CLASSES
    return model

"""Which detectors are recorded on which images, and which part of their arrays."""

import hashlib

import numpy as np

SETTINGS = {"min_size": 128, "max_size": 256, "num_classes": 11, "box_head_width": 64, "rpn_post_nms_top_n_test": 100}
CASES = [(architecture, image) for architecture in (
    "fasterrcnn_vgg16", "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn") for image in ("gray", "trap", "tall", "tiny")]
SAMPLES = 150


def sample(x):
    """About ``SAMPLES`` numbers spread evenly over an array."""
    flat = np.ravel(x)
    return flat[::max(1, flat.size // SAMPLES)].copy()


def anchors_hash(anchors):
    """SHA-256 of the anchors, as bytes: they are whole numbers, so they are equal or not."""
    return np.frombuffer(hashlib.sha256(np.ascontiguousarray(anchors, np.float32)).digest(), np.uint8)

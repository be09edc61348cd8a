"""A detector small enough to train within a test: one feature map of stride 4, three anchors per position."""

from minicnn.detection.architectures import assemble
from minicnn.detection.backbone import SingleMapBackbone
from minicnn.detection.settings import Settings
from minicnn.layers import Conv2d, MaxPool2d, ReLU

SETTINGS = {"min_size": 48, "max_size": 64, "anchor_sizes": ((8, 16, 24),), "aspect_ratios": ((1.0,),), "roi_output_size": 3,
            "box_head_width": 16, "rpn_post_nms_top_n_train": 60, "rpn_post_nms_top_n_test": 30, "box_batch_size_per_image": 32,
            "rpn_batch_size_per_image": 32}


def toy_detector(num_classes=4, *, rng=None, **settings):
    layers = [Conv2d(3, 8, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2), Conv2d(8, 16, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2),
              Conv2d(16, 16, 3, padding=1, rng=rng), ReLU()]
    return assemble(SingleMapBackbone(layers), 16, 1, 1, num_classes, Settings(**{**SETTINGS, **settings}), rng=rng)

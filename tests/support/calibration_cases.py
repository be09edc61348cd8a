"""Shared by the tests of compression: images, the toy detector's layers, and rates of a machine that need not be measured."""

import numpy as np
from toy_detector import toy_detector

from minicnn.fast.timing.cost_model import KINDS

MAPS = ["backbone.0", "backbone.3", "backbone.6", "rpn.head.conv.0.0", "rpn.head.cls_logits", "rpn.head.bbox_pred"]
HEADS = ["roi_heads.box_head.fc6", "roi_heads.box_head.fc7", "roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"]
RATES = {**dict.fromkeys(KINDS, 0.0), "product": 10.0, "direct": 2.5, "winograd": 10.0, "steps": 1e-4}
SMALL = {"min_size": 64, "max_size": 96, "rpn_post_nms_top_n_test": 20, "num_classes": 4, "box_head_width": 64}     # any detector


def generator(seed=0):
    return np.random.default_rng(seed)


def images(count=4, seed=1):
    return list(generator(seed).integers(0, 256, (count, 64, 80, 3), np.uint8))


def weak_detector():
    """A toy detector, ten of the sixteen filters of whose layer backbone.3 are weak."""
    model = toy_detector(rng=generator(), box_head_width=64)
    model.record = {"surgery": [], "class_names": []}
    model.get_layer("backbone.3").weight[:10] *= 0.01
    return model

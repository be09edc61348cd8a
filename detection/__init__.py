"""Faster R-CNN, its files in the order the data flows: transform, backbone, fpn, anchors, rpn, roi_align, roi_heads, faster_rcnn.

``training`` trains a detector, ``evaluation`` measures one. Names are imported from their files when they are first used, so that
inference loads neither. Functions that have the name of their file are imported from it, as ``from minicnn.detection.roi_align import
roi_align``.

Reference: Ren, He, Girshick, Sun, Faster R-CNN: towards real-time object detection with region proposal networks (2015).
"""

import importlib
from typing import Any

FILES = {
    "faster_rcnn": ("FasterRCNN",), "settings": ("Settings",), "detections": ("Detections",),
    "detect": ("DetectedImage", "detect_images"), "results": ("Results",), "anchors": ("base_anchors", "grid_anchors"),
    "boxes": ("batched_nms", "box_iou", "clip", "decode", "encode", "nms"), "roi_align": ("MultiScaleRoIAlign",),
    "training.train": ("DetectorHyperparameters", "train_detector"), "training.weight_init": ("new_detector",),
    "training.targets": ("GroundTruth", "match"),
    "evaluation.evaluate": ("Evaluation", "MeanAveragePrecision", "evaluate_detections", "evaluate_detector"),
    "evaluation.agreement": ("Agreement", "agreement"), "evaluation.evaluate_agreement": ("AgreementWith", "evaluate_agreement"),
    "evaluation.compare": ("compare", "read_evaluation"), "evaluation.average_precision": ("average_precision",),
}
__all__ = sorted(name for names in FILES.values() for name in names)


def __getattr__(name: str) -> Any:
    """Import an exported name from its file."""
    if name in __all__:
        file = next(file for file, names in FILES.items() if name in names)
        return getattr(importlib.import_module(f"minicnn.detection.{file}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

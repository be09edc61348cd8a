"""The built-in class names are those of torchvision and of the VOC devkit, in their order."""

import pytest

from minicnn.data.class_names import CLASS_NAMES, COCO, VOC

# COCO's supercategories: first and last label, and their names
SPANS = {(1, 1): ("person", "person"), (2, 9): ("bicycle", "boat"), (10, 15): ("traffic light", "bench"), (16, 25): ("bird", "giraffe"),
         (27, 33): ("backpack", "suitcase"), (34, 43): ("frisbee", "tennis racket"), (44, 51): ("bottle", "bowl"),
         (52, 61): ("banana", "cake"), (62, 70): ("chair", "toilet"), (72, 77): ("tv", "cell phone"),
         (78, 82): ("microwave", "refrigerator"), (84, 90): ("book", "toothbrush")}


def test_cocos_labels():
    assert len(COCO) == 91 and COCO[0] == "__background__" and CLASS_NAMES["coco"] is COCO
    assert [label for label, name in enumerate(COCO) if name == "N/A"] == [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]
    assert len(set(COCO)) == 82                     # eighty, the background and N/A
    for labels, names in SPANS.items():
        assert tuple(COCO[label] for label in labels) == names


@pytest.mark.parity
def test_cocos_labels_are_torchvisions():
    detection = pytest.importorskip("torchvision.models.detection")
    assert list(COCO) == detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]


def test_vocs_labels():
    assert len(set(VOC)) == len(VOC) == 21 and VOC[0] == "__background__" and CLASS_NAMES["voc"] is VOC
    assert list(VOC[1:]) == sorted(VOC[1:])         # the devkit's order is the alphabet's
    assert {1: "aeroplane", 15: "person", 20: "tvmonitor"}.items() <= dict(enumerate(VOC)).items()

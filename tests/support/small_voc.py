"""A small data set in PASCAL VOC's format, some of whose objects a detector finds."""

import numpy as np
from small_detector import CLASSES, scene

from minicnn.data.annotated import AnnotatedImage
from minicnn.data.images import write_image
from minicnn.data.voc_xml import xml_text

NAMES = ["000001", "000002", "000003"]


def write_voc(folder, model):
    """Write three images; the objects are the model's highest-scoring detections of each class, some moved, some difficult.

    Returns:
        found: {name: (boxes, scores, labels)} of the model's detections.
    """
    for sub in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / sub).mkdir(parents=True)
    found = {}
    for seed, name in enumerate(NAMES):
        image = scene(60 if seed else 90, 90, seed)
        height, width, _ = image.shape
        write_image(folder / "JPEGImages" / f"{name}.png", image)
        boxes, scores, labels = model([image.transpose(2, 0, 1).astype(np.float32) / 255])[0]
        found[name] = boxes, scores, labels
        objects = [(boxes[i], label) for label in (1, 2, 4) for i in np.flatnonzero(labels == label)[:3]]
        whole = np.array([np.round(box) for box, _ in objects])
        whole = np.clip(whole + [[0, 0, 12 * (i % 3 == 1), 0] for i in range(len(whole))], 0, [width, height] * 2).astype(np.float32)
        whole[:, 2:] = np.maximum(whole[:, 2:], whole[:, :2] + 2)
        one = AnnotatedImage(name, folder / "JPEGImages" / f"{name}.png", height, width, whole, np.array([label for _, label in objects]),
                               np.arange(len(whole)) % 5 == 4, np.zeros(len(whole), bool), np.zeros(len(whole)))
        (folder / "Annotations" / f"{name}.xml").write_text(xml_text(one, CLASSES))
    (folder / "ImageSets" / "Main" / "test.txt").write_text("".join(f"{name}\n" for name in NAMES))
    return found

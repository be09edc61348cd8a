"""Images of coloured rectangles, from which the toy detector learns within a test."""

import numpy as np

import minicnn
from minicnn.data.annotated import BACKGROUND, AnnotatedImage, AnnotatedImages
from minicnn.detection.training.train import DetectorHyperparameters

HYPERPARAMETERS = DetectorHyperparameters(epochs=2, lr=0.02, warmup_steps=3, trainable_backbone_layers=3)
COLOURS = {1: (220, 40, 30), 2: (30, 200, 60), 3: (40, 60, 230)}


def write_rectangles(folder):
    """Twelve images of one to three coloured rectangles on grey, every third of them upright, as ``AnnotatedImages``."""
    rng, images = np.random.default_rng(0), []
    for number in range(12):
        h, w = (60, 44) if number % 3 == 0 else (48, 64)
        values, boxes, labels = rng.integers(90, 150, (h, w, 3)).astype(np.uint8), [], []
        for label in rng.permutation([1, 2, 3])[:1 + number % 3]:
            x, y, side = rng.integers(1, w - 22), rng.integers(1, h - 22), rng.integers(12, 20)
            values[y:y + side, x:x + side] = COLOURS[label]
            boxes.append([x, y, x + side, y + side])
            labels.append(label)
        np.save(folder / f"{number}.npy", values)
        images.append(annotated(folder / f"{number}.npy", h, w, boxes, labels))
    return AnnotatedImages([BACKGROUND, "red", "green", "blue"], images)


def annotated(path, h, w, boxes, labels, difficult=None):
    count = len(labels)
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    flags = np.zeros(count, bool) if difficult is None else np.array(difficult)
    return AnnotatedImage(path.stem, path, h, w, boxes, np.array(labels, np.int64), flags, np.zeros(count, bool), np.ones(count))


def network(seed=0):
    """A toy detector; ``toy`` must be among the builders."""
    return minicnn.build("toy", rng=np.random.default_rng(seed))


def arrays(model):
    return {name: array.copy() for name, array in model.named_arrays()}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)

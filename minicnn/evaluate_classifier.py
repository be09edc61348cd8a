"""The accuracy of a classifier."""

from typing import Any

import numpy as np

from minicnn import functional as F
from minicnn.layers import Layer
from minicnn.progress import Progress

BATCH = 500     # images at a time, so that the columns of LeNet's convolutions take some tens of MB


def predict(model: Layer, images: np.ndarray, label: str = "evaluating") -> np.ndarray:
    """The logits of many images, computed batch by batch.

    Args:
        model: (N, C, H, W) -> logits (N, K).
        images: (N, C, H, W) float32.
        label: of the progress line.

    Returns:
        logits: (N, K).
    """
    logits = []
    with Progress(len(images), label) as progress:
        for start in range(0, len(images), BATCH):
            batch = images[start:start + BATCH]
            logits.append(model(batch))
            progress.update(len(batch))
    return np.concatenate(logits)


def evaluate_classifier(model: Layer, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Accuracy and loss on labelled images.

    Args:
        model: in evaluation mode, (N, C, H, W) -> logits (N, K).
        images: (N, C, H, W) float32.
        labels: (N,) int, the class of each image.

    Returns:
        {"accuracy": share of the images that are classified correctly, "images": N, "errors": number of the others, "loss": mean
        cross-entropy, "per_class": [accuracy of each class, None where it has no image]}
    """
    logits = predict(model, images)
    correct = logits.argmax(axis=1) == labels
    classes = [correct[labels == k] for k in range(logits.shape[1])]
    return {
        "accuracy": float(correct.mean()), "images": len(labels), "errors": int((~correct).sum()),
        "loss": F.cross_entropy(logits, labels), "per_class": [float(c.mean()) if c.size else None for c in classes],
    }

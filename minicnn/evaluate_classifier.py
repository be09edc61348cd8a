"""How good a classifier is."""

import numpy as np

from minicnn import functional as F
from minicnn.progress import Progress

BATCH = 500     # images at once: keeps the columns of LeNet's convolutions at some tens of MB


def predict(model, images, label="evaluating"):
    """The logits of many images, batch by batch: (N, C, H, W) -> (N, K)."""
    logits = []
    with Progress(len(images), label) as progress:
        for start in range(0, len(images), BATCH):
            batch = images[start:start + BATCH]
            logits.append(model(batch))
            progress.update(len(batch))
    return np.concatenate(logits)


def evaluate_classifier(model, images, labels):
    """Accuracy and loss on labelled images.

    Args:
        model: a Layer in evaluation mode, (N, C, H, W) -> logits (N, K).
        images: (N, C, H, W) float32; labels: (N,) int.

    Returns:
        {"accuracy": share that is right, "images": N, "errors": number that is wrong, "loss": mean cross-entropy,
        "per_class": [accuracy of each class, None where it has no image]}
    """
    logits = predict(model, images)
    right = logits.argmax(axis=1) == labels
    classes = [right[labels == k] for k in range(logits.shape[1])]
    return {
        "accuracy": float(right.mean()), "images": len(labels), "errors": int((~right).sum()),
        "loss": F.cross_entropy(logits, labels), "per_class": [float(c.mean()) if c.size else None for c in classes],
    }

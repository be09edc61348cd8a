"""The detections of one image."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.detection.draw import draw


@dataclass
class Detections:
    """The objects detected in one image, by descending score.

    Args:
        boxes: (D, 4) float32, x1, y1, x2, y2 in pixels of the original image.
        labels: (D,) int64, at least 1: the background, 0, is not detected.
        scores: (D,) float32, descending.
        names: list of str, the class names of the D labels.

    >>> found = Detections(np.float32([[0, 0, 9, 9], [5, 5, 8, 8]]), np.array([1, 2]), np.float32([0.75, 0.25]), ["cat", "dog"])
    >>> found.above(0.5).document()
    [{'label': 1, 'name': 'cat', 'score': 0.75, 'box': [0.0, 0.0, 9.0, 9.0]}]
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    names: list

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> "Detections":
        """The detections whose score exceeds ``score``."""
        keep = self.scores > score
        return Detections(self.boxes[keep], self.labels[keep], self.scores[keep],
                          [name for name, kept in zip(self.names, keep) if kept])

    def draw(self, image: Any, font: str | Path | None = None) -> np.ndarray:
        """The image with the boxes drawn on it, (H, W, 3) uint8; image and font: as for ``minicnn.detection.draw.draw``."""
        return draw(image, self.boxes, self.labels, self.scores, self.names, font)

    def document(self) -> list:
        """As plain values for JSON: a list of {"label", "name", "score", "box"}."""
        return [{"label": int(label), "name": name, "score": float(score), "box": [float(side) for side in box]}
                for label, name, score, box in zip(self.labels, self.names, self.scores, self.boxes)]

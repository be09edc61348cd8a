"""What a detector found in one image."""

from dataclasses import dataclass

import numpy as np

from minicnn.detection.draw import draw


@dataclass
class Detections:
    """The objects of one image, the surest first.

    Args:
        boxes: (D, 4) float32, x1, y1, x2, y2 in pixels of the original image.
        labels: (D,) int64; 0, the background, is none of them.
        scores: (D,) float32, descending.
        names: list of str, the D names of the labels.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    names: list

    def __len__(self):
        return len(self.scores)

    def above(self, score):
        """The detections of a higher score than that."""
        keep = self.scores > score
        return Detections(self.boxes[keep], self.labels[keep], self.scores[keep],
                          [name for name, kept in zip(self.names, keep) if kept])

    def draw(self, image):
        """The image, anything ``minicnn.data.images.as_image`` takes, with the boxes on it: a new (H, W, 3) uint8."""
        return draw(image, self.boxes, self.labels, self.scores, self.names)

    def document(self):
        """As plain values for JSON: a list of {"label", "name", "score", "box"}."""
        return [{"label": int(label), "name": name, "score": float(score), "box": [float(side) for side in box]}
                for label, name, score, box in zip(self.labels, self.names, self.scores, self.boxes)]

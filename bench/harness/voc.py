"""The real detector on VOC's test photographs, and what torchvision found in them."""

import json
from pathlib import Path

import numpy as np
from ladder import match, pairs
from thresholds import explain

from minicnn.data.images import as_input

SHARED = Path(__file__).parents[3] / "shared"
WEIGHTS = SHARED / "weights" / "fasterrcnn_vgg16_voc.pth"
PHOTOGRAPHS = SHARED / "data" / "voc" / "VOC2007" / "JPEGImages"


def recorded():
    """{image: (boxes, scores, labels)} as torchvision found them."""
    rows = json.loads((WEIGHTS.parent / "test_detections.json").read_text())
    tables = {name: np.array(table).reshape(-1, 6) for name, table in rows.items()}
    return {name: (table[:, 2:], table[:, 1], table[:, 0].astype(int)) for name, table in tables.items()}


def compare(model, name, theirs):
    """One photograph: what differs, and why.

    Returns:
        {"recorded", "matched": numbers of detections, "extra": of ours without a partner, "pixels", "score": the worst differences of
        those matched, "reasons": for each without a partner, on either side, the threshold that it came close to, or None}.
    """
    path = PHOTOGRAPHS / f"{name}.jpg"
    found = model.detect(path)
    ours = found.boxes, found.scores, found.labels
    both = pairs(ours, theirs)
    pixels, score, _ = match(ours, theirs)
    alone = [tuple(array[i] for array in ours) for i in set(range(len(ours[0]))) - {i for i, _ in both}]
    missing = [tuple(array[j] for array in theirs) for j in set(range(len(theirs[0]))) - {j for _, j in both}]
    return {"recorded": len(theirs[0]), "matched": len(both), "extra": len(alone), "pixels": pixels, "score": score,
            "reasons": [explain(model, as_input(path), *one) for one in missing + alone]}

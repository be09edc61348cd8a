"""The real detector on VOC2007's test photographs, compared with what torchvision found in them."""

import json
from pathlib import Path

import numpy as np
from ladder import match, pairs
from thresholds import explain

from minicnn.data.images import as_input

SHARED = Path(__file__).parents[3] / "shared"
WEIGHTS = SHARED / "weights" / "fasterrcnn_vgg16_voc.pth"
METRICS = {"voc07": "VOC07", "voc10": "VOC10", "coco": "COCO"}          # mean average precisions and their titles
PHOTOGRAPHS = SHARED / "data" / "voc" / "VOC2007" / "JPEGImages"


def recorded():
    """{image: (boxes, scores, labels)} that torchvision found."""
    rows = json.loads((WEIGHTS.parent / "test_detections.json").read_text())
    tables = {name: np.array(table).reshape(-1, 6) for name, table in rows.items()}
    return {name: (table[:, 2:], table[:, 1], table[:, 0].astype(int)) for name, table in tables.items()}


def compare(model, name, theirs):
    """Compare our detections in one photograph with torchvision's.

    Args:
        model: the detector.
        name: of the photograph.
        theirs: boxes, scores and labels of torchvision.

    Returns:
        {"recorded": number of torchvision's detections, "matched": of pairs, "extra": of ours without a partner, "pixels", "score": the
        largest differences within a pair, "reasons": for each detection without a partner, on either side, the threshold that it came
        close to, or None}.
    """
    path = PHOTOGRAPHS / f"{name}.jpg"
    found = model.detect(path)
    ours = found.boxes, found.scores, found.labels
    matched = pairs(ours, theirs)
    pixels, score, _ = match(ours, theirs)
    extra = [tuple(array[i] for array in ours) for i in set(range(len(ours[0]))) - {i for i, _ in matched}]
    missing = [tuple(array[j] for array in theirs) for j in set(range(len(theirs[0]))) - {j for _, j in matched}]
    return {"recorded": len(theirs[0]), "matched": len(matched), "extra": len(extra), "pixels": pixels, "score": score,
            "reasons": [explain(model, as_input(path), *detection) for detection in missing + extra]}

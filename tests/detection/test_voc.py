"""The real detector finds what torchvision found with it, on photographs of VOC's test split."""

import numpy as np
import pytest
from numeric_checks import BACKENDS
from thresholds import explain, judge
from voc import PHOTOGRAPHS, WEIGHTS, compare, recorded

from minicnn.data.images import as_input
from minicnn.weight_files.convert import convert


@pytest.fixture(scope="module")
def model():
    if not WEIGHTS.exists() or not PHOTOGRAPHS.is_dir():
        pytest.skip(f"the real detector and its photographs are not in {WEIGHTS.parents[1]}")
    return convert(WEIGHTS, config=WEIGHTS.with_suffix(".json"))[0]


@pytest.mark.parametrize("backend", [*(pytest.param(name, marks=pytest.mark.slow) for name in BACKENDS[:-1]), BACKENDS[-1]],
                         indirect=True)
def test_nearly_all_detections_of_torchvision_are_found_and_of_the_rest_a_threshold_was_close(model, backend):
    theirs = recorded()
    names = list(theirs)[::25]
    assert len(names) == 20
    rows = [compare(model, name, theirs[name]) for name in names]
    assert sum(row["recorded"] for row in rows) > 200
    assert sum(row["matched"] for row in rows) >= 0.995 * sum(row["recorded"] for row in rows)
    assert all(reason for row in rows for reason in row["reasons"]), rows


def test_a_detection_that_a_threshold_removed_is_explained_by_it_and_no_other(model):
    """Move each threshold a little past a detection: the reason is found; move it far: there is none."""
    name = "000015"
    image = as_input(PHOTOGRAPHS / f"{name}.jpg")
    heads, thresh = model.roi_heads, model.roi_heads.nms_thresh
    heads.nms_thresh = 1.0                                          # nothing is suppressed: far more than with 0.5
    loose = model.detect(PHOTOGRAPHS / f"{name}.jpg")
    heads.nms_thresh = thresh
    kept = model.detect(PHOTOGRAPHS / f"{name}.jpg")
    same = [any(np.abs(kept.boxes - box).max(axis=1) < 1e-3) for box in loose.boxes]
    suppressed = [i for i, one in enumerate(same) if not one]
    assert suppressed
    reasons = [explain(model, image, loose.boxes[i], loose.scores[i], loose.labels[i]) for i in suppressed[:3]]
    assert reasons.count(None) >= 2                                 # an overlap far above 0.5 is no close call

    i = next(i for i in range(len(kept)) if kept.scores[i] > 0.2)
    heads.score_thresh, before = float(kept.scores[i]) + 5e-4, heads.score_thresh
    assert "at the threshold" in explain(model, image, kept.boxes[i], kept.scores[i], kept.labels[i])
    heads.score_thresh = before


def test_close_calls():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5.004], [0, 0, 10, 9]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert judge(boxes, scores, np.array([0]), 1, 0.5) == (False, "overlap 0.5004 at the threshold 0.5")
    assert judge(boxes, scores, np.array([0, 1]), 2, 0.5) == (True, None)
    even = np.array([0.7005, 0.1, 0.7], np.float32)
    assert judge(boxes, even, np.array([0]), 2, 0.5) == (False, "score 0.7000 at that of a box it overlaps by 0.9000")
    assert judge(boxes, scores, np.array([1, 2]), 0, 0.5) == (False, None)              # they score less

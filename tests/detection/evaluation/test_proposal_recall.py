"""The recall of proposals, by hand and against loops."""

import numpy as np
import pytest
from annotated_sets import annotated, image, random_set
from coco_metric_loops import overlap
from numpy.testing import assert_array_equal
from small_detector import scene, small_detector

from minicnn.detection.evaluation.proposal_recall import proposal_recall, with_proposals


def test_by_hand():
    """The second proposal finds the second object, of whatever class; exactly half is enough; a difficult object does not count."""
    set_ = annotated([image("a", [(1, (0, 0, 10, 10)), (2, (20, 20, 30, 30)), (1, (50, 50, 60, 60), "difficult")]), image("b", [])])
    proposals = [np.array([[0, 0, 10, 5], [20, 20, 30, 30], [50, 50, 60, 60]], np.float32), np.empty((0, 4), np.float32)]
    assert proposal_recall(set_, proposals, (1, 2, 300)) == {1: 0.5, 2: 1.0, 300: 1.0}
    assert proposal_recall(set_, proposals, (2,), 0.6) == {2: 0.5}
    assert proposal_recall(annotated([image("a", [])]), proposals[1:]) == {50: None, 100: None, 300: None}


def test_equals_loops():
    rng = np.random.default_rng(0)
    set_, found = random_set(rng, images=20, detections=30)
    proposals = [boxes for boxes, *_ in found]
    for count in (1, 3, 30):
        outcomes = [any(overlap(box, truth, False) >= 0.5 for box in boxes[:count]) for one, boxes in zip(set_.images, proposals)
                for truth, difficult, crowd in zip(one.boxes.astype(float), one.difficult, one.crowd) if not (difficult or crowd)]
        assert proposal_recall(set_, proposals, (count,)) == {count: pytest.approx(np.mean(outcomes))}
    with pytest.raises(ValueError):
        proposal_recall(set_, proposals[1:])


def test_proposals_are_what_the_box_head_looked_at(backend):
    """In the image's pixels; the detections are those without looking, and afterwards the model is as before."""
    model, image = small_detector(), scene(60, 90).transpose(2, 0, 1).astype(np.float32) / 255
    layers = list(model.named_layers())
    found, proposals = with_proposals(model, image)
    for got, expected in zip(found, model([image])[0], strict=True):
        assert_array_equal(got, expected)
    assert list(model.named_layers()) == layers

    batch = model.transform([image])
    expected, = model.rpn(model.backbone(batch.pixels), batch)
    assert len(proposals) == len(expected) > 20
    assert np.abs(proposals - expected * np.float32([90 / batch.sizes[0][1], 60 / batch.sizes[0][0]] * 2)).max() < 0.01
    assert (proposals >= 0).all() and (proposals <= [90.01, 60.01, 90.01, 60.01]).all()

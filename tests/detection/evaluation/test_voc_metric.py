"""VOC's metric against the development kit's loops, and on two outside cases; each usual mistake would show."""

import json
from dataclasses import replace

import numpy as np
import pytest
from annotated_sets import NOTHING, annotated, case, detections, image, random_set
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.detection.evaluation.average_precision import AREA, VOC07_LEVELS, average_precision
from minicnn.detection.evaluation.ranking import FALSE_POSITIVE as FP
from minicnn.detection.evaluation.ranking import IGNORED, rank
from minicnn.detection.evaluation.ranking import TRUE_POSITIVE as TP
from minicnn.detection.evaluation.voc_metric import voc_outcomes


def kit_hits(ranking, iou_threshold=0.5):
    """VOCevaldet.m in its own coordinates, from 1 and both corners inside, every detection against every object."""
    outcomes, taken = [], set()
    for (x1, y1, x2, y2), where in zip(ranking.boxes, ranking.images):
        best, at = -np.inf, None
        for truth, (box, there) in enumerate(zip(ranking.gt_boxes, ranking.gt_images)):
            if there != where:
                continue
            width = min(x2, box[2]) - max(x1 + 1, box[0] + 1) + 1
            height = min(y2, box[3]) - max(y1 + 1, box[1] + 1) + 1
            if width > 0 and height > 0:
                union = (x2 - (x1 + 1) + 1) * (y2 - (y1 + 1) + 1) + (box[2] - box[0]) * (box[3] - box[1]) - width * height
                if width * height / union > best:
                    best, at = width * height / union, truth
        if best > iou_threshold:
            outcomes.append(IGNORED if ranking.ignored[at] else FP if at in taken else TP)
            if not ranking.ignored[at]:
                taken.add(at)
        else:
            outcomes.append(FP)
    return outcomes


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_kits_loops(seed):
    for ranking in rank(*random_set(np.random.default_rng(seed))):
        for threshold in (0.5, 0.3):
            assert_array_equal(voc_outcomes(ranking, threshold), kit_hits(ranking, threshold))


def parse_outcomes(truths, *rows):
    return voc_outcomes(rank(annotated([image("a", truths)]), [detections(*rows)])[0]).tolist()


def test_by_hand():
    """The highest score takes the object; a duplicate is a false positive; a difficult object takes any number, none of which counts."""
    box = (10, 10, 20, 20)
    assert parse_outcomes([(1, box)], (1, 0.2, box), (1, 0.9, (10, 10, 20, 18))) == [TP, FP]
    assert parse_outcomes([(1, box, "difficult")], (1, 0.2, box), (1, 0.9, box)) == [IGNORED, IGNORED]
    assert parse_outcomes([(1, box, "crowd")], (1, 0.2, box)) == [IGNORED]
    assert parse_outcomes([(2, box)], (1, 0.2, box)) == [FP]


def test_exactly_half_is_not_enough():
    assert parse_outcomes([(1, (0, 0, 10, 10))], (1, 0.9, (0, 0, 10, 5))) == [FP]
    assert parse_outcomes([(1, (0, 0, 10, 10))], (1, 0.9, (0, 0, 10, 6))) == [TP]


def test_it_is_for_the_object_it_overlaps_most_even_if_another_is_free():
    """COCO would give the second detection the other object."""
    assert parse_outcomes([(1, (0, 0, 10, 10)), (1, (0, 0, 10, 8))], (1, 0.9, (0, 0, 10, 10)), (1, 0.8, (0, 0, 10, 9.5))) == [TP, FP]


@pytest.fixture(scope="module")
def tiny_yolo():
    """4952 images, 254 590 detections, and what each class's average must be."""
    from minicnn.data import load_annotated
    from minicnn.detection.evaluation.read_detections import read_detections
    folder = case("voc2007_test_tiny_yolo")
    images = load_annotated(case("voc2007_test"), "test")
    read = read_detections(folder, images)
    assert read.left_out == {} and len(images.images) == 4952
    return images, read.found, json.loads((folder / "expected.json").read_text())


def averages(images, found, levels=VOC07_LEVELS):
    """(K, 2): by levels and by area."""
    return np.array([average_precision(ranking.images, np.stack([voc_outcomes(ranking)] * 2), [levels, AREA], ranking.objects)[:, 0]
                     for ranking in rank(images, found)])


def test_tiny_yolo(tiny_yolo):
    images, found, expected = tiny_yolo
    values = averages(images, found)
    assert_allclose(values.mean(axis=0), [expected["mean"]["ap_11point"], expected["mean"]["ap_area"]], atol=1e-6)
    assert abs(values[:, 0].mean() - 0.539744) < 1e-5
    for ranking, row in zip(rank(images, found), values):
        answer, outcomes = expected["per_class"][ranking.name], voc_outcomes(ranking)
        assert_allclose(row, [answer["ap_11point"], answer["ap_area"]], atol=5e-6)      # many scores are equal
        assert ranking.objects.sum() == answer["npos"] and len(outcomes) == answer["detections"]
        assert [(outcomes == kind).sum() for kind in (TP, FP, IGNORED)] == [answer[key] for key in ("tp", "fp", "ignored_difficult")]


def inside(boxes):
    """Boxes that lack the + 1 in every overlap."""
    return np.concatenate([boxes[:, :2] + 1, boxes[:, 2:]], axis=1)


@pytest.mark.parametrize("mistake, expected", [("no +1", 0.536032), ("difficult counted", 0.479746), ("exact tenths", 0.539810)])
def test_each_usual_mistake_would_show_on_tiny_yolo(tiny_yolo, mistake, expected):
    images, found, _ = tiny_yolo
    levels = np.arange(11) / 10 if mistake == "exact tenths" else VOC07_LEVELS
    if mistake == "no +1":
        images = replace(images, images=[replace(one, boxes=inside(one.boxes)) for one in images.images])
        found = [(np.maximum(inside(boxes), inside(boxes)[:, [0, 1, 0, 1]]), *rest) for boxes, *rest in found]
    elif mistake == "difficult counted":
        images = replace(images, images=[replace(one, difficult=np.zeros_like(one.difficult)) for one in images.images])
    assert averages(images, found, levels)[:, 0].mean() == pytest.approx(expected, abs=1e-6)


def test_padilla():
    """Seven images at overlap 0.3; x, y, width and height there, both corners inside, with + 1 after x + width."""
    folder = case("padilla")

    def boxes(file, numbers):
        rows = [line.split() for line in file.read_text().splitlines()]
        return [(*map(float, row[1:numbers - 3]), tuple(map(float, row[numbers - 3:]))) for row in rows]

    def corners(x, y, w, h):
        return x - 1, y - 1, x + w, y + h
    truths, found = [], []
    for file in sorted((folder / "groundtruths").iterdir()):
        truths.append(image(file.stem, [(1, corners(*box)) for box, in boxes(file, 4)]))
        there = folder / "detections" / file.name
        found.append(detections(*[(1, score, corners(*box)) for score, box in boxes(there, 5)]) if there.exists() else NOTHING)
    ranking, = rank(annotated(truths, ["person"]), found)
    assert ranking.objects.sum() == 15 and len(ranking.scores) == 24
    outcomes, rules = np.stack([voc_outcomes(ranking, 0.3)] * 2), [AREA, np.linspace(0, 1, 11)]
    values = average_precision(ranking.images, outcomes, rules, ranking.objects)[:, 0]
    assert_allclose(values, [0.245686680, 0.268398], atol=1e-6)
    sides = ranking.boxes.copy()
    ranking.boxes[:, :2] += 1
    ranking.gt_boxes[:, :2] += 1                                          # without + 1, as the case's SOURCE.md says
    assert (voc_outcomes(ranking, 0.3) == TP).sum() == 6
    ranking.boxes[:], ranking.gt_boxes[:, :2] = sides, ranking.gt_boxes[:, :2] - 1
    assert (voc_outcomes(ranking, 0.3) == TP).sum() == 7

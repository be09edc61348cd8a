"""TIDE's kinds of errors: each by hand, and all against loops that go image by image as the paper's program does."""

import numpy as np
import pytest
from annotated_sets import NOTHING, annotated, detections, image, random_set
from coco_metric_loops import LEVELS, overlap

from minicnn.detection.evaluation.coco_metric import coco_matches, coco_outcomes
from minicnn.detection.evaluation.error_kinds import KINDS, error_kinds
from minicnn.detection.evaluation.ranking import IGNORED, TRUE_POSITIVE, rank

BOX, NEAR, FAR = (0, 0, 40, 40), (0, 0, 40, 16), (60, 60, 90, 90)      # NEAR overlaps BOX by 0.4


def matched(set_, found):
    rankings = rank(set_, found)
    matched = [coco_matches(ranking) for ranking in rankings]
    outcomes = [coco_outcomes(*both)[0, 0] for both in zip(rankings, matched)]
    return rankings, outcomes, [one[0, 0] for one in matched]


def kinds_of(truths, *rows):
    result = error_kinds(*matched(annotated([image("a", truths)]), [detections(*rows)]))
    assert list(result) == list(KINDS)
    return {kind: (row["count"], round(row["dAP"], 6)) for kind, row in result.items() if row["count"]}


def test_a_perfect_detector_has_no_errors():
    assert kinds_of([(1, BOX), (2, FAR)], (1, 0.9, BOX), (2, 0.8, FAR)) == {}


def test_each_kind_by_hand():
    """Of one object, so that mending gains all or half: wrong before right makes a precision of 1/2."""
    assert kinds_of([(1, BOX)], (1, 0.9, NEAR)) == {"place": (1, 1.0)}
    assert kinds_of([(1, BOX)], (2, 0.9, BOX)) == {"class": (1, 1.0)}
    assert kinds_of([(1, BOX)], (1, 0.9, FAR), (1, 0.8, BOX)) == {"background": (1, 0.5)}
    assert kinds_of([(1, BOX)], (1, 0.9, BOX), (1, 0.8, BOX)) == {"duplicate": (1, 0.0)}
    assert kinds_of([(1, BOX)], (2, 0.9, NEAR), (1, 0.8, BOX)) == {"both": (1, 0.0)}               # its class has no objects
    assert kinds_of([(1, BOX), (2, FAR)], (2, 0.9, NEAR), (1, 0.8, BOX), (2, 0.7, FAR)) == {"both": (1, 0.25)}
    assert kinds_of([(1, BOX), (1, FAR)], (1, 0.9, BOX)) == {"missed": (1, round(50 / 101, 6))}


def test_the_error_of_highest_score_about_an_object_is_corrected_and_the_others_removed():
    result = kinds_of([(1, BOX)], (1, 0.9, NEAR), (1, 0.8, (0, 0, 40, 12)))
    assert result == {"place": (2, 1.0)}
    result = kinds_of([(1, BOX)], (2, 0.9, BOX), (1, 0.8, NEAR))                # the surer one is of class: place alone gains nothing
    assert result == {"class": (1, 1.0), "place": (1, 0.0)}


def test_errors_about_an_object_that_is_found_only_go():
    """The wrong place stands before the right one; the object is not missed."""
    assert kinds_of([(1, BOX)], (1, 0.9, NEAR), (1, 0.8, BOX)) == {"place": (1, 0.5)}


def test_the_order_of_the_tests():
    """Place comes before class, class before duplicate; ignored objects are in no test."""
    assert list(kinds_of([(1, BOX), (2, NEAR)], (1, 0.9, NEAR))) == ["place", "missed"]
    assert list(kinds_of([(1, BOX), (2, BOX)], (1, 0.9, BOX), (1, 0.8, BOX))) == ["class"]
    assert list(kinds_of([(1, BOX), (2, BOX, "difficult")], (1, 0.9, BOX), (1, 0.8, BOX))) == ["duplicate"]
    assert list(kinds_of([(1, FAR), (2, BOX, "difficult")], (1, 0.9, BOX))) == ["background", "missed"]


def test_what_is_ignored_is_no_error():
    assert kinds_of([(1, BOX, "difficult"), (1, FAR)], (1, 0.9, BOX), (1, 0.8, FAR)) == {}


def test_no_objects_at_all():
    result = error_kinds(*matched(annotated([image("a", [])]), [detections((1, 0.5, BOX))]))
    assert result["background"] == {"count": 1, "dAP": None} and result["missed"] == {"count": 0, "dAP": None}
    result = error_kinds(*matched(annotated([image("a", [(1, BOX)])]), [NOTHING]))
    assert result["missed"] == {"count": 1, "dAP": 0.0}                         # no object is left to find


def ap(rows, objects):
    """rows: (score, right)."""
    if not objects:
        return 0.0
    true, curve = 0, []
    for number, (_, right) in enumerate(sorted(rows, key=lambda row: -row[0]), start=1):
        true += right
        curve.append((true / objects, true / number))
    return float(np.mean([max((precision for recall, precision in curve if recall >= level), default=0) for level in LEVELS]))


def loops(set_, found):
    """Counts and dAP, object by object."""
    rankings, all_outcomes, all_matched = matched(set_, found)
    classes, dets, truths = range(len(rankings)), [], []
    for label, ranking in enumerate(rankings):
        first = len(truths)
        for box, where, ignored in zip(ranking.gt_boxes, ranking.gt_images, ranking.ignored):
            truths.append({"box": box, "image": where, "label": label, "ignored": ignored, "used": False, "about": []})
        for place, (box, where, score) in enumerate(zip(ranking.boxes, ranking.images, ranking.scores)):
            hit, matched_to = all_outcomes[label][place], all_matched[label][place]
            if hit == TRUE_POSITIVE:
                truths[first + matched_to]["used"] = True
            if hit != IGNORED:
                dets.append({"box": box, "image": where, "label": label, "score": score, "right": hit == TRUE_POSITIVE, "kind": None})
    for one in dets:
        if one["right"]:
            continue
        there = [(overlap(one["box"], truth["box"], False), truth) for truth in truths
                 if truth["image"] == one["image"] and not truth["ignored"]]
        own = max((row for row in there if row[1]["label"] == one["label"]), key=lambda row: row[0], default=(0, None))
        other = max((row for row in there if row[1]["label"] != one["label"]), key=lambda row: row[0], default=(0, None))
        if 0.1 <= own[0] <= 0.5:
            one["kind"], target = "place", own[1]
        elif other[0] >= 0.5:
            one["kind"], target = "class", other[1]
        else:
            target = None
            doubled = any(iou >= 0.5 and truth["used"] and truth["label"] == one["label"] for iou, truth in there)
            one["kind"] = "duplicate" if doubled else "background" if max(own[0], other[0]) <= 0.1 else "both"
        if target is not None and not target["used"]:
            target["about"].append(one)
    counted = [truth for truth in truths if not truth["ignored"]]
    missed = [truth for truth in counted if not truth["used"] and not truth["about"]]
    objects = [sum(truth["label"] == label for truth in counted) for label in classes]
    chosen = {id(max(truth["about"], key=lambda one: one["score"])): truth["label"] for truth in truths if truth["about"]}

    def mean(kind):
        values = []
        for label in classes:
            rows, left = [], objects[label]
            if kind == "missed":
                left -= sum(truth["label"] == label for truth in missed)
            for one in dets:
                if one["kind"] != kind:
                    rows += [(one["score"], one["right"])] * (one["label"] == label)
                elif id(one) in chosen and kind in ("place", "class"):
                    rows += [(one["score"], True)] * (chosen[id(one)] == label)
            if objects[label]:
                values.append(ap(rows, left))
        return np.mean(values)
    before = mean("none of them")
    return {kind: {"count": len(missed) if kind == "missed" else sum(one["kind"] == kind for one in dets),
                   "dAP": max(mean(kind) - before, 0)} for kind in KINDS}


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_loops(seed):
    set_, found = random_set(np.random.default_rng(seed), ties=False, images=15, most=6, detections=16)
    got, expected = error_kinds(*matched(set_, found)), loops(set_, found)
    assert {kind: row["count"] for kind, row in got.items()} == {kind: row["count"] for kind, row in expected.items()}
    for kind in KINDS:
        assert got[kind]["dAP"] == pytest.approx(expected[kind]["dAP"], abs=1e-12), kind


# by the authors' own program, tidecv 1.0.1, whose dAP is in percent: recorded, in the order of KINDS
THEIRS = {
    1: [(5, 1.912883), (30, 13.77581), (2, 0.147747), (8, 0.420056), (30, 4.704787), (30, 9.074623)],
    3: [(12, 5.803334), (23, 13.451511), (4, 0.327851), (24, 2.689675), (8, 1.317416), (22, 14.206793)],
    5: [(15, 9.509161), (23, 10.109166), (3, 1.366824), (25, 2.023088), (25, 3.496749), (23, 9.81682)],
}


@pytest.mark.parametrize("seed", THEIRS)
def test_equals_the_authors_program(seed):
    """On sets without what it treats otherwise: ignored objects, and detections of classes without objects."""
    set_, found = random_set(np.random.default_rng(seed), ties=False, crowd=False, images=20, most=6, detections=14)
    for one in set_.images:
        one.difficult[:] = False
    got = error_kinds(*matched(set_, [tuple(column[labels < 3] for column in (boxes, scores, labels)) for boxes, scores, labels in found]))
    assert [(row["count"], pytest.approx(100 * row["dAP"], abs=1e-5)) for row in got.values()] == THEIRS[seed]

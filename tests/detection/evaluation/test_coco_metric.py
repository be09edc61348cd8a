"""COCO's metric against loops as its code has them, against pycocotools live, and on an outside case."""

import contextlib
import io

import numpy as np
import pytest
from annotated_sets import annotated, case, coco_case, detections, image, random_set, read_gzipped
from coco_metric_loops import numbers
from numpy.testing import assert_array_equal

from minicnn.data import load_annotated
from minicnn.detection.evaluation.coco_metric import AREAS, THRESHOLDS, coco_matches, coco_numbers, coco_outcomes
from minicnn.detection.evaluation.ranking import FALSE_POSITIVE as FP
from minicnn.detection.evaluation.ranking import IGNORED, rank
from minicnn.detection.evaluation.ranking import TRUE_POSITIVE as TP


def ours(set_, found):
    rankings = rank(set_, found)
    return coco_numbers(rankings, [coco_outcomes(ranking, coco_matches(ranking)) for ranking in rankings])


def assert_same(got, expected, tolerance=1e-6):
    assert list(got) == list(expected)
    for name, value in expected.items():
        if value is None:
            assert got[name] is None, name
        else:
            assert got[name] == pytest.approx(value, abs=tolerance), name


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_loops(seed):
    set_, found = random_set(np.random.default_rng(seed), images=6)
    expected = numbers(set_, found)
    assert_same(ours(set_, found), expected, 1e-12)


def test_more_than_a_hundred_detections_of_a_class_in_a_image():
    """The hundred highest scores of each class count; the object that only a later detection finds is missed."""
    far = [(1, 0.9 - 0.001 * i, (50, 50, 60, 60)) for i in range(100)]
    truths = annotated([image("a", [(1, (0, 0, 10, 10)), (2, (0, 0, 10, 10))])])
    found = [detections(*far, (1, 0.1, (0, 0, 10, 10)), (2, 0.05, (0, 0, 10, 10)))]
    assert_same(ours(truths, found), numbers(truths, found))
    assert ours(truths, found)["AP"] == 0.5
    assert ours(truths, [detections(*far[1:], (1, 0.1, (0, 0, 10, 10)))])["AR100"] == 0.5


def parse_outcomes(truths, *rows, area="all", threshold=0):
    ranking = rank(annotated([image("a", truths)]), [detections(*rows)])[0]
    return coco_outcomes(ranking, coco_matches(ranking))[list(AREAS).index(area), threshold].tolist()


BOX = (10, 10, 20, 20)


def test_by_hand():
    assert parse_outcomes([(1, BOX)], (1, 0.9, BOX), (1, 0.8, BOX)) == [TP, FP]
    assert parse_outcomes([(1, BOX), (1, (10, 10, 20, 18))], (1, 0.9, BOX), (1, 0.8, BOX)) == [TP, TP]       # the next best is free
    assert parse_outcomes([(1, BOX, "difficult")], (1, 0.9, BOX), (1, 0.8, BOX)) == [IGNORED, FP]              # taken once
    assert parse_outcomes([(1, BOX, "crowd")], (1, 0.9, BOX), (1, 0.8, BOX)) == [IGNORED, IGNORED]
    assert parse_outcomes([(1, (0, 0, 100, 100), "crowd")], (1, 0.9, BOX)) == [IGNORED]                           # over its own area
    assert parse_outcomes([(1, (0, 0, 100, 100), "difficult")], (1, 0.9, BOX)) == [FP]
    assert parse_outcomes([(1, BOX, "difficult"), (1, (10, 10, 20, 16))], (1, 0.9, BOX)) == [TP]               # what counts comes first
    assert parse_outcomes([(1, (0, 0, 10, 10))], (1, 0.9, (0, 0, 10, 5))) == [TP]                              # exactly half is enough


def test_areas_by_hand():
    """An object of another size is ignored, and so is a false detection whose own area is of another size."""
    assert parse_outcomes([(1, BOX)], (1, 0.9, BOX), (1, 0.8, (50, 50, 60, 60)), (1, 0.7, (0, 0, 90, 90)), area="small") == [
        TP, FP, IGNORED]
    assert parse_outcomes([(1, BOX)], (1, 0.9, BOX), (1, 0.8, (50, 50, 60, 60)), (1, 0.7, (0, 0, 90, 90)), area="large") == [IGNORED] * 3
    assert parse_outcomes([(1, (0, 0, 32, 32))], (1, 0.9, (0, 0, 32, 32)), area="small") == [TP]                # ends are included
    assert parse_outcomes([(1, (0, 0, 32, 32))], (1, 0.9, (0, 0, 32, 32)), area="medium") == [TP]


def test_partners_are_the_objects():
    ranking = rank(annotated([image("a", []), image("b", [(1, (50, 50, 60, 60)), (1, BOX)])]),
                   [detections((1, 0.95, BOX)), detections((1, 0.9, BOX), (1, 0.8, (50, 50, 60, 58)))])[0]
    matched = coco_matches(ranking)
    assert matched.shape == (len(AREAS), len(THRESHOLDS), 3)
    assert_array_equal(matched[0, 0], [-1, 1, 0])
    assert_array_equal(matched[0, -1], [-1, 1, -1])


def test_nothing_to_find_and_nothing_found():
    empty = annotated([image("a", []), image("b", [(1, BOX, "difficult")])])
    assert set(ours(empty, [detections((1, 0.5, BOX)), detections()]).values()) == {None}
    none = ours(annotated([image("a", [(1, BOX)])]), [detections()])
    assert none["AP"] == none["AR100"] == none["AP small"] == 0 and none["AP large"] is None


def test_the_outside_case():
    set_, found, expected = coco_case()
    names = {"AP small": "APsmall", "AP medium": "APmedium", "AP large": "APlarge", "AR small": "ARsmall", "AR medium": "ARmedium",
             "AR large": "ARlarge"}
    got = ours(set_, found)
    for name, value in got.items():
        assert value == pytest.approx(expected["pycocotools_2.0.11"][names.get(name, name)], abs=1e-6), name
    assert len(got) == 12


def test_the_outside_case_by_our_reader():
    """The same from the file of truths: boxes in float32, and images in an order on which equal scores depend."""
    set_, found, expected = coco_case()
    again = load_annotated(case("coco_val2014_fakebbox100") / "ground_truth.json.gz", "whatever")
    assert [one.name for one in again.images] == [one.name for one in set_.images] and again.class_names == set_.class_names
    assert_same(ours(again, found), ours(set_, found), 1e-12)
    assert ours(again, found)["AP"] == pytest.approx(expected["stated_by_repository"]["AP"], abs=1e-6)


# live

def as_coco(set_, found):
    """The set in COCO's form, and the detections in that of its results."""
    def sides(box):
        x1, y1, x2, y2 = map(float, box)
        return [x1, y1, x2 - x1, y2 - y1]
    truths = [{"image_id": number, "category_id": int(label), "bbox": sides(box), "area": float(area), "iscrowd": int(crowd),
               "difficult": bool(difficult)} for number, one in enumerate(set_.images) for box, label, area, crowd, difficult in
              zip(one.boxes, one.labels, one.areas, one.crowd, one.difficult)]
    for number, truth in enumerate(truths, start=1):
        truth["id"] = number
    rows = [{"image_id": number, "category_id": int(label), "bbox": sides(box), "score": float(score)}
            for number, columns in enumerate(found) for box, score, label in zip(*columns)]
    return {"images": [{"id": number} for number in range(len(set_.images))], "annotations": truths,
            "categories": [{"id": label} for label in range(1, len(set_.class_names))]}, rows


def pycocotools_numbers(dataset, rows):
    """By the package itself; ``difficult`` is its ``ignore``, which its own preparation would overwrite."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    class Evaluation(COCOeval):
        def _prepare(self):
            super()._prepare()
            for truths in self._gts.values():
                for truth in truths:
                    truth["ignore"] = truth["iscrowd"] or truth.get("difficult", False)

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
        evaluation = Evaluation(coco, coco.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    order = ["AP", "AP50", "AP75", "AP small", "AP medium", "AP large", "AR1", "AR10", "AR100", "AR small", "AR medium", "AR large"]
    return {name: None if value == -1 else float(value) for name, value in zip(order, evaluation.stats)}


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("options", [{}, {"ties": False, "crowd": False}, {"most": 2, "detections": 150}], ids=["all", "plain", "many"])
def test_equals_pycocotools(seed, options):
    set_, found = random_set(np.random.default_rng(seed), **options)
    expected = pycocotools_numbers(*as_coco(set_, found))
    assert_same(ours(set_, found), expected, 1e-9)


@pytest.mark.parity
def test_equals_pycocotools_on_the_outside_case():
    """It reads the files' own x, y, width and height; we have boxes that went through float32."""
    set_, found, _ = coco_case()
    folder = case("coco_val2014_fakebbox100")
    files = [read_gzipped(folder / name) for name in ("ground_truth.json.gz", "detections.json.gz")]
    assert set_.images[0].boxes.dtype == np.float32
    assert_same(ours(set_, found), pycocotools_numbers(*files))

"""Matches as text and back; their averages are the metrics'."""

import json

import numpy as np
import pytest
from annotated_sets import random_set
from coco_metric_loops import numbers as coco_loops
from numpy.testing import assert_array_equal

from minicnn.detection.evaluation.evaluate import evaluate
from minicnn.detection.evaluation.matches import DAMAGED, Matches, parse_outcomes


def some_matches():
    return evaluate(*random_set(np.random.default_rng(0))).matches


def test_text_and_back():
    for one in some_matches():
        document = json.loads(json.dumps(one.document()))
        again = Matches.from_document(document, len(one.objects))
        for name in ("images", "objects", "voc", "coco"):
            assert_array_equal(getattr(again, name), getattr(one, name))
        assert_array_equal(again.scores, one.scores)                    # sixteenths: six digits are enough
        assert_array_equal(again.average_precisions(), one.average_precisions())


def test_letters_by_hand():
    assert_array_equal(parse_outcomes("TF-"), [1, 0, -1])
    one = Matches(np.array([2, 0]), np.array([0.9, 0.12345678]), np.array([1, 0, 2]), np.array([1, -1]), np.zeros((10, 2), np.int8))
    assert one.document() == {"objects": "0 2 2", "pictures": "2 0", "scores": "0.9 0.123457", "voc": "T-", "coco": ["FF"] * 10}


def test_the_last_average_is_cocos():
    set_, found = random_set(np.random.default_rng(1), images=6)
    values = np.array([one.average_precisions()[2, 0] for one in evaluate(set_, found).matches])
    assert np.nanmean(values) == pytest.approx(coco_loops(set_, found)["AP"], abs=1e-12)


@pytest.mark.parametrize("key, value", [
    ("voc", "T"), ("voc", "TX"), ("pictures", "0 3"), ("pictures", "0 -1"), ("pictures", "0 a"), ("pictures", "0"), ("objects", "7"),
    ("coco", ["TF"] * 9), ("coco", ["T"] * 10), ("scores", "1"), ("scores", None), ("voc", 5), ("coco", None),
])
def test_damaged_text_is_refused(key, value):
    document = {"objects": "0", "pictures": "0 1", "scores": "1 0.5", "voc": "TF", "coco": ["TF"] * 10}
    assert len(Matches.from_document(document, 3).voc) == 2
    with pytest.raises(DAMAGED):
        Matches.from_document({**document, key: value}, 3)

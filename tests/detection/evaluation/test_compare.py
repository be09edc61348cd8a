"""Comparisons of evaluations: differences on the same draws; what is not of the same images is refused."""

import copy

import numpy as np
import pytest
from annotated_sets import annotated, detections, image, random_set

from minicnn.detection.evaluation.bootstrap import interval, resampled
from minicnn.detection.evaluation.compare import compare, read_evaluation
from minicnn.detection.evaluation.evaluate import class_means, evaluate
from minicnn.detection.evaluation.matches import RULES
from minicnn.errors import InputError


def better(set_, found):
    """The same detections, but one in three replaced by what is really there."""
    return [(np.concatenate([boxes, one.boxes[::3].astype(float)]), np.concatenate([scores, np.full(len(one.boxes[::3]), 0.9)]),
             np.concatenate([labels, one.labels[::3]])) for one, (boxes, scores, labels) in zip(set_.images, found)]


@pytest.fixture(scope="module")
def pair():
    set_, found = random_set(np.random.default_rng(2), images=25)
    return [evaluate(set_, some) for some in (found, better(set_, found))]


def test_differences_are_the_evaluations(pair):
    """And their intervals those of the paired replicates, computed here once more from the matches."""
    first, second = (one.match_document() for one in pair)
    result = compare(first, second, np.random.default_rng(7))
    a, b = (evaluation.document for evaluation in pair)
    weights = resampled(25, np.random.default_rng(7))
    replicates = [np.array([one.average_precisions(weights) for one in evaluation.matches]) for evaluation in pair]
    for k, rule in enumerate(RULES):
        row = result["mAP"][rule]
        assert (row["first"], row["second"]) == (pytest.approx(a["mAP"][rule]), pytest.approx(b["mAP"][rule]))
        assert row["difference"] == pytest.approx(b["mAP"][rule] - a["mAP"][rule])
        assert row["interval"] == pytest.approx(interval(class_means(replicates[1][:, k]) - class_means(replicates[0][:, k])))
        assert row["interval"][0] > 0                                                       # it is better
        one = result["per_class"]["class 1"][rule]
        assert one["difference"] == pytest.approx(b["per_class"]["class 1"][rule] - a["per_class"]["class 1"][rule])
        assert one["interval"] == pytest.approx(interval(replicates[1][0, k] - replicates[0][0, k]))
        assert result["per_class"]["class 3"][rule] == {"first": None, "second": None, "difference": None, "interval": None}
    assert result["pictures"] == 25 and result["level"] == 0.95


def test_pairing_makes_the_interval_narrower(pair):
    """Against draws of their own for each, as if the images differed."""
    first, second = (one.match_document() for one in pair)
    paired = compare(first, second, np.random.default_rng(0))["mAP"]["voc10"]["interval"]
    alone = [class_means(np.array([one.average_precisions(resampled(25, np.random.default_rng(seed))) for one in evaluation.matches])[:, 1])
             for seed, evaluation in enumerate(pair)]
    apart = interval(alone[1] - alone[0])
    assert paired[1] - paired[0] < 0.9 * (apart[1] - apart[0])


def test_a_detector_against_itself(pair):
    first = pair[0].match_document()
    for rules in (compare(first, first, np.random.default_rng(0))["mAP"],):
        for row in rules.values():
            assert row["difference"] == 0 and row["interval"] == [0, 0] and row["first"] == row["second"] > 0


def test_the_classes_may_have_another_order():
    """A network that was trained on the same classes in another order."""
    box, found = (0, 0, 10, 10), [detections((1, 0.5, (0, 0, 10, 10)))]
    one = annotated([image("a", [(1, box)])], ("cat", "dog"))
    other = annotated([image("a", [(2, box)])], ("dog", "cat"))
    result = compare(evaluate(one, found).match_document(), evaluate(other, found).match_document(), np.random.default_rng(0))
    assert result["per_class"]["cat"]["voc07"]["difference"] == -1


def change(document, *path, value):
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


@pytest.mark.parametrize("path, value, expected", [
    (("pictures", 0), "other", "1 are only in A.json, 1 only in B.json"), (("truths",), "0" * 64, "objects differ in A.json and B.json"),
    (("classes",), {"class 1": {}}, "objects differ"), (("classes",), {}, "B.json, whose matches cannot be read"),
    (("pictures",), [], "B.json, whose matches"), (("pictures",), 5, "B.json, whose matches"),
    (("pictures", 0), None, "B.json, whose matches"),
    (("classes", "class 1", "voc"), "T", "B.json, whose matches"), (("classes", "class 1"), None, "B.json, whose matches"),
    (("classes", "class 1", "pictures"), "99", "B.json, whose matches"), (("truths",), None, "B.json, whose matches"),
])
def test_what_cannot_be_compared_is_refused(pair, path, value, expected):
    first = pair[0].match_document()
    with pytest.raises(InputError, match=expected):
        compare(first, change(first, *path, value=value), np.random.default_rng(0), ("A.json", "B.json"))


def test_another_order_of_images_is_refused(pair):
    first = pair[0].match_document()
    with pytest.raises(InputError, match="their order differs"):
        compare(first, {**first, "pictures": first["pictures"][::-1]}, np.random.default_rng(0))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_evaluation_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    """As PowerShell writes what a command prints."""
    (tmp_path / "a.json").write_bytes('{"matches": {"犬": 1}}\r\n'.encode(encoding))
    assert read_evaluation(tmp_path / "a.json") == {"matches": {"犬": 1}}

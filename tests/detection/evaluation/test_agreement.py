"""Agreement of two lists of detections: the formula by hand, one to one, symmetry, and the interval."""

import itertools

import numpy as np
import pytest

from minicnn.detection.detections import Detections
from minicnn.detection.evaluation.agreement import agreement, augment, kept
from minicnn.errors import InputError

BOX, NEAR, FAR = (0, 0, 100, 100), (0, 0, 100, 60), (200, 0, 300, 100)          # IoU of BOX and NEAR: 0.6
HALF, LESS = (0, 0, 100, 50), (0, 0, 100, 49)                                   # of BOX and HALF: exactly 0.5


def found(*rows):
    """Detections of rows (name, score, box); the labels are no guide to the names."""
    boxes = np.array([box for *_, box in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, np.arange(len(rows), 0, -1), np.array([score for _, score, _ in rows], np.float32), [row[0] for row in rows])


@pytest.mark.parametrize("other, expected", [
    (("cat", 0.9, BOX), True), (("cat", 0.3, NEAR), True), (("cat", 0.9, HALF), True),
    (("cat", 0.9, LESS), False), (("cat", 0.29, BOX), False), (("dog", 0.9, BOX), False), (("cat", 0.9, FAR), False),
], ids=["same", "least score", "least overlap", "too far", "score too low", "another class", "elsewhere"])
def test_what_keeps_a_detection(other, expected):
    assert kept(found(("cat", 0.5, BOX)), found(other)).tolist() == [expected]


def test_what_is_not_sure_is_not_kept_but_keeps():
    weak, sure = found(("cat", 0.49, BOX)), found(("cat", 0.9, BOX))
    assert kept(weak, sure).tolist() == [False] and kept(sure, weak).tolist() == [True]
    figures = agreement([weak], [sure]).document
    assert figures["agreement"] == 1 and figures["network"]["objects"] == 0 and figures["original"]["objects"] == 1


def test_the_formula_by_hand():
    """Original: 3 objects, of which 2 kept; network: 4 objects, of which 2 kept: 4 of 7."""
    original = [found(("cat", 0.9, BOX), ("dog", 0.8, FAR)), found(("cat", 0.6, BOX))]
    network = [found(("dog", 0.9, BOX), ("cat", 0.7, NEAR), ("dog", 0.55, FAR), ("cat", 0.5, FAR)), found(("cat", 0.2, BOX))]
    result = agreement(network, original, ["a.jpg", "b.jpg"])
    figures = result.document
    assert figures["agreement"] == pytest.approx(4 / 7) and figures["pictures"] == 2
    assert figures["original"] == {"objects": 3, "kept": 2, "lost": 1} and figures["network"] == {"objects": 4, "kept": 2, "invented": 2}
    assert [(row["image"], row["name"], row["box"]) for row in figures["lost"]] == [("b.jpg", "cat", list(BOX))]
    assert [(row["image"], row["name"], round(row["score"], 2)) for row in figures["invented"]] == [
        ("a.jpg", "dog", 0.9), ("a.jpg", "cat", 0.5)]
    assert figures["per_class"] == {"cat": {"agreement": 2 / 4, "original": 2, "lost": 1, "network": 2, "invented": 1},
                                    "dog": {"agreement": 2 / 3, "original": 1, "lost": 0, "network": 2, "invented": 1}}
    assert figures["per_image"] == [{"image": "a.jpg", "original": 2, "lost": 0, "network": 4, "invented": 2},
                                    {"image": "b.jpg", "original": 1, "lost": 1, "network": 0, "invented": 0}]
    assert "interval" not in figures and result.counts().tolist() == [[2, 1], [2, 0], [4, 0], [2, 0]]


def test_one_detection_keeps_only_one():
    """And it keeps the one of the higher score, in whatever order they come."""
    two, one = found(("cat", 0.6, BOX), ("cat", 0.9, NEAR)), found(("cat", 0.9, BOX))
    assert kept(two, one).tolist() == [False, True] and kept(one, two).tolist() == [True]
    assert agreement([two], [one]).document["agreement"] == pytest.approx(2 / 3)


def test_a_partner_is_exchanged_so_that_both_are_kept():
    """The first fits both of the others, the second only one of them."""
    first, second = ("cat", 0.9, BOX), ("cat", 0.8, (0, 0, 100, 40))
    others = found(("cat", 0.4, NEAR), ("cat", 0.4, (0, 0, 100, 100)))
    assert kept(found(first, second), others).tolist() == [True, True]
    assert kept(found(second, first), others).tolist() == [True, True]


def test_as_many_are_kept_as_can_be():
    """Against all assignments, of random possibilities."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        options = [np.flatnonzero(row).tolist() for row in rng.random((5, 4)) < rng.uniform(0.1, 0.7)]
        partners = {}
        has_partner = [augment(i, options, partners) for i in range(5)]
        assert sorted(partners.values()) == np.flatnonzero(has_partner).tolist() and all(j in options[i] for j, i in partners.items())
        best = max(sum(j in options[i] for i, j in zip(chosen, range(4))) for chosen in itertools.permutations(range(5), 4))
        assert sum(has_partner) == best


def test_many_equal_boxes():
    """The chain of exchanges may be longer than Python's recursion is deep."""
    count = 1100
    options = [[j, j + 1] for j in range(count - 1)] + [[0]]
    partners = {j + 1: j for j in range(count - 1)}
    partners[count - 1] = count - 2
    assert augment(count - 1, options, partners) and len(partners) == count


def random_detections(rng):
    count = rng.integers(0, 9)
    corners = rng.integers(0, 30, (count, 2))
    boxes = np.hstack([corners, corners + rng.integers(10, 40, (count, 2))])
    return found(*zip(rng.choice(["cat", "dog"], count), rng.random(count), boxes))


def test_exchanging_the_networks_and_the_order_change_nothing():
    rng = np.random.default_rng(1)
    a, b = ([random_detections(rng) for _ in range(80)] for _ in range(2))
    one, other = agreement(a, b).document, agreement(b, a).document
    assert one["agreement"] == other["agreement"] and 0.05 < one["agreement"] < 0.95
    assert one["lost"] == other["invented"] and one["invented"] == other["lost"] and one["lost"] and one["invented"]
    mixed = []
    for detections in a:
        order = rng.permutation(len(detections))
        mixed.append(Detections(detections.boxes[order], detections.labels[order], detections.scores[order],
                                [detections.names[i] for i in order]))
    assert agreement(mixed, b).document == one


def test_nothing_found_by_either_is_agreement():
    result = agreement([found()] * 2, [found()] * 2, rng=np.random.default_rng(0)).document
    assert result["agreement"] == 1 and result["interval"] == [1, 1] and result["per_class"] == {} and result["lost"] == []


def test_nothing_found_by_one_is_none():
    assert agreement([found()], [found(("cat", 0.9, BOX))]).document["agreement"] == 0


def test_the_interval_is_of_images():
    """Half of 40 images agree wholly, half not at all, with two objects each: the share is that of a coin, deviation 0.5 / sqrt(40)."""
    sure = found(("cat", 0.9, BOX))
    original, network = [sure] * 40, [sure] * 20 + [found(("cat", 0.9, FAR))] * 20
    document = agreement(network, original, rng=np.random.default_rng(0)).document
    low, high = document["interval"]
    assert document["agreement"] == 0.5 and document["level"] == 0.95
    assert low == pytest.approx(0.5 - 1.96 * 0.079, abs=0.03) and high == pytest.approx(0.5 + 1.96 * 0.079, abs=0.03)
    assert document == agreement(network, original, rng=np.random.default_rng(0)).document


@pytest.mark.parametrize("a, b, images", [(1, 2, None), (0, 0, None), (2, 2, ["a.jpg"])])
def test_lists_that_do_not_fit(a, b, images):
    with pytest.raises(InputError, match="same images"):
        agreement([found()] * a, [found()] * b, images)

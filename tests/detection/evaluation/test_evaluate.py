"""All metrics together: by hand, on images written out again and again, and on the real detector's recorded detections."""

import copy
import json

import numpy as np
import pytest
from annotated_sets import annotated, detections, image, random_set
from voc import SHARED, WEIGHTS, recorded

from minicnn.detection.evaluation.bootstrap import interval, resampled
from minicnn.detection.evaluation.evaluate import class_means, digest, evaluate
from minicnn.errors import InputError

CAT, DOG = (10, 10, 50, 50), (0, 0, 20, 30)


def test_by_hand():
    """Two cats, one found; a dog in the wrong place; a difficult dog; no birds."""
    set_ = annotated([image("a", [(1, CAT), (2, DOG)]), image("b", [(1, CAT), (2, DOG, "difficult")])], ("cat", "dog", "bird"))
    found = [detections((1, 0.9, CAT), (2, 0.8, (0, 0, 20, 10))), detections((3, 0.7, CAT))]
    evaluation = evaluate(set_, found)
    document = evaluation.document
    assert (document["pictures"], document["objects"], document["difficult"]) == (2, 3, 1)
    assert document["per_class"]["cat"] == {"objects": 2, "detections": 1, "found": 1, "voc07": pytest.approx(6 / 11), "voc10": 0.5,
                                            "coco": pytest.approx(51 / 101)}
    assert document["per_class"]["dog"] == {"objects": 1, "detections": 1, "found": 0, "voc07": 0, "voc10": 0, "coco": 0}
    assert document["per_class"]["bird"] == {"objects": 0, "detections": 1, "found": 0, "voc07": None, "voc10": None, "coco": None}
    assert document["mAP"] == {"voc07": pytest.approx(3 / 11), "voc10": 0.25, "coco": pytest.approx(51 / 202)}
    assert document["coco"]["AP"] == pytest.approx(document["mAP"]["coco"])
    assert {kind: row["count"] for kind, row in document["errors"].items() if row["count"]} == {"place": 1, "class": 1}
    assert "intervals" not in document and "proposal_recall" not in document
    assert json.loads(json.dumps(document)) == document
    assert [ranking.name for ranking in evaluation.rankings] == ["cat", "dog", "bird"]


def test_proposals():
    set_ = annotated([image("a", [(1, CAT), (2, DOG)])])
    assert evaluate(set_, [detections()], [np.array([DOG], np.float32)]).document["proposal_recall"] == {"50": 0.5, "100": 0.5, "300": 0.5}


def test_intervals_are_those_of_images_drawn_again():
    """Each replicate's images, copies and all, evaluated from their boxes: nothing was lost by weighing the matches."""
    set_, found = random_set(np.random.default_rng(5), images=9, ties=False)
    document = evaluate(set_, found, rng=np.random.default_rng(1)).document
    weights = resampled(9, np.random.default_rng(1))
    some = []
    for weight in weights[:25]:
        places = np.repeat(np.arange(9), weight)
        again = annotated([copy.copy(set_.images[place]) for place in places], set_.class_names[1:])
        some.append(list(evaluate(again, [found[place] for place in places]).document["mAP"].values()))
    matches = evaluate(set_, found).matches
    replicates = np.array([one.average_precisions(weights) for one in matches])
    for k, rule in enumerate(("voc07", "voc10", "coco")):
        means = class_means(replicates[:, k])
        assert means[:25] == pytest.approx([row[k] for row in some], abs=1e-12)
        assert document["intervals"][rule] == interval(means)
        low, high = document["intervals"][rule]
        assert low < high
        assert document["per_class"]["class 1"]["intervals"][rule] == interval(replicates[0, k])
    assert document["per_class"]["class 3"]["intervals"] == {"voc07": None, "voc10": None, "coco": None}       # it has no objects
    assert document["intervals"]["level"] == 0.95 and document["intervals"]["replicates"] == len(weights)
    assert evaluate(set_, found, rng=np.random.default_rng(1)).document == document


def test_the_digest_tells_truths_apart():
    set_ = annotated([image("a", [(1, CAT)]), image("b", [])])
    others = [annotated([image("a", [(2, CAT)]), image("b", [])]), annotated([image("a", [(1, DOG)]), image("b", [])]),
              annotated([image("a", [(1, CAT, "difficult")]), image("b", [])]), annotated([image("a", [(1, CAT)])]),
              annotated([image("a", [(1, CAT)], [5.0]), image("b", [])])]
    digests = {digest(one) for one in [set_, *others]}
    assert len(digests) == 6 and digest(copy.deepcopy(set_)) in digests
    assert digest(annotated([image("a", [(2, CAT)]), image("b", [])], ("dog", "cat"))) == digest(set_)


def test_the_document_of_matches():
    set_ = annotated([image("a", [(1, CAT)]), image("b", [])])
    document = evaluate(set_, [detections((1, 0.5, CAT)), detections((1, 0.75, CAT))]).match_document()
    assert document["pictures"] == ["a", "b"] and document["truths"] == digest(set_)
    assert document["classes"]["cat"] == {"objects": "0", "pictures": "1 0", "scores": "0.75 0.5", "voc": "FT", "coco": ["FT"] * 10}


def test_the_real_detectors_recorded_detections_have_their_recorded_averages():
    from minicnn.data import load_annotated
    if not WEIGHTS.exists():
        pytest.skip(f"the real detector is not in {WEIGHTS.parent}")
    set_, theirs = load_annotated(SHARED / "data" / "voc", "test"), recorded()
    document = evaluate(set_, [theirs[one.name] for one in set_.images]).document
    expected = json.loads((WEIGHTS.parent / "test_evaluation.json").read_text())
    assert len(set_.images) == 500 and document["objects"] == sum(row["objects"] for row in expected["per_class"].values())
    for rule in ("voc07", "voc10"):
        assert document["mAP"][rule] == pytest.approx(expected["mAP"][rule], abs=1e-3)
        for name, row in expected["per_class"].items():
            assert document["per_class"][name][rule] == pytest.approx(row[rule], abs=1e-3), name


def test_no_object_in_any_image():
    document = evaluate(annotated([image("a", []), image("b", [(1, CAT, "crowd")])]), [detections((1, 0.5, CAT)), detections()],
                        rng=np.random.default_rng(0)).document
    assert set(document["mAP"].values()) == set(document["coco"].values()) == {None}
    assert [document["intervals"][rule] for rule in ("voc07", "voc10", "coco")] == [None] * 3
    assert document["objects"] == 0 and document["difficult"] == 1


def test_detections_in_files_by_one_call(tmp_path):
    """What the command line says: images of another size are left out and told, those outside the data too, other classes noted."""
    from minicnn.detection import evaluate_detections
    set_ = annotated([image("a", [(1, CAT)]), image("b", [(1, CAT)])], ("cat",))
    cat, dog = ({"name": name, "score": 0.5, "box": list(CAT)} for name in ("cat", "dog"))
    rows = [{"image": "a.jpg", "width": 100, "height": 100, "detections": [cat, dog]}, {"image": "c.jpg", "detections": [cat]},
            {"image": "b.jpg", "width": 90, "height": 100, "detections": [cat]}]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    errors = []
    evaluation = evaluate_detections(tmp_path / "d.json", set_, np.random.default_rng(0), on_error=errors.append)
    assert evaluation.document["pictures"] == 1 and evaluation.document["mAP"]["voc07"] == 1 and "intervals" in evaluation.document
    resized, outside = evaluation.problems
    assert [str(error) for error in errors] == [resized] and "'b.jpg'" in resized and "90 x 100 pixels, expected 100 x 100" in resized
    assert "1 detections in 1 images, such as 'c.jpg', are left out" in outside
    assert evaluation.notes == ["1 detections of 1 classes that the data does not have are left out: 'dog' (1)."]
    (tmp_path / "d.json").write_text(json.dumps(rows[2:]))
    with pytest.raises(InputError, match="'b.jpg'"):
        evaluate_detections(tmp_path / "d.json", annotated(set_.images[1:], ("cat",)))

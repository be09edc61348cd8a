"""minicnn compare."""

import json
from pathlib import Path

import numpy as np
import pytest
from annotated_sets import random_set

from minicnn.detection.evaluation.evaluate import evaluate


@pytest.fixture
def files(here):
    """A.json and B.json: evaluations of the same 20 images, of which B has lost every third one's detections; C.json: of others."""
    set_, found = random_set(np.random.default_rng(0), images=20)
    less = [one if number % 3 else tuple(column[:0] for column in one) for number, one in enumerate(found)]
    others = random_set(np.random.default_rng(1), images=21)
    for name, (images, some) in {"A": (set_, found), "B": (set_, less), "C": others}.items():
        Path(f"{name}.json").write_text(json.dumps({"mAP": {}, "matches": evaluate(images, some).match_document()}))


def test_json(run, files):
    status, out, err = run("compare", "A.json", "B.json", "--json", "-")
    document = json.loads(out)
    assert (status, err) == (0, "") and (document["first"], document["second"], document["pictures"]) == ("A.json", "B.json", 20)
    assert list(document["mAP"]) == ["voc07", "voc10", "coco"] and list(document["per_class"]) == ["class 1", "class 2", "class 3"]
    assert document["mAP"]["voc10"]["difference"] < 0
    assert run("compare", "A.json", "B.json", "--json", "-")[1] == out                      # the same draws every time


def test_text(run, files, here):
    status, out, err = run("compare", "A.json", "B.json", "--json", "c.json")
    document = json.loads((here / "c.json").read_text())
    lines = out.splitlines()
    assert (status, err) == (0, "") and max(map(len, lines)) <= 80
    assert lines[:3] == ["A: A.json", "B: B.json", "the same 20 images; average precision in %"]
    row = document["per_class"]["class 1"]["voc07"]
    low, high = row["interval"]
    assert next(line.split() for line in lines if line.startswith("class 1")) == [
        "class", "1", f"{100 * row['first']:.2f}", f"{100 * row['second']:.2f}", f"{100 * row['difference']:+.2f}",
        f"{100 * low:.2f}", "to", f"{100 * high:.2f}"]
    assert next(line.split() for line in lines if line.startswith("class 3")) == ["class", "3", "-", "-", "-", "-"]
    assert [line.split()[0] for line in lines[-3:]] == ["VOC07", "VOC10", "COCO"]


@pytest.mark.parametrize("name, text, expected", [
    ("C.json", None, "different images (0 are only in A.json, 1 only in C.json)"), ("none.json", None, "cannot read none.json"),
    (".", None, "cannot read ."), ("x.json", "", "x.json, which is no evaluation"), ("x.json", "[1]", "x.json, which is no evaluation"),
    ("x.json", '{"accuracy": 1}', "it has no matches"), ("x.json", '{"matches": {', "no evaluation"),
    ("x.json", "[" * 10**5, "no evaluation"),
    ("x.json", '{"matches": {}}', "x.json, whose matches cannot be read"), ("x.json", b"\xff\xfe", "no evaluation"),
])
def test_what_is_no_evaluation_of_the_same_images(refused, files, name, text, expected):
    if text is not None:
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert expected in refused("compare", "A.json", name)


def test_a_place_that_cannot_be_written(refused, files):
    assert "none/x.json" in refused("compare", "A.json", "B.json", "--json", "none/x.json")

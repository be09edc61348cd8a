"""The forms of results: what is written can be read again, and is what VOC's devkit takes."""

import csv
import io
import json
from pathlib import Path

import pytest

from minicnn import InputError
from minicnn.detection.evaluation.write_detections import check_class_names, check_comp4, comp4_texts, csv_text, json_text

MILLISECONDS = {"read": 1.5, "transform": 2, "backbone": 3, "rpn": 4, "heads": 5, "total": 16}
ROWS = [
    {"image": "shots/000001.jpg", "width": 50, "height": 40, "milliseconds": MILLISECONDS, "detections": [
        {"label": 2, "name": "dog", "score": 0.8999999761581421, "box": [0.0, 1.5, 49.25, 40.0]},
        {"label": 1, "name": "Käse, gelb", "score": 0.125, "box": [1.0, 2.0, 3.0, 4.0]}]},
    {"image": "empty.png", "width": 5, "height": 4, "milliseconds": MILLISECONDS, "detections": []},
    {"image": "000002.jpg", "width": 50, "height": 40, "milliseconds": MILLISECONDS, "detections": [
        {"label": 2, "name": "dog", "score": 0.5, "box": [1e-05, 2.0, 3.0, 4.0]}]},
]


def test_json_is_the_rows():
    assert json.loads(json_text(ROWS)) == ROWS and json.loads(json_text([])) == []
    assert "Käse" in json_text(ROWS) and json_text(ROWS).endswith("]\n")


def test_csv_has_a_header_and_a_row_a_detection():
    assert csv_text([]) == "image,label,name,score,x1,y1,x2,y2\n"
    table = list(csv.DictReader(io.StringIO(csv_text(ROWS))))
    assert [row["image"] for row in table] == ["shots/000001.jpg", "shots/000001.jpg", "000002.jpg"]
    assert table[1]["name"] == "Käse, gelb" and table[1]["label"] == "1"
    got = [[float(row[key]) for key in ("score", "x1", "y1", "x2", "y2")] for row in table]
    assert got == [[one["score"], *one["box"]] for row in ROWS for one in row["detections"]]


def test_a_name_with_the_end_of_a_line_stays_one_field():
    rows = [{**ROWS[2], "image": name} for name in ("a\rb.jpg", "a\nb.jpg", "c.jpg")]
    assert [row["image"] for row in csv.DictReader(io.StringIO(csv_text(rows), newline=""))] == ["a\rb.jpg", "a\nb.jpg", "c.jpg"]
    assert csv_text(rows).endswith("c.jpg,2,dog,0.5,1e-05,2.0,3.0,4.0\n")


def test_comp4_has_a_file_a_class_in_vocs_coordinates():
    assert comp4_texts(ROWS, ["Käse, gelb", "dog", "cat"]) == {
        "comp4_det_test_Käse_ gelb.txt": "000001 0.125 2.0 3.0 3.0 4.0\n",
        "comp4_det_test_dog.txt": "000001 0.8999999761581421 1.0 2.5 49.25 40.0\n000002 0.5 1.00001 3.0 3.0 4.0\n",
        "comp4_det_test_cat.txt": "",
    }


def test_comp4_files_stay_in_their_folder():
    rows = [{**ROWS[2], "detections": [{**ROWS[2]["detections"][0], "name": name} for name in ("../../x", "/etc/x", "a\0b", "a b")]}]
    for name, text in comp4_texts(rows, []).items():
        assert Path(name).name == name and "\0" not in name and text


def test_comp4_needs_names_of_their_own_without_spaces():
    check_comp4([Path("a/1.jpg"), Path("a/2.jpg")])
    for paths, expected in ((["a/1.jpg", "b/2.jpg", "b/1.png"], "2 images named 1"), (["a/1.jpg", "my cat.jpg"], "'my cat'"),
                            (["a/\udcff.jpg", "b/\udcfe.jpg"], r"2 images named \?"), (["\ufeff1.jpg"], r"'\\ufeff1'")):
        with pytest.raises(InputError, match=expected):
            check_comp4([Path(path) for path in paths])


@pytest.mark.parametrize("names", [["a/b", "a:b"], ["x" * 240], ["dog", "dog"]], ids=["folded", "long", "twice"])
def test_classes_that_cannot_have_a_file_each_are_refused(names):
    with pytest.raises(InputError, match="expected one class"):
        check_class_names(["cat", *names])
    check_class_names(["cat", "a/b", "dog"])

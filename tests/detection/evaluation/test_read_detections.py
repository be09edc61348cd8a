"""Detections from files: what we wrote comes back; whatever is wrong with a file is one line that names it."""

import numpy as np
import pytest
from annotated_sets import annotated, image
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.detection.evaluation.read_detections import read_detections
from minicnn.detection.evaluation.write_detections import comp4_texts, json_text
from minicnn.errors import InputError

SET = annotated([image("000001", []), image("000002", []), image("000003", [])], ("cat", "traffic light"))
ROWS = [
    {"image": "shots/000002.jpg", "width": 50, "height": 40, "detections": [
        {"label": 7, "name": "traffic light", "score": 0.8999999761581421, "box": [0.0, 1.5, 49.25, 40.0]},
        {"label": 1, "name": "cat", "score": 0.125, "box": [1.0, 2.0, 3.0, 4.0]}]},
    {"image": "000001.png", "width": 5, "height": 4, "detections": []},
    {"image": "000003.jpg", "width": 50, "height": 40, "detections": [
        {"label": 1, "name": "cat", "score": 0.5, "box": [1e-05, 2.0, 3.0, 4.0]}]},
]


def write(folder, texts):
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def comp4(tmp_path):
    """A folder of comp4 files of ROWS; beside them something else, as in VOC's own."""
    return write(tmp_path / "comp4", {**comp4_texts(ROWS, ["cat", "traffic light"]), "notes.txt": "x", "comp3_det_test_cat.txt": "x"})


@pytest.fixture
def rows(tmp_path):
    """rows(document): the JSON file of it."""
    def write(document):
        (tmp_path / "d.json").write_text(document if isinstance(document, str) else json_text(document))
        return tmp_path / "d.json"
    return write


@pytest.mark.parametrize("form", ["comp4", "json"])
def test_what_was_written_comes_back(comp4, rows, form):
    """Labels are the data's, by name; boxes are continuous again."""
    found, left_out = read_detections(comp4 if form == "comp4" else rows(ROWS), SET)
    assert left_out == {} and len(found) == 3
    assert [column.shape for column in found[0]] == [(0, 4), (0,), (0,)]
    boxes, scores, labels = found[1]
    order = np.argsort(labels)
    assert_array_equal(labels[order], [1, 2])
    assert_array_equal(scores[order], [0.125, 0.8999999761581421])
    assert_allclose(boxes[order], [[1, 2, 3, 4], [0, 1.5, 49.25, 40]], atol=1e-12)
    assert boxes.dtype == scores.dtype == np.float64 and labels.dtype == np.int64
    assert_allclose(found[2][0], [[1e-5, 2, 3, 4]], atol=1e-12)


def test_images_that_the_split_lacks_are_told(comp4, rows):
    some = annotated(SET.images[:2], SET.class_names[1:])
    for path in (comp4, rows(ROWS)):
        found, left_out = read_detections(path, some)
        assert left_out == {"000003": 1} and [len(scores) for _, scores, _ in found] == [0, 2]


def test_cocos_gaps_are_no_class(comp4, rows):
    (comp4 / "comp4_det_test_N_A.txt").write_text("000001 0.5 1 1 2 2\n")
    gap = {"label": 12, "name": "N/A", "score": 0.5, "box": [1, 2, 3, 4]}
    for path in (comp4, rows([*ROWS[:2], {**ROWS[2], "detections": [*ROWS[2]["detections"], gap]}])):
        found, left_out = read_detections(path, SET)
        assert [len(scores) for _, scores, _ in found] == [0, 2, 1] and left_out == {}


def test_a_image_goes_by_its_name_or_its_files():
    set_ = annotated([image("397133", [])])
    set_.images[0].path = set_.images[0].path.with_name("COCO_val_000397133.jpg")
    from minicnn.detection.evaluation.read_detections import indices_by_name
    assert indices_by_name(set_) == {"397133": 0, "COCO_val_000397133.jpg": 0, "COCO_val_000397133": 0}


def test_none_of_the_images_is_refused(comp4):
    with pytest.raises(InputError, match=r"images such as '00000\d', none of which is among the 1 of the data, such as 'other'"):
        read_detections(comp4, annotated([image("other", [])], SET.class_names[1:]))


def test_nothing_found_at_all_is_no_error(tmp_path, rows):
    empty = write(tmp_path / "empty", comp4_texts([], ["cat", "traffic light"]))
    for path in (empty, rows([])):
        found, left_out = read_detections(path, SET)
        assert left_out == {} and all(len(scores) == 0 for _, scores, _ in found)


@pytest.mark.parametrize("line, expected", [
    ("000001 0.5 1 2 3", "an image and five numbers"), ("000001 0.5 1 2 3 4 5", "an image and five numbers"),
    ("000001 half 1 2 3 4", "an image and five numbers"), ("\x00\x00", "an image and five numbers"), ("x" * 10**6, "an image and five"),
    ("000001 nan 1 2 3 4", "not finite"), ("000001 0.5 1 2 inf 4", "not finite"), ("000001 0.5 1 2 1e999 4", "not finite"),
    ("000001 0.5 9 2 3 4", "inside out"), ("000001 0.5 1 9 3 4", "inside out"), ("000009 0.5 9 2 3 4", "inside out"),
])
def test_malformed_lines(comp4, line, expected):
    with open(comp4 / "comp4_det_test_cat.txt", "a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(InputError, match=expected) as error:
        read_detections(comp4, SET)
    assert "comp4_det_test_cat.txt, line 4" in str(error.value) and len(str(error.value)) < 500


def test_classes_that_differ(comp4, rows, tmp_path):
    (comp4 / "comp4_det_test_dog.txt").write_text("")
    with pytest.raises(InputError, match="not of the data: 'comp4_det_test_dog.txt'"):
        read_detections(comp4, SET)
    (comp4 / "comp4_det_test_dog.txt").unlink()
    (comp4 / "comp4_det_test_cat.txt").unlink()
    with pytest.raises(InputError, match="missing: 'comp4_det_test_cat.txt'"):
        read_detections(comp4, SET)
    for name, quoted in (("dog", "'dog'"), ("\x1b[2J" * 100, r"'\\x1b\[2J")):
        with pytest.raises(InputError, match=f"not of the data: {quoted}") as error:
            read_detections(rows(detection(name=name)), SET)
        assert str(error.value).isprintable() and len(str(error.value)) < 700


def test_a_folder_without_detections(tmp_path):
    with pytest.raises(InputError, match=r"expected files comp4_det_test_CLASS.txt in it"):
        read_detections(tmp_path, SET)


def test_files_that_cannot_be_read(tmp_path, comp4):
    with pytest.raises(InputError, match="cannot read .*none.json"):
        read_detections(tmp_path / "none.json", SET)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="which is no text"):
        read_detections(tmp_path / "bytes.json", SET)
    (comp4 / "comp4_det_test_cat.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="which is no text"):
        read_detections(comp4, SET)


def detection(**changes):
    return [{"image": "000001.jpg", "detections": [{"name": "cat", "score": 0.5, "box": [1, 2, 3, 4], **changes}]}]


@pytest.mark.parametrize("document, expected", [
    ("", "cannot be read"), (json_text(ROWS)[:-40], "cannot be read"), ("[" * 100_000, "cannot be read"), ("{}", "a dict, no list"),
    ("5", "no list"), ('[{"image": "a"}]', "detections"), ("[5]", "cannot be read"), ([ROWS[0]] * 3, "3 times"),
    (detection(score=float("nan")), "not finite"), (detection(box=[1, 2, 3]), "score and four sides"),
    (detection(box=5), "cannot be read"), (detection(score="1"), "score and four sides"), (detection(score=None), "cannot be read"),
    (detection(box=[1, 2, 3, None]), "cannot be read"), (detection(box=[3, 2, 1, 4]), "inside out"),
    (detection(name=[1]), "score and four sides"), (detection(score=True), "score and four sides"),
    (detection(score=10**400), "cannot be read"),
])
def test_damaged_json(rows, document, expected):
    with pytest.raises(InputError, match=expected) as error:
        read_detections(rows(document), SET)
    assert "d.json" in str(error.value) and len(str(error.value)) < 500

"""Detections from files: what we wrote comes back; whatever is wrong with a file is one line that names it."""

import json

import numpy as np
import pytest
from annotated_sets import annotated, image
from annotated_sets import detections as detections_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.detection.evaluation.evaluate import evaluate
from minicnn.detection.evaluation.read_detections import read_detections
from minicnn.detection.evaluation.write_detections import check_comp4, comp4_texts, csv_text, json_text
from minicnn.errors import InputError

SET = annotated([image("000001", [(1, (1, 2, 3, 4))]), image("000002", []), image("000003", [])], ("cat", "traffic light"))
ROWS = [
    {"image": "shots/000002.jpg", "width": 100, "height": 100, "detections": [
        {"label": 7, "name": "traffic light", "score": 0.8999999761581421, "box": [0.0, 1.5, 49.25, 40.0]},
        {"label": 1, "name": "cat", "score": 0.125, "box": [1.0, 2.0, 3.0, 4.0]}]},
    {"image": "000001.jpg", "width": 100, "height": 100, "detections": []},
    {"image": "000003.jpg", "width": 100, "height": 100, "detections": [
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


@pytest.fixture
def table(tmp_path):
    """The CSV file of ROWS."""
    (tmp_path / "d.csv").write_text(csv_text(ROWS))
    return tmp_path / "d.csv"


@pytest.mark.parametrize("form", ["comp4", "json", "csv"])
def test_what_was_written_comes_back(comp4, rows, table, form):
    """Labels are the data's, by name; boxes are continuous again."""
    read = read_detections({"comp4": comp4, "json": rows(ROWS), "csv": table}[form], SET)
    found = read.found
    assert read.left_out == read.resized == {} and len(found) == 3
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
        read = read_detections(path, some)
        assert read.left_out == {"000003" if path == comp4 else "000003.jpg": 1}
        assert [len(scores) for _, scores, _ in read.found] == [0, 2]


def test_cocos_gaps_are_no_class(comp4, rows):
    (comp4 / "comp4_det_test_N_A.txt").write_text("000001 0.5 1 1 2 2\n")
    gap = {"label": 12, "name": "N/A", "score": 0.5, "box": [1, 2, 3, 4]}
    for path in (comp4, rows([*ROWS[:2], {**ROWS[2], "detections": [*ROWS[2]["detections"], gap]}])):
        read = read_detections(path, SET)
        assert [len(scores) for _, scores, _ in read.found] == [0, 2, 1] and read.left_out == {}
        assert not any("classes" in line for line in read.notes)


def test_none_of_the_images_is_refused(comp4):
    with pytest.raises(InputError, match=r"images such as '00000\d', none of which is among the 1 of the data, such as 'other'"):
        read_detections(comp4, annotated([image("other", [])], SET.class_names[1:]))


def test_nothing_found_at_all_is_no_error(tmp_path, rows):
    empty = write(tmp_path / "empty", comp4_texts([], ["cat", "traffic light"]))
    for path in (empty, rows([])):
        read = read_detections(path, SET)
        assert read.left_out == {} and all(len(scores) == 0 for _, scores, _ in read.found)
        assert read.notes == [f"3 of 3 images are not named in {path}: nothing counts as found in them."]


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


def test_detections_of_other_classes_are_left_out_and_named(comp4, rows):
    (comp4 / "comp4_det_test_dog.txt").write_text("000001 0.5 1 1 2 2\n")
    dog = {"name": "dog", "score": 0.5, "box": [1, 2, 3, 4]}
    for path in (comp4, rows([*ROWS[:2], {**ROWS[2], "detections": [*ROWS[2]["detections"], dog]}])):
        read = read_detections(path, SET)
        assert [len(scores) for _, scores, _ in read.found] == [0, 2, 1]
        assert "1 detections of 1 classes that the data does not have are left out: 'dog' (1)." in read.notes
    (comp4 / "comp4_det_test_dog.txt").write_text("")
    assert not any("classes" in line for line in read_detections(comp4, SET).notes)


def test_a_class_without_a_file_has_no_detections_and_is_named(comp4):
    (comp4 / "comp4_det_test_traffic light.txt").unlink()
    assert not any("no file" in line for line in read_detections(comp4, SET).notes)         # there are none in the images either
    (comp4 / "comp4_det_test_traffic light.txt").write_text("")
    (comp4 / "comp4_det_test_cat.txt").unlink()
    read = read_detections(comp4, SET)
    assert all(len(scores) == 0 for _, scores, _ in read.found)
    assert f"1 of 2 classes have no file in {comp4}: nothing counts as found of them ('comp4_det_test_cat.txt')." in read.notes


def test_classes_that_may_be_the_same_by_other_names_are_refused(comp4, rows):
    (comp4 / "comp4_det_test_cat.txt").rename(comp4 / "comp4_det_test_kitten.txt")
    with pytest.raises(InputError, match="not of the data: 'comp4_det_test_kitten.txt'; missing: 'comp4_det_test_cat.txt'"):
        read_detections(comp4, SET)
    for name, quoted in (("dog", "'dog'"), ("\x1b[2J" * 100, r"'\\x1b\[2J")):
        with pytest.raises(InputError, match=f"got only classes .* that are not of the data: {quoted}") as error:
            read_detections(rows(detection(name=name)), SET)
        assert str(error.value).isprintable() and len(str(error.value)) < 700
    with pytest.raises(InputError, match="got 2 classes for the file comp4_det_test_a_b.txt"):
        read_detections(comp4, annotated(SET.images, ("a/b", "a:b")))


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


@pytest.mark.parametrize("text, expected", [
    ("000001.jpg,1,cat,half,1,2,3,4", "line 2, which cannot be read .could not convert"), ("000001.jpg,1,cat,0.5,1,2,3", "line 2"),
    ("000001.jpg,1,cat,0.5,1,2,3,nan", "line 2, that is not finite"), ("000001.jpg,1,cat,0.5,3,2,1,4", "line 2, that is inside out"),
    ("000001.jpg,1,cat,,1,2,3,4", "line 2"), ("000001.jpg", "line 2"), ("x" * 200_000, "which cannot be read .field larger"),
])
def test_damaged_csv(tmp_path, text, expected):
    (tmp_path / "d.csv").write_text(f"{csv_text([])}{text}\n")
    with pytest.raises(InputError, match=expected) as error:
        read_detections(tmp_path / "d.csv", SET)
    assert "d.csv" in str(error.value) and len(str(error.value)) < 500


def test_csv_of_a_spreadsheet(tmp_path):
    """A byte order mark, quotes, Windows' ends of lines and separators, other columns, and an image of which nothing is said."""
    text = '"image","name","x1","y1","x2","y2","score","who"\r\nC:\\shots\\000002.jpg,cat,1,2,3,4,0.5,me\r\n000001.jpg,,,,,,,me\r\n'
    (tmp_path / "d.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    read = read_detections(tmp_path / "d.csv", SET)
    assert [len(scores) for _, scores, _ in read.found] == [0, 1, 0] and read.found[1][0].tolist() == [[1, 2, 3, 4]]
    assert f"1 of 3 images are not named in {tmp_path}/d.csv: nothing counts as found in them." in read.notes


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    """As PowerShell writes what ``minicnn detect --json -`` prints."""
    (tmp_path / "d.json").write_bytes(json.dumps(ROWS).encode(encoding))
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(ROWS))
    first, second = (read_detections(path, SET).found for path in (tmp_path / "d.json", plain))
    assert sum(len(scores) for _, scores, _ in first) > 0
    assert [[array.tolist() for array in one] for one in first] == [[array.tolist() for array in one] for one in second]


def test_images_of_another_size_are_told(rows):
    """The boxes are of another image, or of one that was turned."""
    read = read_detections(rows([{**ROWS[0], "width": 90}, ROWS[2]]), SET)
    assert list(read.resized) == [1] and "'shots/000002.jpg'" in read.resized[1]
    assert "of 90 x 100 pixels, expected 100 x 100 as in its annotation" in read.resized[1]
    assert read_detections(rows([{**ROWS[0], "width": None}, ROWS[2]]), SET).resized == {}


NUMBERS = st.floats(0, 1000, width=32)
BOXES = st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS).map(lambda sides: [*map(min, sides[:2], sides[2:]), *map(max, sides[:2], sides[2:])])
DETECTION = st.fixed_dictionaries({"label": st.just(1), "name": st.sampled_from(["cat", "traffic light"]), "box": BOXES,
                                   "score": st.floats(0, 1, width=32)})
NAMES = st.text(st.sampled_from("01a,;\"'\r\n\t \x85\u2028\ufeff\u00e9."), min_size=1, max_size=4).map(lambda name: f"{name}.jpg")
FOLDERS = st.lists(st.text(st.sampled_from("01a \u00e9"), min_size=1, max_size=2), max_size=2)
FILES = st.builds(lambda folders, name: "/".join([*folders, name]), FOLDERS, NAMES)
LAYOUTS = st.dictionaries(FILES, st.lists(DETECTION, max_size=3), min_size=1, max_size=5).flatmap(
    lambda found: st.tuples(st.just(found), st.permutations(range(len(found)))))


def label(detection):
    return ["cat", "traffic light"].index(detection["name"]) + 1


@settings(max_examples=150, deadline=None)
@given(LAYOUTS)
def test_every_name_and_number_comes_back(tmp_path_factory, layout):
    """In any folders, with ids in any order: exactly from JSON and CSV; from comp4 to the last digits, or detect refuses the names."""
    found, ids = layout
    folder = tmp_path_factory.mktemp("forms")
    truths = [[(label(one), one["box"]) for one in rows[::2]] for rows in found.values()]
    set_ = annotated([image(str(number), objects) for number, objects in zip(ids, truths)], ("cat", "traffic light"))
    whole = evaluate(set_, [detections_of(*((label(one), one["score"], one["box"]) for one in rows)) for rows in found.values()])
    for one, file in zip(set_.images, found):
        one.path = folder / file
    paths = [str(folder / file) for file in found]
    rows = [{"image": path, "detections": detections} for path, detections in zip(paths, found.values())]
    forms = {"json": json_text(rows), "csv": csv_text(rows)}
    try:
        check_comp4(paths)
    except InputError:
        pass
    else:
        forms["comp4"] = comp4_texts(rows, ["cat", "traffic light"])
    for form, text in forms.items():
        if form == "comp4":
            write(folder / form, text)
        else:
            (folder / form).write_bytes(text.encode())
        read = read_detections(folder / form, set_)
        assert read.left_out == {}
        for (boxes, scores, labels), detections in zip(read.found, found.values()):
            got = sorted(zip(labels.tolist(), scores.tolist(), boxes.tolist()))
            expected = sorted((label(one), one["score"], one["box"]) for one in detections)
            if form == "comp4":
                assert [one[:2] for one in got] == [one[:2] for one in expected]
                assert_allclose([one[2] for one in got], [one[2] for one in expected], atol=1e-12)
            else:
                assert got == expected
        figures = evaluate(set_, read.found).document["mAP"]
        assert figures == pytest.approx(whole.document["mAP"], abs=1e-6 if form == "comp4" else 0, nan_ok=True)


COCO = annotated([image("7", [(1, (1, 2, 3, 4))]), image("9", [])], ("cat", "dog"))
COCO.category_ids = {3: "dog", 18: "cat"}


def result(**changes):
    return {"image_id": 7, "category_id": 18, "bbox": [1.5, 2, 10, 20], "score": 0.5, **changes}


def test_cocos_results(rows):
    """Boxes are x, y, width, height; categories and images go by their ids, also where they are written as floats."""
    read = read_detections(rows([result(), result(image_id=9, category_id=3, score=1), result(category_id=18.0, image_id=7.0)]), COCO)
    assert [labels.tolist() for *_, labels in read.found] == [[1, 1], [2]] and read.left_out == {} and read.notes == []
    assert read.found[0][0].tolist() == [[1.5, 2, 11.5, 22]] * 2 and read.found[0][1].tolist() == [0.5, 0.5]
    read = read_detections(rows([result(image_id="7"), result(image_id="x.jpg")]), COCO)
    assert [len(scores) for _, scores, _ in read.found] == [1, 0] and read.left_out == {"x.jpg": 1}


def test_other_categories_of_cocos_results_are_left_out(rows):
    read = read_detections(rows([result(), result(category_id=4), result(category_id=90)]), COCO)
    assert [len(scores) for _, scores, _ in read.found] == [1, 0]
    assert "2 detections of 2 classes that the data does not have are left out: 'category 4' (1), 'category 90' (1)." in read.notes


@pytest.mark.parametrize("first, got, expected", [(1, (0, 1, 2), "seem to count from 0"), (0, (1, 2, 3), "seem to count from 1")])
def test_categories_that_count_from_another_number_are_refused(rows, first, got, expected):
    set_ = annotated(COCO.images, ("cat", "dog", "yak"))
    set_.category_ids = dict(enumerate(("cat", "dog", "yak"), start=first))
    with pytest.raises(InputError, match=expected):
        read_detections(rows([result(category_id=category) for category in got]), set_)
    assert read_detections(rows([result(category_id=category) for category in set_.category_ids]), set_).notes == [
        f"1 of 2 images are not named in {rows([])}: nothing counts as found in them."]


@pytest.mark.parametrize("change, expected", [
    ({"score": None}, "cannot be read"), ({"score": "1"}, "score and four sides"), ({"bbox": [1, 2, 3]}, "score and four sides"),
    ({"bbox": [1, 2, -3, 4]}, "entry 0 of the list, that is inside out"), ({"bbox": [1, 2, 3, float("nan")]}, "not finite"),
    ({"category_id": "cat"}, "category_id that is no whole number"), ({"category_id": [3]}, "cannot be read"),
    ({"category_id": 5}, "got only classes .* 'category 5'"), ({"image_id": 8}, "none of which"), ({"image_id": None}, "none of which"),
])
def test_damaged_results_of_coco(rows, change, expected):
    with pytest.raises(InputError, match=expected) as error:
        read_detections(rows([result(**change)]), COCO)
    assert "d.json" in str(error.value) and len(str(error.value)) < 500
    with pytest.raises(InputError, match="cannot be read .KeyError: 'bbox'"):
        read_detections(rows([{"image_id": 7, "category_id": 18, "score": 0.5}]), COCO)


def test_cocos_results_need_a_data_set_of_cocos(rows):
    with pytest.raises(InputError, match="expected a data set in COCO's form to name them"):
        read_detections(rows([result()]), SET)

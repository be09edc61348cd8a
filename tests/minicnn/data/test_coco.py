"""COCO's layout: small files, valid and damaged, and a real one where it is available."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.data import coco, load_annotated
from minicnn.data.annotated import BACKGROUND, CLIPPED, SPELLING
from minicnn.data.class_names import COCO
from minicnn.data.coco import load_coco
from minicnn.errors import InputError

REAL = Path(__file__).parents[4] / "shared" / "data" / "map_cases" / "coco_val2014_fakebbox100" / "ground_truth.json.gz"


def document():
    """Two images, a gap between the categories' ids, and a crowd."""
    return {
        "images": [{"id": 7, "file_name": "b.jpg", "height": 40, "width": 60},
                   {"id": 3, "file_name": "sub/a.jpg", "height": 30, "width": 20}],
        "categories": [{"id": 44, "name": "bottle"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 100, "image_id": 7, "category_id": 1, "bbox": [10, 5.5, 20, 30.25], "area": 123.5, "iscrowd": 0, "segmentation": []},
            {"id": 101, "image_id": 7, "category_id": 44, "bbox": [0, 0, 60, 40], "iscrowd": 1, "area": 9},
            {"id": 102, "image_id": 7, "category_id": 44, "bbox": [1, 2, 3, 4]},
        ],
    }


@pytest.fixture
def write(tmp_path):
    """write(document, name): the file's path; a document that is no dictionary is written as it is."""
    def write(content, name="instances_val.json"):
        folder = tmp_path / "annotations"
        folder.mkdir(exist_ok=True)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        return folder / name
    return write


def refused(source, *expected, split="val", classes=None):
    with pytest.raises(InputError) as caught:
        load_coco(source, split, classes)
    message = str(caught.value)
    assert message.isprintable() and "expected " in message and len(message) < 600
    for text in expected:
        assert text in message


@pytest.mark.parametrize("name", ["instances_val.json", "instances_val.json.gz"])
def test_boxes_labels_crowds_and_areas(tmp_path, write, name):
    write(document(), name)
    images = load_coco(tmp_path, "val")
    assert images.class_names == [BACKGROUND, "person", "bottle"] and images.problems == []
    a, b = images.images                                            # by ascending id, not in the file's order
    assert (b.name, b.path, b.height, b.width) == ("7", tmp_path / "b.jpg", 40, 60)
    assert (a.name, a.path, a.height, a.width) == ("3", tmp_path / "sub" / "a.jpg", 30, 20)
    assert_array_equal(b.boxes, np.array([[10, 5.5, 30, 35.75], [0, 0, 60, 40], [1, 2, 4, 6]], np.float32))
    assert_array_equal(b.labels, [1, 2, 2])
    assert_array_equal(b.crowd, [False, True, False])
    assert_array_equal(b.difficult, b.crowd)
    assert_array_equal(b.areas, [123.5, 9, 12])                         # the last has none of its own
    for image in (a, b):
        assert [one.dtype for one in (image.boxes, image.labels, image.difficult, image.crowd, image.areas)] == [
            np.float32, np.int64, bool, bool, np.float64]
    assert a.boxes.shape == (0, 4) and a.areas.shape == (0,)


def test_a_large_image_is_annotated_in_its_own_pixels(write):
    content = document()
    content["images"][0].update(width=10_000, height=6000)
    content["annotations"][0]["bbox"] = [9000, 0, 1000, 6000]
    b = load_coco(write(content), None).images[1]
    assert (b.height, b.width, b.boxes[0].tolist()) == (6000, 10_000, [9000, 0, 10_000, 6000])


@pytest.mark.parametrize("place", ["val", "images/val", "images", "."])
def test_where_images_lie(tmp_path, write, place):
    path = write(document())
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / "train").mkdir()
    for source, split in ((tmp_path, "val"), (path, "whatever")):
        assert load_coco(source, split).images[-1].path == tmp_path / place / "b.jpg"


def test_a_file_by_itself_has_its_images_beside_it(tmp_path, monkeypatch):
    (tmp_path / "_annotations.coco.json").write_text(json.dumps(document()))
    assert load_coco(tmp_path / "_annotations.coco.json", None).images[-1].path == tmp_path / "b.jpg"
    monkeypatch.chdir(tmp_path)
    assert load_coco(Path("_annotations.coco.json"), None).images[-1].path == tmp_path / "b.jpg"


def test_roboflows_folders(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(document()))
    assert load_annotated(tmp_path, "valid").images[-1].path == tmp_path / "valid" / "b.jpg"
    assert load_annotated(tmp_path / "valid", None).images[-1].path == tmp_path / "valid" / "b.jpg"
    refused(tmp_path, "got the split 'test'", "(train, valid)", split="test")
    refused(tmp_path, "got the split None", split=None)


@pytest.mark.parametrize("file, lies", [
    ("val\\b.jpg", "val/b.jpg"), ("val/b.jpg", "val/b.jpg"), ("sub\\b.jpg", "val/sub/b.jpg"), ("sub/b.jpg", "val/sub/b.jpg"),
    ("sub\\b.jpg", "val/sub\\b.jpg")])
def test_file_names_with_folders_of_either_system(tmp_path, write, file, lies):
    content = document()
    content["images"][0]["file_name"] = file
    write(content)
    (tmp_path / lies).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / lies).write_bytes(b"")
    assert load_coco(tmp_path, "val").images[-1].path == tmp_path / lies


@pytest.mark.parametrize("change, classes", [
    ({}, ["person", "bottle"]), ({"name": "person"}, ["person", "bottle"]), ({"supercategory": "thing"}, ["parent", "person", "bottle"]),
    ({"supercategory": None}, ["parent", "person", "bottle"])])
def test_roboflows_parent_category_is_no_class(write, change, classes):
    """It may have the name of a class."""
    content = document()
    parent = {"id": 0, "name": "parent", "supercategory": "none", **change}
    for category in content["categories"]:
        category["supercategory"] = parent["name"]
    content["categories"].insert(0, parent)
    images = load_coco(write(content), None)
    assert images.class_names == [BACKGROUND, *classes] and bool(images.normalised) == (len(classes) == 2)


def test_a_parent_category_with_an_object_is_a_class(write):
    content = document()
    content["categories"] = [{"id": 0, "name": "parent", "supercategory": "none"},
                             *({**category, "supercategory": "parent"} for category in content["categories"])]
    content["annotations"][0]["category_id"] = 0
    assert load_coco(write(content), None).class_names == [BACKGROUND, "parent", "person", "bottle"]


def test_a_category_of_no_object_that_is_no_parent_is_a_class(write):
    content = document()
    content["categories"].append({"id": 50, "name": "chair", "supercategory": "none"})
    assert load_coco(write(content), None).class_names == [BACKGROUND, "person", "bottle", "chair"]


def test_classes_that_are_given(tmp_path, write):
    write(document())
    images = load_coco(tmp_path, "val", COCO)
    assert images.class_names == list(COCO)
    assert_array_equal(images.images[-1].labels, [1, 44, 44])        # a network with COCO's gaps
    refused(tmp_path, "'bottle' in instances_val.json, annotation 101", "'person'", classes=[BACKGROUND, "person"])
    refused(tmp_path, "class names", classes=["person", "bottle"])


@pytest.mark.parametrize("split", ["train", "", "../annotations/instances_val", "x" * 300, "val\x00"])
def test_a_split_that_is_not_there(tmp_path, write, split):
    write(document())
    write(document(), "instances_test.json.gz")
    refused(tmp_path, "got the split", "(test, val)", split=split)


# what makes a file useless

@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"images": ' + b"9" * 10_000 + b"}"])
def test_what_is_no_json(write, data):
    refused(write(data), "not JSON")


@pytest.mark.parametrize("content", [[], 3, None, "text", {}, *({key: value for key, value in document().items() if key != left_out}
                                                                  for left_out in coco.KEYS), {**document(), "images": {}}])
def test_what_is_not_cocos(write, content):
    refused(write(content), "without a list")


def test_a_file_without_end(write, monkeypatch):
    path, packed = write(document()), write(document(), "bomb.json.gz")
    monkeypatch.setattr(coco, "LONGEST_JSON", 500)
    refused(path, "more than 500 bytes")
    refused(packed, "more than 500 bytes")


def test_a_damaged_gzip(write):
    path = write(document(), "instances_val.json.gz")
    data = path.read_bytes()
    for damaged in (data[:50], b"no gzip", data[:-8] + bytes(8), data[:30] + b"\x55" * 30 + data[60:]):
        path.write_bytes(damaged)
        refused(path, "cannot be read")


@pytest.mark.parametrize("category", [
    None, [], {}, {"id": 5}, {"name": "x"}, {"id": "five", "name": "x"}, {"id": True, "name": "x"}, {"id": 44, "name": "x"},
    {"id": 5, "name": "person"}, {"id": 5, "name": ""}, {"id": 5, "name": "a\x1b[2J"}, {"id": 5, "name": "x" * 101}, {"id": 5, "name": 6},
    {"id": 5, "name": BACKGROUND}, {"id": 10**30, "name": "x"}])
def test_a_category_that_is_none(write, category):
    content = document()
    content["categories"].append(category)
    refused(write(content), "category 2")


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/passwd", "sub/../../x.jpg", "..\\x.jpg", "C:\\x.jpg", "C:x.jpg", "\\\\host\\x.jpg"])
def test_a_file_name_outside_the_folder(write, name):
    content = document()
    content["images"][1]["file_name"] = name
    refused(write(content), "got the file_name")


def test_no_images(write):
    refused(write({**document(), "images": []}), "without images, expected")
    refused(write({**document(), "images": [{"id": 7}]}), "without images (image 7 is skipped: its file_name is None.)")


# what is reported

@pytest.mark.parametrize("change, expected", [
    ({"file_name": None}, "file_name is None"), ({"file_name": ""}, "file_name is ''"), ({"file_name": 5}, "file_name is 5"),
    ({"file_name": "a\x00"}, "file_name"), ({"height": 0}, "size is 60 x 0"), ({"height": -1}, "size"), ({"width": 60.5}, "size is 60.5"),
    ({"width": float("nan")}, "size is nan"), ({"width": "sixty"}, "size is 'sixty'"), ({"width": 10**9}, "size"),
    ({"width": [[1] * 9] * 9}, "list"),
    ({"id": None}, "no id"), ({"id": "7a"}, "no id"), ({"id": True}, "no id"), ({"id": 10**30}, "no id"),
    ({"id": 3}, "occurs before")])
def test_a_image_that_is_skipped_with_its_objects(write, change, expected):
    content = document()
    content["images"].insert(1, {**content["images"].pop(0), **change})
    content["annotations"] = [] if "id" in change else content["annotations"]
    images = load_coco(write(content), None)
    assert [image.name for image in images.images] == ["3"]
    assert images.skipped.document() == {"images": 1, "objects": 0, "reasons": {coco.BAD_IMAGE: 1}}
    problem, = images.problems
    assert expected in problem and "skipped" in problem and problem.isprintable() and len(problem) < 300


@pytest.mark.parametrize("change, expected", [
    ({"image_id": 8}, "image_id 8 is unknown"), ({"image_id": "b.jpg"}, "image_id 'b.jpg'"), ({"image_id": None}, "image_id None"),
    ({"image_id": [7]}, "image_id [7]"), ({"category_id": 2}, "category_id 2 is unknown"), ({"category_id": True}, "category_id True"),
    ({"bbox": None}, "bbox is None"), ({"bbox": [1, 2, 3]}, "bbox is [1, 2, 3], expected four"), ({"bbox": [1, 2, 3, "4,5"]}, "'4,5'"),
    ({"bbox": [1, 2, 3, [4]]}, "a list"), ({"bbox": [1, 2, float("nan"), 4]}, "nan"), ({"bbox": [1, 2, float("inf"), 4]}, "inf"),
    ({"bbox": [1, 2, 10**300, 4]}, "bbox"), ({"bbox": {"x": 1}}, "an object"), ({"bbox": [True, 2, 3, 4]}, "True"),
    ({"bbox": [1, 2, 0, 4]}, "1, 2, 0, 4 is empty"), ({"bbox": [1, 2, 3, 0]}, "empty"), ({"bbox": [1, 2, 1e-12, 4]}, "empty"),
    ({"bbox": [10, 2, -3, 4]}, "inside out"), ({"bbox": [10, 20, 3, -4]}, "inside out"),
    ({"bbox": [-1.1, 2, 3, 4]}, "not inside the image of 60 x 40"), ({"bbox": [1, -2, 3, 4]}, "not inside"),
    ({"bbox": [50, 2, 11.1, 4]}, "not inside"), ({"bbox": [1, 2, 3, 39.5]}, "not inside"), ({"bbox": [100, 100, 3, 4]}, "not inside"),
    ({"bbox": [60.2, 2, 0.5, 4]}, "empty"), ({"area": -1}, "area is -1"), ({"area": "large"}, "area is 'large'"),
    ({"area": float("nan")}, "area is nan"), ({"iscrowd": 2}, "iscrowd is 2"), ({"iscrowd": "perhaps"}, "iscrowd is 'perhaps'")])
def test_an_annotation_that_is_skipped(write, change, expected):
    content = document()
    content["annotations"][1].update(change)
    images = load_coco(write(content), None)
    assert_array_equal(images.images[-1].boxes, np.array([[10, 5.5, 30, 35.75], [1, 2, 4, 6]], np.float32))
    problem, = images.problems
    assert (images.skipped.images, images.skipped.objects, sum(images.skipped.reasons.values())) == (0, 1, 1)
    assert problem.startswith("annotation 101 is skipped: ") and expected in problem and problem.isprintable() and len(problem) < 300


def test_an_annotation_that_is_none(write):
    content = document()
    content["annotations"][1] = [["id", 101]]
    content["annotations"][2]["id"], content["annotations"][2]["bbox"] = "no", None
    assert [problem.partition(" is skipped")[0] for problem in load_coco(write(content), None).problems] == [
        "annotation 1 of the list", "annotation 2 of the list"]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
NAMES = st.sampled_from(["id", "name", "bbox", "image_id", "category_id"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=8)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.data())
def test_damage_of_any_kind_is_reported_or_refused(tmp_path_factory, data):
    content = document()
    part = content[data.draw(st.sampled_from(coco.KEYS))]
    place = data.draw(st.integers(0, len(part) - 1))
    if data.draw(st.booleans()):
        part[place] = data.draw(VALUES)
    else:
        part[place][data.draw(st.sampled_from(sorted(part[place])))] = data.draw(VALUES)
    path = tmp_path_factory.mktemp("coco") / "x.json"
    path.write_text(json.dumps(content))
    try:
        images = load_coco(path, None)
    except InputError as error:
        assert str(error).isprintable()
        return
    for one in images.images:
        assert np.isfinite(one.boxes).all() and (one.boxes[:, :2] >= 0).all() and (one.boxes[:, 2:] <= (one.width, one.height)).all()
        assert (one.boxes[:, :2] < one.boxes[:, 2:]).all() and len(one.boxes) == len(one.labels) == len(one.crowd) == len(one.areas)
        assert np.isfinite(one.areas).all()
    assert all(problem.isprintable() for problem in images.problems)


def test_what_rounding_lets_stand_out_is_cut_off(write):
    content = document()
    content["annotations"][1]["bbox"] = [-0.01, 0, 60.02, 40.01]
    images = load_coco(write(content), None)
    assert images.problems == []
    assert_array_equal(images.images[-1].boxes[1], [0, 0, 60, 40])


@pytest.mark.parametrize("bbox, expected", [([-1, -0.5, 20, 20], [0, 0, 19, 19.5]), ([50, 30, 11, 10.5], [50, 30, 60, 40])])
def test_what_reaches_outside_by_up_to_a_pixel_is_cut_off_and_counted(write, bbox, expected):
    content = document()
    content["annotations"][1]["bbox"] = bbox
    images = load_coco(write(content), None)
    assert_array_equal(images.images[-1].boxes[1], np.array(expected, np.float32))
    assert images.problems == [] and images.normalised == {CLIPPED: 1}


@pytest.mark.parametrize("place, change", [
    ("annotations", {"iscrowd": True}), ("annotations", {"iscrowd": "1"}), ("annotations", {"iscrowd": 1.0}),
    ("annotations", {"id": "101"}), ("annotations", {"image_id": "7"}), ("annotations", {"image_id": 7.0}),
    ("annotations", {"category_id": "44"}), ("annotations", {"bbox": ["0", 0, "60.0", 40]}), ("annotations", {"area": "9"}),
    ("images", {"id": "7"}), ("images", {"width": "60"}), ("images", {"height": 40.0}), ("categories", {"id": "44"})])
def test_numbers_in_every_spelling(write, place, change):
    content = document()
    entry = content[place][1 if place == "annotations" else 0]
    expected = load_coco(write(content), None)
    entry.update(change)
    images = load_coco(write(content), None)
    assert images.problems == [] and images.class_names == expected.class_names
    assert images.normalised == ({} if isinstance(change.get("iscrowd"), float) else {SPELLING: 1})
    for image, other in zip(images.images, expected.images):
        assert (image.name, image.height, image.width) == (other.name, other.height, other.width) and type(image.height) is int
        for name in ("boxes", "labels", "crowd", "areas"):
            assert_array_equal(getattr(image, name), getattr(other, name))


@pytest.mark.parametrize("value", [None, False, "false", 0, "0"])
def test_what_is_no_crowd_and_has_no_area(write, value):
    content = document()
    content["annotations"][0].update(iscrowd=value, area=None)
    images = load_coco(write(content), None)
    assert images.problems == [] and not images.images[-1].crowd[0] and images.images[-1].areas[0] == 20 * 30.25


def test_a_part_of_val2014():
    if not REAL.is_file():
        pytest.skip(f"no {REAL}")
    got = load_annotated(REAL, "val2014")
    assert got.problems == [] and len(got.images) == 100 and got.class_names == [name for name in COCO if name != "N/A"]
    truth = json.loads(gzip.decompress(REAL.read_bytes()))["annotations"]
    assert sum(len(one.boxes) for one in got.images) == len(truth) == 830
    assert len({label for one in got.images for label in one.labels}) == 70
    boxes = {image.name: image for image in got.images}
    for key in ("1146", "400"):
        of_key = [one for one in truth if one["image_id"] == int(key)]
        assert_allclose(boxes[key].boxes, [[x, y, x + w, y + h] for x, y, w, h in (one["bbox"] for one in of_key)], rtol=1e-6)
        assert_array_equal(boxes[key].areas, [one["area"] for one in of_key])
        assert [COCO.index(got.class_names[label]) for label in boxes[key].labels] == [one["category_id"] for one in of_key]

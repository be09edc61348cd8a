"""PASCAL VOC's layout: small data sets, valid and damaged, and real ones where they are available."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from opened_files import opened_files
from voc_folders import Folder, document, thing

from minicnn.data import default_split, is_annotated, load_annotated, voc_lists, voc_xml
from minicnn.data.annotated import BACKGROUND, CLIPPED, FROM_0, SPELLING
from minicnn.data.class_names import VOC
from minicnn.data.voc import load_voc
from minicnn.errors import InputError

SHARED = Path(__file__).parents[4] / "shared" / "data"
LAUGHS = '<!DOCTYPE a [<!ENTITY l0 "lol">' + "".join(
    f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10)) + "]>"


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "data")


def refused(folder, *expected, split="train", classes=None):
    with pytest.raises(InputError) as caught:
        load_voc(folder.root, split, classes)
    message = str(caught.value)
    assert "\n" not in message and "expected " in message and len(message) < 700
    for text in expected:
        assert text in message


def test_boxes_count_from_0_and_end_where_the_last_pixel_does(folder):
    folder.annotate("a", document(thing("dog", (1, 1, 60, 40), "<difficult>1</difficult>"), thing("cat", (" 2.5", "3", "1e1", "+20 "))))
    (folder.root / "JPEGImages" / "b.png").write_bytes(b"")
    images = load_voc(folder.root, "train")
    a, b = images.images
    assert images.class_names == list(VOC) and images.problems == []
    assert (a.name, a.path, a.height, a.width) == ("a", folder.root / "JPEGImages" / "a.jpg", 40, 60)
    assert b.path == folder.root / "JPEGImages" / "b.png"                       # the one that is there
    assert_array_equal(a.boxes, np.array([[0, 0, 60, 40], [1.5, 2, 10, 20]], np.float32))
    assert_array_equal(a.labels, [VOC.index("dog"), VOC.index("cat")])
    assert_array_equal(a.difficult, [True, False])
    assert_array_equal(a.crowd, [False, False])
    assert_array_equal(a.areas, [2400, 153])
    assert [one.dtype for one in (a.boxes, a.labels, a.difficult, a.crowd, a.areas)] == [np.float32, np.int64, bool, bool, np.float64]


def test_a_large_image_is_annotated_in_its_own_pixels(folder):
    folder.annotate("a", document(thing(box=(9001, 1, 10000, 6000)), size="<size><width>10000</width><height>6000</height></size>"))
    image = load_voc(folder.root, "train").images[0]
    assert (image.height, image.width) == (6000, 10000)
    assert_array_equal(image.boxes, [[9000, 0, 10000, 6000]])


def test_an_images_file_is_found_whatever_its_suffix(folder):
    (folder.root / "JPEGImages" / "a.jfif").write_bytes(b"")
    (folder.root / "JPEGImages" / "b.heic").write_bytes(b"no image")
    (folder.root / "JPEGImages" / "b.xml").write_bytes(b"")
    images = load_voc(folder.root, "train").images
    assert [image.path.name for image in images] == ["a.jfif", "b.heic"]        # reading the second says that Pillow cannot
    (folder.root / "JPEGImages" / "b.png").write_bytes(b"")
    (folder.root / "JPEGImages" / "b.jpg").symlink_to("nowhere")
    assert [image.path.name for image in load_voc(folder.root, "train").images] == ["a.jfif", "b.png"]


def test_a_image_without_objects_is_a_image(folder):
    folder.annotate("a", document())
    a, b = load_voc(folder.root, "train").images
    assert a.boxes.shape == (0, 4) and a.labels.shape == a.difficult.shape == a.crowd.shape == a.areas.shape == (0,)
    assert len(b.boxes) == 1


def test_parts_of_an_object_are_no_objects(folder):
    head = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
    folder.annotate("a", document(thing("person", more=head), thing("dog").replace("</object>", f"{head}</object>")))
    images = load_voc(folder.root, "train")
    assert len(images.images[0].boxes) == 2 and images.class_names == list(VOC)
    assert_array_equal(images.images[0].boxes, [[10, 5, 30, 25]] * 2)


@pytest.mark.parametrize("place", ["", "VOC2007", "BCCD"])
def test_the_folder_itself_or_one_in_it(tmp_path, place):
    Folder(tmp_path / place)
    (tmp_path / "other").mkdir()
    assert len(load_voc(str(tmp_path), "train").images) == 2


def test_several_folders_in_it(tmp_path):
    Folder(tmp_path / "one"), Folder(tmp_path / "two")
    with pytest.raises(InputError, match=r"2 folders \(one, two\)"):
        load_voc(tmp_path, "train")
    Folder(tmp_path / "VOC2007", train=["x"])
    assert [image.name for image in load_voc(tmp_path, "train").images] == ["x"]


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(InputError, match="no Annotations and ImageSets/Main"):
        load_voc(tmp_path, "train")
    with pytest.raises(InputError, match="cannot be read"):
        load_voc(tmp_path / "none", "train")


def flat(folder, **images):
    """XML files in a folder, with an image beside each that has a suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, suffix in images.items():
        (folder / f"{name}.xml").write_text(document(thing()))
        if suffix:
            (folder / f"{name}{suffix}").write_bytes(b"")


def test_images_beside_their_xml(tmp_path):
    """As labelImg leaves them."""
    flat(tmp_path, b=".jpg", a=".png")
    (tmp_path / "unlabelled.jpg").write_bytes(b"")
    (tmp_path / "classes.txt").write_text("cat\n")
    for split in (None, "all"):
        images = load_annotated(tmp_path, split)
        assert [image.path for image in images.images] == [tmp_path / "a.png", tmp_path / "b.jpg"] and images.problems == []
        assert images.normalised == {"images without an XML file, left out": 1}
    with pytest.raises(InputError, match="got the split 'train', expected all: .* has no lists"):
        load_annotated(tmp_path, "train")


@pytest.mark.parametrize("place", ["JPEGImages", "images", "Images", "."])
@pytest.mark.parametrize("annotations", ["Annotations", "annotations"])
def test_annotations_without_lists(tmp_path, annotations, place):
    """As of Label Studio and LabelMe's converter; an empty ImageSets/Main is none."""
    flat(tmp_path / annotations, a=None)
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "a.jpg").write_bytes(b"")
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    image, = load_annotated(tmp_path, "all").images
    assert image.path == tmp_path / place / "a.jpg" and is_annotated(tmp_path)
    with pytest.raises(InputError, match="Give all, or write lists"):
        load_annotated(tmp_path, "val")


def test_images_in_the_folder_of_their_annotations(tmp_path):
    flat(tmp_path / "Annotations", a=".jpg")
    assert load_annotated(tmp_path, "all").images[0].path == tmp_path / "Annotations" / "a.jpg"


def test_a_folder_for_each_split(tmp_path):
    """As Roboflow's; the classes are those of all splits."""
    flat(tmp_path / "train", a=".jpg", b=".jpg")
    flat(tmp_path / "valid", c=".jpg")
    (tmp_path / "valid" / "c.xml").write_text(document(thing("zebra")))
    assert [image.path for image in load_annotated(tmp_path, "train").images] == [tmp_path / "train" / f"{name}.jpg" for name in "ab"]
    valid = load_annotated(tmp_path, "valid")
    assert valid.class_names == load_annotated(tmp_path, "train").class_names == [BACKGROUND, "cat", "zebra"]
    assert [image.name for image in valid.images] == ["c"] and default_split(tmp_path, "test") == "test"
    with pytest.raises(InputError, match=r"\(train, valid\) can be given as the split"):
        load_annotated(tmp_path, "test")


@pytest.mark.parametrize("text", ["<filename>IMG 7.jpg</filename>", "<filename>IMG 7</filename>",
                                  "<filename>x.jpg</filename><path>C:\\Users\\me\\IMG 7.jpg</path>", "<path>/home/me/IMG 7.JPG</path>"])
def test_the_image_that_an_xml_of_another_name_names(folder, text):
    """Only where none has the XML file's own name, and not an image that has an XML file itself."""
    (folder.root / "JPEGImages" / "IMG 7.jpg").write_bytes(b"")
    (folder.root / "JPEGImages" / "b.jpg").write_bytes(b"")
    folder.annotate("a", document(thing(), start="").replace("<annotation>", f"<annotation>{text}"))
    folder.annotate("b", document(thing(), start="").replace("<annotation>", f"<annotation>{text}"))
    assert [image.path.name for image in load_voc(folder.root, "train").images] == ["IMG 7.jpg", "b.jpg"]
    folder.annotate("IMG 7", document(thing()))
    assert [image.path.name for image in load_voc(folder.root, "train").images] == ["a.jpg", "b.jpg"]


# classes

def test_other_names_than_vocs_are_sorted_and_the_same_in_every_split(folder):
    folder.annotate("a", document(thing("zebra"), thing("cat")))
    folder.annotate("c", document(thing("ant")))
    for split in ("train", "test"):
        assert load_voc(folder.root, split).class_names == [BACKGROUND, "ant", "cat", "zebra"]
    assert_array_equal(load_voc(folder.root, "train").images[0].labels, [3, 2])


def test_a_broken_file_of_another_split_is_not_this_ones_affair(folder):
    folder.annotate("c", "<annotation>")
    assert load_voc(folder.root, "train").problems == []


def test_classes_that_are_given(folder):
    classes = (BACKGROUND, "N/A", "dog", "N/A", "cat")
    images = load_voc(folder.root, "train", classes)
    assert images.class_names == list(classes)
    assert_array_equal(images.images[0].labels, [4])


def test_a_class_that_is_not_among_those_given(folder):
    folder.annotate("b", document(thing(), thing("unicorn")))
    refused(folder, "'unicorn' in b.xml", "'dog', 'cat'", classes=[BACKGROUND, "dog", "cat"])
    refused(folder, "'unicorn' in b.xml", "'aeroplane'", "'tvmonitor'. ", classes=VOC)


@pytest.mark.parametrize("classes", [[], [BACKGROUND], ["cat", "dog"], ["cat", BACKGROUND]])
def test_classes_without_the_background_first(folder, classes):
    refused(folder, "class names", BACKGROUND, classes=classes)


def test_annotations_without_any_object(folder):
    for name in "abc":
        folder.annotate(name, document())
    refused(folder, "no object")
    assert len(load_voc(folder.root, "train", VOC).images) == 2


# splits

@pytest.mark.parametrize("split", ["dev", "", "../Main/train", "train\n", "/etc/passwd", "x" * 300])
def test_a_split_that_is_not_there(folder, split):
    folder.list("cat_train", "a 1\n")
    refused(folder, "got the split", "(test, train)", split=split)


@pytest.mark.parametrize("text", ["", "\n \n\r\n", b"\xef\xbb\xbf\n"])
def test_an_empty_split(folder, text):
    folder.list("train", text)
    refused(folder, "train.txt without names")


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "..", ".", "sub/x", "..\\x", "C:x", "a\x00", "a\x1b[2J", "x" * 300])
def test_a_split_that_names_a_file_outside_the_folder(folder, name):
    (folder.root.parent / "x.xml").write_text(document(thing()))
    folder.list("train", f"a\n{name}\n")
    refused(folder, "got the name", "train.txt")


def test_a_list_with_other_line_ends_and_a_name_twice(folder):
    folder.list("train", b"\xef\xbb\xbfb\r\n\r\na \r\nb")
    images = load_voc(folder.root, "train")
    assert [image.name for image in images.images] == ["b", "a"]
    assert images.problems == [] and images.normalised == {"images that are in their list more than once": 1}


def test_a_list_that_is_no_text(folder):
    folder.list("train", b"\xff\xfe\x00")
    refused(folder, "not text")


def test_a_list_without_end(folder, monkeypatch):
    monkeypatch.setattr(voc_lists, "LONGEST_LIST", 3)
    refused(folder, "train.txt of more than 3 bytes")


# what is normalised

@pytest.mark.parametrize("box, expected, what", [
    ((0, 0, 29, 24), (0, 0, 29, 24), FROM_0), ((0.5, 6, 30, 25), (0, 5, 30, 25), FROM_0), ((11, 0, 61, 25), (10, 0, 60, 25), FROM_0),
    ((11, 6, 61, 25), (10, 5, 60, 25), CLIPPED), ((11, 6, 30, 40.5), (10, 5, 30, 40), CLIPPED), ((1, 1, 60, 40), (0, 0, 60, 40), None)])
def test_what_reaches_outside_by_up_to_a_pixel_is_cut_off_and_counted(folder, box, expected, what):
    folder.annotate("a", document(thing(box=box), thing()))
    images = load_voc(folder.root, "train")
    assert_array_equal(images.images[0].boxes, np.array([expected, (10, 5, 30, 25)], np.float32))
    assert images.normalised == ({what: 1} if what else {}) and images.problems == [] and not images.skipped


def test_corners_that_count_from_0_are_taken_as_they_are(folder):
    """Continuous coordinates, as VoTT, CVAT, Label Studio and LabelMe's converter write them."""
    folder.annotate("a", document(thing(box=(0, 0, 29.5, 24)), thing(box=(11, 6, 60, 40)), thing(box=(-0.5, 6, 61, 25))))
    images = load_annotated(folder.root, "train", box_origin=0)
    assert_array_equal(images.images[0].boxes, np.array([(0, 0, 29.5, 24), (11, 6, 60, 40), (0, 6, 60, 25)], np.float32))
    assert images.normalised == {CLIPPED: 1} and images.problems == []
    with pytest.raises(InputError, match="got box_origin=2, expected 0 or 1"):
        load_annotated(folder.root, "train", box_origin=2)


def test_no_object_of_a_data_set_that_counts_from_0_is_lost(folder):
    """As VOC's own boxes less 1: with the wrong origin, too."""
    boxes = [(0, 0, 207, 88), (4, 0, 59, 39), (0, 3, 30, 25)]
    size = "<size><width>208</width><height>90</height></size>"
    folder.annotate("a", document(*(thing(box=box) for box in boxes), size=size))
    for origin, count in ((0, {}), (1, {FROM_0: 3})):
        images = load_voc(folder.root, "train", box_origin=origin)
        assert len(images.images[0].boxes) == 3 and not images.skipped and images.normalised == count


@pytest.mark.parametrize("text, expected, counted", [
    ("", False, 1), (" ", False, 1), ("Unspecified", False, 1), ("False", False, 1), ("no", False, 1), ("TRUE", True, 1), ("yes", True, 1),
    ("0", False, 0), ("1", True, 0), (" 1 ", True, 0), ("0.0", False, 0)])
def test_every_spelling_of_difficult(folder, text, expected, counted):
    folder.annotate("a", document(thing(more=f"<difficult>{text}</difficult>")))
    images = load_voc(folder.root, "train")
    assert_array_equal(images.images[0].difficult, [expected])
    assert images.problems == [] and images.normalised == ({SPELLING: counted} if counted else {})


# annotations that are reported

def skipped(folder, text, *expected):
    """With that XML file image a is skipped and b is kept; the problem is one line."""
    folder.annotate("a", text)
    images = load_voc(folder.root, "train")
    assert [image.name for image in images.images] == ["b"]
    problem, = images.problems
    assert problem.startswith("a: ") and problem.endswith("The image is skipped.") and problem.isprintable() and len(problem) < 400
    assert images.skipped.document() == {"images": 1, "objects": 0, "reasons": {"annotation cannot be read": 1}}
    for text in expected:
        assert text in problem


@pytest.fixture(params=[False, True], ids=["standard", "defusedxml"])
def parser(request, monkeypatch):
    """With and without defusedxml."""
    if request.param:
        pytest.importorskip("defusedxml")
    else:
        monkeypatch.setitem(sys.modules, "defusedxml", None)
        monkeypatch.setitem(sys.modules, "defusedxml.ElementTree", None)


def test_an_entity_bomb(folder, parser):
    skipped(folder, document(thing("&l9;"), start=LAUGHS), "declaration")


def test_an_external_entity(folder, parser):
    (folder.root / "secret").write_text("cat")
    start = f'<!DOCTYPE a [<!ENTITY x SYSTEM "{(folder.root / "secret").as_uri()}">]>'
    skipped(folder, document(thing("&x;"), start=start), "declaration")


@pytest.mark.parametrize("text", ["", "<annotation>", "no XML", b"\x00\xff\xd8", document(thing())[:-5]])
def test_what_is_no_xml(folder, text, parser):
    skipped(folder, text, "not plain XML")


def test_an_xml_without_end(folder, monkeypatch):
    monkeypatch.setattr(voc_xml, "LONGEST_XML", 1000)
    skipped(folder, document(thing(), start=" " * 1000), "more than 1000 bytes")


def test_a_missing_xml(folder):
    (folder.root / "Annotations" / "a.xml").unlink()
    images = load_voc(folder.root, "train")
    assert len(images.images) == 1 and "a.xml, which cannot be read" in images.problems[0]


@pytest.mark.parametrize("size", [
    "", "<size/>", "<size><width>60</width></size>", "<width>60</width><height>40</height>",
    *(f"<size><width>{width}</width><height>40</height></size>"
      for width in ("", "0", "-60", "60.5", "nan", "inf", "1e999", "sixty", "1_0", "٦٠", "100000000", "9" * 1000, "\x7f"))])
def test_a_size_that_is_missing_or_none(folder, size):
    skipped(folder, document(thing(), size=size), "size")


def test_a_split_of_which_nothing_is_left(folder):
    folder.annotate("c", "no XML")
    refused(folder, "got 1 images in the split test", "c.xml", split="test")


def left_out(folder, *expected, **options):
    """With that object in the middle, the other two are kept; the problem is one line."""
    folder.annotate("a", document(thing("cow"), thing(**options) if options else "<object/>", thing("dog")))
    images = load_voc(folder.root, "train")
    assert_array_equal(images.images[0].labels, [VOC.index("cow"), VOC.index("dog")])
    assert_array_equal(images.images[0].boxes, [[10, 5, 30, 25]] * 2)
    problem, = images.problems
    assert problem.startswith("a: object 2") and "skipped" in problem and problem.isprintable() and len(problem) < 300
    assert (images.skipped.images, images.skipped.objects, sum(images.skipped.reasons.values())) == (0, 1, 1)
    for text in expected:
        assert text in problem


@pytest.mark.parametrize("box", [(-0.5, 6, 30, 25), (11, -1, 30, 25), (11, 6, 61.5, 25), (11, 6, 30, 42), (-30, -25, -11, -6),
                                 (70, 50, 80, 60), (61, 6, 61.5, 25), (1, 1, "1e30", 40), (-0.5, 6, 0, 25)])
def test_a_box_outside(folder, box):
    left_out(folder, "cat", "not inside the image of 60 x 40", box=box)


@pytest.mark.parametrize("box", [(30, 6, 11, 25), (11, 25, 30, 6), (30, 25, 11, 6)])
def test_a_box_inside_out(folder, box):
    left_out(folder, "cat", "inside out", box=box)


@pytest.mark.parametrize("box", [(11, 6, 11, 25), (11, 6, 30, 6), (11, 6, 11, 6)])
def test_a_box_of_zero_area(folder, box):
    left_out(folder, "cat", "empty", box=box)


@pytest.mark.parametrize("value", ["", "x", "nan", "NaN", "inf", "-Infinity", "1e999", "0x1F", "1,5", "1_1", "１１", "1" * 100])
def test_a_corner_that_is_no_number(folder, value):
    left_out(folder, "corners that are missing or not numbers", box=(11, 6, value, 25))


def test_a_corner_that_is_missing(folder):
    left_out(folder, "corners that are missing", box=(11, 6, 30))


def test_an_object_of_nothing(folder):
    left_out(folder, "the name None")


@pytest.mark.parametrize("name", ["", " ", BACKGROUND, "x" * 101, "a\nb", "a&#x9b;2J", "a\u202eb"])
def test_a_name_that_is_none(folder, name):
    left_out(folder, "the name ", name=name)


def test_difficult_that_is_neither(folder):
    left_out(folder, "difficult is 'very'", more="<difficult>very</difficult>")


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.data())
def test_damage_of_any_kind_is_reported_or_refused(tmp_path_factory, data):
    folder = Folder(tmp_path_factory.mktemp("voc"))
    whole = document(thing("dog", more="<difficult>0</difficult>"), thing("cat", (1, 1, 60, 40))).encode()
    start, length = data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, 20))
    pieces = [st.binary(max_size=8), st.sampled_from([b"<object>", b"</object>", b"9" * 60, b"nan", b"&amp;", b"-", b"<![CDATA[", b"]]>"])]
    folder.annotate("a", whole[:start] + data.draw(st.one_of(pieces)) + whole[start + length:])
    images = load_voc(folder.root, "train")
    for one in images.images:
        assert np.isfinite(one.boxes).all() and (one.boxes[:, :2] >= 0).all() and (one.boxes[:, 2:] <= (one.width, one.height)).all()
        assert (one.boxes[:, :2] < one.boxes[:, 2:]).all() and len(one.boxes) == len(one.labels) == len(one.difficult) == len(one.areas)
    assert all(problem.isprintable() for problem in images.problems) and len(images.images) + len(images.problems) >= 2


# real ones

def real(name):
    """A folder beside the repository, if it is there."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"no {SHARED / name}")
    return SHARED / name


@pytest.mark.parametrize("split, images, objects, difficult", [("trainval", 1500, 4533, 850), ("val", 250, 821, 165),
                                                                 ("test", 500, 1383, 241)])
def test_a_part_of_voc2007(split, images, objects, difficult):
    got = load_annotated(real("voc"), split)
    assert got.class_names == list(VOC) and got.problems == [] and len(got.images) == images
    assert sum(len(one.boxes) for one in got.images) == objects and sum(one.difficult.sum() for one in got.images) == difficult
    assert {label for one in got.images for label in one.labels} == set(range(1, 21))
    assert all(one.path.is_file() for one in got.images)


def test_all_of_voc2007s_test_images_by_reading_each_annotation_once_and_no_image():
    folder = real("map_cases/voc2007_test")
    with opened_files() as opened:
        got = load_annotated(folder, "test")
    paths = [Path(path) for path in opened if Path(path).is_relative_to(folder)]
    assert len(paths) == len(set(paths)) and Counter(path.suffix for path in paths) == {".xml": 4952, ".txt": 1}
    assert got.class_names == list(VOC) and got.problems == [] and len(got.images) == 4952
    assert sum(len(one.boxes) for one in got.images) == 14976 and sum(one.difficult.sum() for one in got.images) == 2944


def test_blood_cells_and_their_two_empty_boxes():
    folder, names, problems = real("bccd"), Counter(), []
    for split, count in (("train", 205), ("val", 87), ("test", 72)):
        got = load_annotated(folder, split)
        assert len(got.images) == count and got.class_names == [BACKGROUND, "Platelets", "RBC", "WBC"]
        names.update(got.class_names[label] for one in got.images for label in one.labels)
        problems += got.problems
    skipped = Counter(name for name in ("Platelets", "RBC", "WBC") for problem in problems if f" {name}," in problem)
    assert names + skipped == {"RBC": 4155, "WBC": 372, "Platelets": 361}
    assert [problem.partition(":")[0] for problem in sorted(problems)] == ["BloodImage_00338", "BloodImage_00343"]
    assert all("empty" in problem for problem in problems)
    assert len(load_annotated(folder, "trainval").images) == 292

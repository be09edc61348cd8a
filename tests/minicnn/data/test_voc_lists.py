"""Lists of images as tools write them: with suffixes, with numbers, one for each class."""

import pytest
from voc_folders import Folder, document, thing

from minicnn.data.voc import load_voc
from minicnn.data.voc_lists import LONG_NAMES, name_of, without_suffix
from minicnn.errors import InputError


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path, train=["a", "b"])


def names(folder, split="train"):
    return [image.name for image in load_voc(folder.root, split).images]


@pytest.mark.parametrize("text", ["a.jpg -1\nb.jpg 1\n", "a  1\r\nb  -1\r\n", "a.jpg\nb.PNG\n", "a 1\nb\n", "a\t0\nb 1", "a.xml\nb\n"])
def test_suffixes_and_numbers_are_no_part_of_a_name(folder, text):
    """A number says whether a class is there; the image belongs to the split all the same, with all its objects."""
    folder.list("train", text)
    images = load_voc(folder.root, "train")
    assert [image.name for image in images.images] == ["a", "b"] and [len(image.boxes) for image in images.images] == [1, 1]
    assert images.problems == [] and images.normalised[LONG_NAMES] == sum(line.strip() not in "ab" for line in text.splitlines())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_may_begin_with_a_byte_order_mark(folder, encoding):
    (folder.root / "ImageSets" / "Main" / "train.txt").write_bytes("a\r\nb\r\n".encode(encoding))
    assert names(folder) == ["a", "b"]


def test_names_with_blanks_dots_and_numbers_stay_whole(folder):
    for name in ("photo 1", "photo", "a.jpg", "v2.1"):
        folder.annotate(name, document(thing()))
    folder.list("train", "photo 1\nphoto\na.jpg\nv2.1\n")
    assert names(folder) == ["photo 1", "photo", "a.jpg", "v2.1"]                   # an XML file of the whole name comes first
    assert load_voc(folder.root, "train").normalised == {}


def test_a_name_that_can_be_read_in_two_ways_is_refused(folder):
    folder.annotate("a 1", document(thing()))
    folder.list("train", "a 1\nb 1\n")
    with pytest.raises(InputError, match="got 'a 1' in .*train.txt, which may be the name 'a 1' or 'a' with a number"):
        names(folder)


def test_a_split_is_what_its_lists_by_class_name(folder):
    """VoTT writes no others."""
    (folder.root / "ImageSets" / "Main" / "train.txt").unlink()
    folder.list("cat_train", "a.jpg 1\nb.jpg -1")
    folder.list("dog_train", "a.jpg -1\nb.jpg -1")
    folder.list("my_val", "a\n")
    assert names(folder) == ["a", "b"] and names(folder, "cat_train") == ["a", "b"] and names(folder, "my_val") == ["a"]
    for split in ("val", "test", "*"):
        with pytest.raises(InputError, match=r"expected a list in .*Main \(my_val, train\)"):
            names(folder, split)


def test_a_split_of_its_own_comes_before_lists_by_class(folder):
    folder.list("cat_train", "a 1\n")
    assert names(folder) == ["a", "b"]


def test_what_has_no_xml_keeps_the_likelier_name():
    assert name_of("a.jpg 1", set(), True, "x.txt") == "a" and name_of("a 1", set(), False, "x.txt") == "a 1"
    assert without_suffix("a.b.JPEG") == "a.b" and without_suffix("a.b") == "a.b" and without_suffix("a") == "a"

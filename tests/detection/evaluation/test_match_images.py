"""Names in files of detections find the images that they were made of, or are refused; never another image."""

import json
import os
from pathlib import Path

import pytest
from annotated_sets import annotated, image
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.detection.evaluation.match_images import ID, PATH, STEM, components, match_images
from minicnn.errors import InputError


def set_of(**files):
    """A data set of {image's name: file}."""
    images = [image(name, []) for name in files]
    for one, file in zip(images, files.values()):
        one.path = Path(file)
    return annotated(images)


def numbered(*pairs):
    return set_of(**{str(name): file for name, file in pairs})


def matched(names, set_, form=PATH):
    return match_images(names, set_, "d.json", form)


PERMUTED = numbered((3, "/d/1.jpg"), (1, "/d/2.jpg"), (2, "/d/3.jpg"))


@pytest.mark.parametrize("names, form", [(["1", "2", "3"], STEM), (["shots/1.jpg", "shots/2.jpg", "shots/3.jpg"], PATH),
                                         (["1", "2", "3"], PATH), (["1.png", "2.png", "3.png"], PATH)])
def test_numeric_file_names_win_over_ids(names, form):
    assert list(matched(names, PERMUTED, form)[0].values()) == [0, 1, 2]


def test_a_number_is_an_id_where_no_file_has_such_a_name():
    set_ = numbered((397133, "val/COCO_val_000397133.jpg"), (37777, "val/COCO_val_000037777.jpg"))
    indices, notes = matched(["37777", "397133", "5"], set_, STEM)
    assert indices == {"397133": 0, "37777": 1}
    assert notes == ["The images in d.json are matched by their ids, since no file has such a name."]
    assert matched(["COCO_val_000397133"], set_, STEM) == ({"COCO_val_000397133": 0}, [])
    assert matched(["000397133", "000037777"], set_, STEM)[0] == {"000397133": 0, "000037777": 1}
    assert matched(["37777.jpg"], set_) == ({}, [])                     # the name of a file that the data set does not have


def test_where_one_name_is_a_files_the_others_are_not_ids():
    """Detections of 1.jpg to 5.jpg, of which the data set has two, with the ids of others."""
    assert matched(list("12345"), numbered((1, "/d/4.jpg"), (2, "/d/5.jpg")), STEM)[0] == {"4": 0, "5": 1}


def test_ids_of_cocos_results_are_ids_and_it_is_said_where_files_have_these_names_too():
    indices, notes = matched(["1", "2", "3"], PERMUTED, ID)
    assert indices == {"3": 0, "1": 1, "2": 2} and notes == ["The images in d.json are matched by their ids, although all are file names, "
                                                            "too, of other images."]
    assert "by their file names, although all are ids" in matched(["1", "2", "3"], PERMUTED, STEM)[1][0]
    assert matched(["2", "1"], set_of(**{"000001": "a/000001.jpg", "000002": "a/000002.jpg"}), ID) == ({"1": 0, "2": 1}, [])


NESTED = numbered((1, "/set/a/1.jpg"), (2, "/set/b/1.jpg"), (3, "/set/b/a/1.jpg"), (4, "/set/b/2.jpg"))


@pytest.mark.parametrize("name, index", [
    ("/set/a/1.jpg", 0), ("set/b/a/1.jpg", 2), ("b/1.jpg", 1), ("./b//1.jpg", 1), ("b/x/../a/1.jpg", 2), ("../../set/b/1.jpg", 1),
    ("C:\\set\\a\\1.jpg", 0), ("b\\a\\1.jpg", 2), ("/home/me/set/b/1.jpg", 1), ("/set/a/1.JPG", 0), ("b/a/1", 2), ("2.jpg", 3),
])
def test_the_longest_end_of_the_path_decides(name, index):
    assert matched([name], NESTED)[0] == {name: index}


@pytest.mark.parametrize("name, form", [("1.jpg", PATH), ("a/1.jpg", PATH), ("c/1.jpg", PATH), ("a\\1.jpg", PATH), ("1.png", PATH),
                                        ("1", PATH), ("1", STEM), ("1.jpg", STEM), ("a/1", STEM)])
def test_what_fits_several_images_is_refused(name, form):
    with pytest.raises(InputError, match=r"in d.json, which may be '/set/.*1.jpg', '/set/.*1.jpg'.*Write more of its path") as error:
        matched([name], NESTED, form)
    assert str(error.value).isprintable()


def test_a_relative_path_is_seen_from_the_current_folder_where_more_images_end_so(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    set_ = numbered((1, tmp_path / "a/1.jpg"), (2, tmp_path / "b/1.jpg"), (3, tmp_path / "b/a/1.jpg"))
    assert matched(["1.jpg", "../b/1.jpg"], set_)[0] == {"1.jpg": 0, "../b/1.jpg": 1}
    os.symlink(tmp_path / "a", tmp_path / "link")
    monkeypatch.chdir(tmp_path / "link")
    assert matched([f"{tmp_path}/link/../a/1.jpg"], set_)[0] == {f"{tmp_path}/link/../a/1.jpg": 0}


def test_images_of_other_folders_are_not_those_of_the_data():
    """train/1.jpg is not val/1.jpg, though no detections of val/1.jpg are there; without any in val, it is said."""
    set_ = numbered((1, "/set/val/1.jpg"), (2, "/set/val/2.jpg"))
    assert matched(["/set/train/1.jpg", "/set/train/2.jpg", "/set/val/2.jpg"], set_) == ({"/set/val/2.jpg": 1}, [])
    indices, notes = matched(["shots/1.jpg", "shots/2.jpg"], set_)
    assert indices == {"shots/1.jpg": 0, "shots/2.jpg": 1}
    assert notes == ["2 images in d.json are matched with files in other folders, such as 'shots/1.jpg' with '/set/val/1.jpg'."]


def test_an_image_of_another_folder_is_no_matter_however_many_it_resembles():
    set_ = numbered((1, "/set/1.jpg"), (2, "/set/val/1.jpg"))
    assert matched(["set/train/1.jpg", "set/val/1.jpg"], set_)[0] == {"set/val/1.jpg": 1}


def test_files_of_other_suffixes_are_not_those_of_the_data():
    """1.png is not 1.jpg where the other files have the data's suffix; where all differ, it is said."""
    set_ = numbered((1, "/set/1.jpg"), (2, "/set/2.jpg"))
    assert matched(["/set/1.png", "/set/2.jpg"], set_) == ({"/set/2.jpg": 1}, [])
    indices, notes = matched(["/set/1.png", "/set/2.PNG"], set_)
    assert indices == {"/set/1.png": 0, "/set/2.PNG": 1} and "2 images in d.json are matched with files of another suffix" in notes[0]


@pytest.mark.parametrize("names", [["a/1.jpg", "./a/1.jpg"], ["a/1.jpg", "/set/a/1.jpg"], ["1.jpg", "a/1.jpg"], ["x/1.jpg", "y/1.jpg"],
                                   ["1.png", "1.gif"], ["cafe\u0301.jpg", "caf\u00e9.jpg"]])
def test_an_image_given_twice_is_refused(names):
    with pytest.raises(InputError, match=r"twice in d.json, as .* and as .*expected it once"):
        matched(names, numbered((1, "/set/a/1.jpg"), (2, "/set/a/caf\u00e9.jpg")))


def test_of_two_names_of_an_image_the_one_with_the_longer_end_counts():
    assert matched(["x/1.jpg", "x/val/1.jpg"], numbered((1, "/set/val/1.jpg")))[0] == {"x/val/1.jpg": 0}


def test_letters_with_accents_are_the_same_however_they_are_coded():
    set_ = numbered((1, "/set/cafe\u0301/1.jpg"), (2, "/set/b/1.jpg"))
    assert matched(["caf\u00e9/1.jpg"], set_)[0] == {"caf\u00e9/1.jpg": 0}
    both = numbered((1, "/set/cafe\u0301/1.jpg"), (2, "/set/caf\u00e9/1.jpg"))
    assert matched(["caf\u00e9/1.jpg", "cafe\u0301/1.jpg"], both)[0] == {"caf\u00e9/1.jpg": 1, "cafe\u0301/1.jpg": 0}


def test_names_that_are_no_text_are_those_that_detect_writes():
    set_ = numbered((1, "/set/\udcff.jpg"), (2, "/set/b.jpg"))
    assert matched(["/set/?.jpg"], set_)[0] == {"/set/?.jpg": 0}
    with pytest.raises(InputError, match="which may be"):
        matched(["/set/?.jpg"], numbered((1, "/set/\udcff.jpg"), (2, "/set/\udcfe.jpg")))


@pytest.mark.parametrize("name", ["", ".", "..", "/", "\\"])
def test_names_that_are_no_files_find_nothing(name):
    assert matched([name], NESTED) == ({}, [])


def test_many_images_of_one_file_name():
    """One image a folder; where all were compared with all, this would take minutes for a data set of COCO's size."""
    set_ = numbered(*((index, f"/set/{index}/rgb/image.jpg") for index in range(3_000)))
    names = [f"x/{index}/rgb/image.jpg" for index in range(3_000)]
    assert list(matched(names, set_)[0].values()) == list(range(3_000))


def test_components_of_a_path_as_written():
    assert components("cafe\u0301\\a/./1.jpg") == ("caf\u00e9", "a", "1.jpg")
    assert components("cafe\u0301/b", as_written=True) == ("cafe\u0301", "b")


def layouts(letters):
    """Files in folders, of few letters, so that names are often alike; and as many ids in any order."""
    part = st.text(st.sampled_from(letters), min_size=1, max_size=2)
    suffix = st.sampled_from([".jpg", ".JPG", ".png", ".jpg.png", ".tif"])
    file = st.builds(lambda folders, name, suffix: "/".join([*folders, name + suffix]), st.lists(part, max_size=2), part, suffix)
    return st.lists(file, min_size=1, max_size=8, unique=True).flatmap(
        lambda files: st.tuples(st.just(files), st.permutations(range(1, len(files) + 1))))


@settings(max_examples=300, deadline=None)
@given(layouts("012aA\u00e9\u0301 -\\"), st.sampled_from(["", "set/", "{}/set/"]))
def test_all_images_of_any_layout_find_themselves(layout, typed):
    """Whatever the files' names and the ids are, and whether the path was relative to the data, to its parent, or absolute."""
    files, ids = layout
    root = Path.cwd() / ("set" if typed else ".")
    set_ = numbered(*((number, root / file) for number, file in zip(ids, files)))
    names = [typed.format(Path.cwd()) + file for file in files]
    assert matched(names, set_) == (dict(zip(names, range(len(names)))), [])


@settings(max_examples=300, deadline=None)
@given(layouts("01aA"), st.sets(st.integers(0, 7)), st.sets(st.integers(1, 7)))
def test_an_image_never_takes_anothers_place(layout, others, unreadable):
    """Detections of a whole data set, but for files that could not be read; the data are some of its images: the others are nobody's.

    One image at least is in both, else nothing shows where the data's images are.
    """
    files, ids = layout
    data = [file for index, file in enumerate(files) if index == 0 or index not in others]
    named = [f"set/{file}" for index, file in enumerate(files) if index not in unreadable]
    set_ = numbered(*((ids[index], Path("/data/set", file)) for index, file in enumerate(data)))
    assert matched(named, set_)[0] == {f"set/{file}": index for index, file in enumerate(data) if f"set/{file}" in named}


def test_names_of_json_are_texts_that_messages_quote():
    with pytest.raises(InputError) as error:
        matched([json.loads('"\\u001b[2J/1.jpg"')], NESTED)
    assert str(error.value).isprintable()

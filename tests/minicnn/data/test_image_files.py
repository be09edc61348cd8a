"""Finding images: whatever has an image's suffix is found, whether it can be read or not; everything else is counted."""

import sys
from pathlib import Path

import pytest
from image_checks import refused
from PIL import Image

from minicnn.data.image_files import RAW, SUFFIXES, UNREADABLE, find_images, images_in, pillow_suffixes, preferred


@pytest.fixture
def shots(tmp_path, monkeypatch):
    """A folder of images and other files, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.JPG", "a.png", "c.npy", "notes.txt", ".a.png", "._b.JPG", "[1].png", "below/d.png", "empty/x.txt", "folder.png/e.png"):
        path = tmp_path / "shots" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("arguments, expected", [
    (["shots"], ["[1].png", "a.png", "b.JPG", "c.npy"]), (["shots/b.JPG", "shots/"], ["b.JPG", "[1].png", "a.png", "c.npy"]),
    (["shots/*.png"], ["[1].png", "a.png"]), (["shots/[ab].*"], ["a.png", "b.JPG"]), (["shots/[1].png"], ["[1].png"]),
    (["shots/**/*.png"], ["[1].png", "a.png", "below/d.png", "folder.png/e.png"]), (["shots/a.png", "./shots/../shots/a.png"], ["a.png"]),
    (["shots/none.jpg", "shots/notes.txt"], ["none.jpg", "notes.txt"])])
def test_finding(shots, arguments, expected):
    assert find_images(arguments) == [Path("shots", name) for name in expected]


def test_a_name_given_twice_as_absolute_and_relative_is_one(shots, tmp_path):
    assert find_images([tmp_path / "shots/a.png", "shots/a.png"]) == [tmp_path / "shots/a.png"]


@pytest.mark.parametrize("argument", ["shots/empty", "shots/*.bmp", "none/*", "shots/bel*"])
def test_where_no_image_is(shots, argument):
    refused(["shots/a.png", argument], argument, "no image", function=find_images)


@pytest.mark.parametrize("argument, expected", [
    ("shots [2024]/*.jpg", ["shots [2024]/a.jpg"]), ("shots [2024]/below [1]/*", ["shots [2024]/below [1]/b.jpg"]),
    ("shots [2024]/**/*.jpg", ["shots [2024]/a.jpg", "shots [2024]/below [1]/b.jpg"]), ("shots [2]/c*", ["shots 2/c.jpg"]),
    ("./shots [2024]/*", ["shots [2024]/a.jpg"]), ("shots 2/[ab]*", ["shots 2/[ab] 1.jpg"]), ("shots 2/[c].*", ["shots 2/c.jpg"]),
    ("shots 2/[[]*", ["shots 2/[ab] 1.jpg"]), ("*/c.jpg", ["shots 2/c.jpg"])])
def test_brackets_of_what_exists_are_brackets(tmp_path, monkeypatch, argument, expected):
    monkeypatch.chdir(tmp_path)
    for name in ("shots [2024]/a.jpg", "shots [2024]/below [1]/b.jpg", "shots 2/c.jpg", "shots 2/[ab] 1.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert find_images([argument]) == [Path(name) for name in expected]
    assert find_images([tmp_path / argument]) == [tmp_path / name for name in expected]


# what a folder holds

def make(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".mpo", ".JFIF", ".tga", ".pcx", ".heic", ".HEIF", ".avif", ".jxl", ".cr2",
                                    ".nef", ".arw", ".dng", ".raf", ".rw2", ".orf"])
def test_whatever_has_an_images_suffix_is_found(tmp_path, suffix):
    make(tmp_path, "a" + suffix, "notes.txt")
    assert images_in(tmp_path) == [tmp_path / ("a" + suffix)]
    assert find_images([f"{tmp_path}/*{suffix}"]) == [tmp_path / ("a" + suffix)]


def test_a_link_to_nowhere_is_found(tmp_path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "card" / "1.jpg")
    for argument in (tmp_path, tmp_path / "*.jpg", tmp_path / "gone.jpg"):
        assert find_images([argument]) == [tmp_path / "gone.jpg"]


def test_a_link_to_a_folder_is_a_folder(tmp_path):
    make(tmp_path / "shots", "a.jpg")
    (tmp_path / "shots" / "link.jpg").symlink_to(tmp_path)
    assert images_in(tmp_path / "shots") == [tmp_path / "shots" / "a.jpg"]


def test_what_else_a_folder_holds_is_counted_in_one_line(shots):
    lines = []
    find_images(["shots/a.png", "shots/*.png"], lines.append)
    assert lines == []                                              # nothing was left out of what was named
    find_images(["shots"], lines.append)
    assert lines == ["left out of shots: 1 other file (1 .txt) and 3 folders"]


def test_the_commonest_kinds_of_others_are_named(tmp_path):
    make(tmp_path, "a.jpg", "1.xml", "2.xml", "3.XML", "1.txt", "2.txt", "README", "movie.mpg", "data.h5", "page.pdf",
         "drawing.eps", ".DS_Store")
    lines = []
    assert images_in(tmp_path, lines.append) == [tmp_path / "a.jpg"]
    assert lines == [f"left out of {tmp_path}: 10 other files (3 .xml, 2 .txt, 1 without a suffix, 1 .h5, 1 .eps, ...)"]


def test_a_folder_of_images_alone_has_no_others(tmp_path):
    lines = []
    images_in(make(tmp_path, "a.jpg", "b.heic"), lines.append)
    assert lines == []


def test_pillow_is_asked_what_it_decodes():
    assert pillow_suffixes() >= {".jpg", ".jfif", ".jpe", ".png", ".webp", ".tga", ".tif"}
    assert not pillow_suffixes() & {".pdf", ".eps", ".h5", ".wmf", ".mpg", ".txt"}      # written only, run, recognised only, films


def test_a_plugin_of_pillow_counts(tmp_path, monkeypatch):
    """As pillow-heif's, which the caller registers."""
    Image.init()
    monkeypatch.setitem(Image.OPEN, "OURS", (lambda *args: None, None))
    monkeypatch.setitem(Image.EXTENSION, ".ours", "OURS")
    assert images_in(make(tmp_path, "a.ours", "b.theirs")) == [tmp_path / "a.ours"]


def test_without_pillow_the_usual_suffixes_are_found_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    make(tmp_path, "a.jpg", "b.npy", "c.ppm", "d.tga", "e.heic")
    assert [path.name for path in images_in(tmp_path)] == ["a.jpg", "b.npy", "c.ppm", "e.heic"]


def test_usual_suffixes_do_not_import_pillow(tmp_path, monkeypatch):
    monkeypatch.setattr("minicnn.data.image_files.pillow_suffixes", lambda: pytest.fail("asked"))
    assert len(images_in(make(tmp_path, *(f"a{suffix}" for suffix in {*SUFFIXES, *UNREADABLE})))) == len(SUFFIXES) + len(UNREADABLE)
    assert not {*SUFFIXES} & UNREADABLE and len(RAW) >= 20


def test_of_the_same_name_the_readable_one_is_preferred(tmp_path):
    make(tmp_path, "a.heic", "a.dng", "a.png", "a.jpg", "a.tga")
    (tmp_path / "b.jpg").symlink_to("nowhere")
    (tmp_path / "b.png").touch()

    def a(suffix):
        return tmp_path / f"a.{suffix}"
    for better, worse in (("jpg", "png"), ("png", "heic"), ("jpg", "dng"), ("tga", "dng"), ("png", "tga")):
        assert preferred(a(better), a(worse)) == preferred(a(worse), a(better)) == a(better)
    assert preferred(tmp_path / "b.jpg", tmp_path / "b.png") == tmp_path / "b.png"

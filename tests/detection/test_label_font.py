"""Fonts of labels: Pillow's own for what it has, others for what it lacks, and a warning where none has a letter."""

import os
import warnings

import numpy as np
import pytest
from font_files import write_font
from numpy.testing import assert_array_equal
from PIL import ImageFont

from minicnn import InputError
from minicnn.detection import label_font
from minicnn.detection.draw import draw, one_line
from minicnn.detection.label_font import Face, Label, drawable, lacking_letters, warnings_of


@pytest.fixture(autouse=True)
def no_fonts(monkeypatch, tmp_path):
    """A system without fonts; what was chosen before is forgotten, and after the test, too."""
    cached = (drawable, label_font.given, label_font.system_face, label_font.proposed_face, lacking_letters)
    for function in cached:
        function.cache_clear()
    monkeypatch.setattr(label_font, "SYSTEM", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    yield
    for function in cached:
        function.cache_clear()


def drawn(name, font=None):
    return draw(np.full((80, 100, 3), 127, np.uint8), [[10, 20, 90, 70]], [1], [0.9], [name], font)


def fontconfig(folder, *lines):
    """An fc-match that writes these lines, and what it is called with into a file."""
    script = folder / "fc-match"
    text = "\\n".join(lines)
    script.write_text(f"#!/bin/sh\necho \"$@\" > '{folder}/asked'\nprintf '{text}'\n")
    script.chmod(0o755)


def test_letters_that_a_font_lacks():
    assert lacking_letters(Face(), frozenset("adgo0.")) == frozenset()
    assert lacking_letters(Face(), frozenset("aß三Ж")) == frozenset("ß三Ж")


def test_a_font_has_the_letters_of_its_file(tmp_path):
    face = Face(write_font(tmp_path / "x.ttf", "ßЖ三🧀"))
    assert lacking_letters(face, frozenset("ßЖ三🧀ña")) == frozenset("ña")


def test_ascii_labels_are_drawn_in_pillows_font_whatever_the_system_has(tmp_path, monkeypatch):
    before = drawn("dog")
    drawable.cache_clear()
    monkeypatch.setattr(label_font, "SYSTEM", (write_font(tmp_path / "x.ttf", "dog 0.9"),))
    assert drawable("dog") == Label("dog", Face())
    assert_array_equal(drawn("dog"), before)


@pytest.mark.parametrize("name", ["Straße", "niño", "кошка", "γάτα", "قط", "三文字"])
def test_a_font_of_the_system_draws_what_pillows_lacks(tmp_path, monkeypatch, name):
    poor, rich = write_font(tmp_path / "poor.ttf", "abc"), write_font(tmp_path / "rich.ttf", {*name, *" 0.9"})
    monkeypatch.setattr(label_font, "SYSTEM", ("none.ttf", poor, rich))
    assert drawable(name) == Label(name, Face(rich))
    assert not np.array_equal(drawn(name), drawn("?" * len(name)))


def test_fontconfig_is_asked_for_the_letters(tmp_path):
    font = write_font(tmp_path / "x.ttf", "三")
    fontconfig(tmp_path, font, "65536")
    assert drawable("三") == Label("三", Face(font, 0))
    assert (tmp_path / "asked").read_text() == "--format=%{file}\n%{index} sans:charset=4e09\n"


@pytest.mark.parametrize("lines", [(), ("none.ttf", "0"), ("x", "y", "z"), (__file__, "0")])
def test_nonsense_from_fontconfig_is_no_font(tmp_path, lines):
    fontconfig(tmp_path, *lines)
    with pytest.warns(UserWarning, match="三"):
        assert drawable("三").face == Face()


def test_a_letter_that_no_font_has_is_a_question_mark_and_told_once(tmp_path, monkeypatch):
    monkeypatch.setattr(label_font, "SYSTEM", (write_font(tmp_path / "x.ttf", "abß 0.9?"),))
    with pytest.warns(UserWarning, match="the label 'aß三' is drawn with '\\?' for 三, which no font here has") as caught:
        assert drawable("aß三", None) == Label("aß?", Face(str(tmp_path / "x.ttf")))
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn("aß三")


def test_names_checked_before_are_not_warned_of_again():
    problems = warnings_of(["dog", "三", "Ж", "三"])
    assert len(problems) == 2 and "'三'" in problems[0] and "'Ж'" in problems[1]
    drawn("三")                                                     # pytest turns warnings into errors


def test_spaces_and_marks_of_the_layout_need_no_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(label_font, "SYSTEM", (write_font(tmp_path / "x.ttf", "三"),))
    name = "三\u200d \u0301三"
    assert drawable(name) == Label(name, Face(str(tmp_path / "x.ttf")))


def test_the_callers_font_comes_first(tmp_path):
    font = write_font(tmp_path / "x.ttf", "ad")
    assert drawable("add", font).face == Face(font) and drawable("dog", font) == Label("dog", Face())
    assert not np.array_equal(drawn("add", font), drawn("add"))


def test_a_file_that_is_no_font_is_refused(tmp_path):
    (tmp_path / "x.ttf").write_text("no font")
    for path in (tmp_path / "x.ttf", tmp_path / "none.ttf", str(tmp_path)):
        with pytest.raises(InputError, match="which cannot be read as a font") as caught:
            drawn("dog", path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_name_is_one_line_of_what_can_be_printed():
    assert one_line("two\nlines\t") == "two lines" and one_line("\x1b[31m") == "?[31m" and one_line(None) == "None"
    assert len(one_line("x" * 10**6)) == 100


@pytest.fixture
def old_pillow(monkeypatch):
    """Pillow's own font as before 10.1, or without FreeType."""
    load = getattr(ImageFont, "load_default_imagefont", ImageFont.load_default)
    if hasattr(load(), "getname"):
        pytest.skip("this Pillow cannot be asked for its small font")

    def load_default(size=None):
        if size is not None:
            raise TypeError("load_default() takes 0 positional arguments but 1 was given")
        return load()
    monkeypatch.setattr(ImageFont, "load_default", load_default)


def test_before_pillow_10_1_a_font_of_the_system_is_preferred_for_its_sizes(old_pillow, monkeypatch):
    monkeypatch.setattr(label_font, "system_face", lambda name: Face("some.ttf"))
    monkeypatch.setattr(label_font, "SYSTEM", ("some.ttf",))
    monkeypatch.setattr(Face, "has_sizes", lambda face: face.file is not None)
    monkeypatch.setattr(label_font, "lacking_letters", lambda face, letters: frozenset())
    assert drawable("dog") == Label("dog", Face("some.ttf"))


def test_before_pillow_10_1_small_letters_are_drawn_where_the_system_has_no_font(old_pillow):
    assert not Face().has_sizes() and drawable("dog") == Label("dog", Face())
    image = drawn("dog")
    assert image.shape == (80, 100, 3) and not np.array_equal(image, drawn("cat"))
    with pytest.warns(UserWarning, match="the label 'Hunde, große' is drawn"):
        assert drawable("Hunde, große", None) == Label("Hunde, gro?e", Face())
    drawn("Hunde, große")


@pytest.mark.skipif(not os.path.exists("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"), reason="Debian's DejaVu is not installed")
def test_dejavu_is_found_by_its_name(monkeypatch):
    monkeypatch.setattr(label_font, "SYSTEM", ("DejaVuSans.ttf",))
    for name in ("Straße", "niño", "кошка", "γάτα", "قط"):
        assert drawable(name) == Label(name, Face("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"))

"""Drawing: readable at any size, colours that anybody can distinguish, and odd boxes."""

import itertools
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minicnn import InputError
from minicnn.detection.draw import PALETTE, SHADES, colour, contrast, draw, fitting_text, free_place, ink, overlap, shows
from minicnn.detection.label_font import Face

# what protanopes and deuteranopes see of linear RGB; Machado, Oliveira, Fernandes, A physiologically-based model for simulation of
# color vision deficiency (2009), severity 1
SIGHTS = {
    "usual": np.eye(3),
    "protanopia": np.array([(0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)]),
    "deuteranopia": np.array([(0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)]),
}


def seen(rgb, sight):
    """A colour as CIE L*a*b* (white D65), in which distances are about as the eye's; 2 can just be distinguished."""
    parts = np.array(rgb) / 255
    linear = np.clip(SIGHTS[sight] @ np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4), 0, 1)
    xyz = np.array([(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)]) @ linear / (0.9505, 1, 1.089)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(one, other, sight):
    return np.linalg.norm(seen(colour(one), sight) - seen(colour(other), sight))


def plain(height, width, value=127):
    return np.full((height, width, 3), value, np.uint8)


def one(box, label=1, score=0.9, name="dog"):
    return [box], [label], [score], [name]


# colours

@pytest.mark.parametrize("sight", SIGHTS)
def test_the_first_eight_colours_differ_for_everybody(sight):
    assert min(distance(a, b, sight) for a, b in itertools.combinations(range(1, 9), 2)) > 15


@pytest.mark.parametrize("sight", SIGHTS)
def test_neighbouring_labels_differ_for_everybody(sight):
    assert min(distance(label, label + 1, sight) for label in range(1, 96)) > 20


def test_all_classes_of_coco_have_their_own_colour():
    assert len({colour(label) for label in range(1, 97)}) == 96 == len(PALETTE) * len(SHADES)
    assert all(type(part) is int and 0 <= part <= 255 for label in range(-5, 300) for part in colour(label))
    assert colour(97) == colour(1) == colour(np.int64(1)) == PALETTE[0]


def test_every_labels_text_is_readable():
    assert min(contrast(colour(label), ink(colour(label))) for label in range(1, 97)) >= 4.5


def test_contrast_by_hand():
    assert contrast((255, 255, 255), (0, 0, 0)) == contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)       # the W3C's well-known almost
    assert ink((255, 255, 0)) == (0, 0, 0) and ink((0, 0, 128)) == (255, 255, 255)


# what is drawn

def test_the_image_itself_is_not_changed():
    image = plain(60, 80)
    drawn = draw(image, *one([10, 20, 50, 50]))
    assert drawn.shape == (60, 80, 3) and drawn.dtype == np.uint8 and (drawn != 127).any()
    assert_array_equal(image, plain(60, 80))


def test_no_boxes_no_change():
    assert_array_equal(draw(plain(6, 8), np.zeros((0, 4), np.float32), np.zeros(0, int), np.zeros(0), []), plain(6, 8))


def test_a_frame_lies_within_its_box_to_the_pixel():
    drawn = draw(plain(100, 100), *one([20.2, 39.8, 70.4, 89.6], label=4))
    frame = (drawn == colour(4)).all(axis=2)
    frame[:40] = False                                              # the tag above
    rows, columns = np.nonzero(frame)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 89, 20, 69)
    assert (drawn[45:85, 25:65] == 127).all()                       # only the frame


def test_any_image_that_can_be_read_can_be_drawn_on():
    floats = np.full((3, 60, 80), 127 / 255, np.float32)
    assert_array_equal(draw(floats, *one([10, 20, 50, 50])), draw(plain(60, 80), *one([10, 20, 50, 50])))


@pytest.mark.parametrize("height, width, least, most", [(30, 40, 10, 10), (107, 160, 10, 10), (375, 500, 12, 16), (4000, 6000, 80, 200),
                                                       (60, 3000, 10, 16)])
def test_letters_and_lines_grow_with_the_image(monkeypatch, height, width, least, most):
    sizes = []
    load = Face.at
    monkeypatch.setattr(Face, "at", lambda face, size: sizes.append(size) or load(face, size))
    drawn = draw(plain(height, width), *one([width * 0.2, height * 0.5, width * 0.8, height - 0.1], label=3))
    assert least <= sizes[-1] <= most
    line = (drawn[int(height * 0.9), :width // 2] == colour(3)).all(axis=1).sum()
    assert line == pytest.approx(0.004 * (height * width) ** 0.5, abs=1)


@pytest.mark.parametrize("box", [[-20, -20, 30, 30], [80, 2, 99, 20], [90, 90, 130, 130], [0, 0, 100, 100], [97, 97, 99, 99],
                                 [2, 90, 8, 99]])
def test_a_tag_is_whole_and_inside_the_image(box, monkeypatch):
    places = []
    monkeypatch.setattr("minicnn.detection.draw.draw_tag", lambda pen, place, text, *rest: places.append((place, text)))
    draw(plain(100, 100), *one(box))
    ((x1, y1, x2, y2), text), = places
    assert 0 <= x1 < x2 <= 100 and 0 <= y1 < y2 <= 100 and text == "dog 0.90"


def test_a_text_that_does_not_fit_loses_its_score_then_its_end():
    font = Face().at(10)
    length = font.getlength
    assert fitting_text("person", 0.98, font, 1000) == "person 0.98"
    assert fitting_text("person", 0.98, font, length("person 0.98")) == "person 0.98"
    assert fitting_text("person", 0.98, font, length("person 0.98") - 1) == "person"
    assert fitting_text("person", 0.98, font, length("per.")) == "per."
    assert fitting_text("person", 0.98, font, 1) == ""


def test_tags_avoid_each_other():
    boxes = [[20, 40, 90, 90], [21, 41, 90, 90], [19, 39, 88, 91], [20, 42, 91, 89]]
    places = []
    for box in boxes:
        places.append(free_place(np.array(box), (40, 12), places, 120, 120))
    assert places[0] == (20, 28, 60, 40)                            # above, the first choice
    assert all(overlap(a, b) == 0 for a, b in itertools.combinations(places, 2))


def test_overlap_by_hand():
    assert overlap((0, 0, 4, 4), (2, 3, 9, 9)) == 2 and overlap((0, 0, 4, 4), (4, 0, 9, 9)) == 0 == overlap((0, 0, 4, 4), (5, 5, 9, 9))


def test_the_highest_score_is_on_top_whatever_the_order():
    boxes, labels, scores, names = [[20, 20, 80, 80]] * 3, [1, 2, 3], [0.3, 0.9, 0.6], ["a", "b", "c"]
    drawn = draw(plain(100, 100), boxes, labels, scores, names)
    assert tuple(drawn[50, 20]) == colour(2)
    for order in itertools.permutations(range(3)):
        again = draw(plain(100, 100), *([values[i] for i in order] for values in (boxes, labels, scores, names)))
        assert_array_equal(again, drawn)


# boxes that break others

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("box", [[NAN, 1, 5, 5], [1, 1, NAN, 5], [50, 50, 40, 60], [50, 60, 60, 50], [200, 10, 300, 20], [-30, 10, -20, 20],
                                 [10, 100, 20, 130], [10, -9, 20, 0], [INF, INF, INF, INF]])
def test_what_misses_the_image_is_left_out(box):
    assert not shows(box, 100, 80)
    assert_array_equal(draw(plain(80, 100), *one(box)), plain(80, 100))


@pytest.mark.parametrize("box", [[10, 10, 10, 10], [10, 10, 10, 60], [10, 10, 60, 10], [99.9, 79.9, 100, 80], [-INF, -INF, INF, INF],
                                 [-1e30, 5, 1e30, 6], [0, 0, 0.1, 0.1], [10, 10, 11.5, 11.5], [3, 3, 5, 50]])
@pytest.mark.parametrize("height, width", [(80, 100), (4000, 100)])
def test_thin_and_huge_boxes_are_drawn(box, height, width):
    drawn = draw(plain(height, width), *one(box))
    assert drawn.shape == (height, width, 3) and (drawn != 127).any()


@pytest.mark.parametrize("height, width", [(1, 1), (1, 500), (500, 1), (5, 5)])
def test_images_too_small_for_a_letter(height, width):
    assert draw(plain(height, width), *one([0, 0, width, height])).shape == (height, width, 3)


@pytest.mark.filterwarnings("ignore:the label")                   # that no font of this system has a letter
@pytest.mark.parametrize("name", ["", "Käse", "三", "🧀", "a/b", "x" * 1000, "\x1b[31m", None])
def test_any_name_can_be_drawn(name):
    assert draw(plain(80, 100), *one([10, 20, 90, 70], name=name)).shape == (80, 100, 3)


def test_a_score_that_is_nan_does_not_break_it():
    drawn = draw(plain(80, 100), [[10, 20, 90, 70]] * 2, [1, 2], [NAN, 0.5], ["a", "b"])
    assert tuple(drawn[50, 10]) == colour(2)


def test_many_boxes():
    rng = np.random.default_rng(0)
    boxes = rng.uniform(-50, 350, (300, 4)).astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    drawn = draw(plain(300, 300), boxes, np.arange(300), np.linspace(1, 0, 300), [f"class {i}" for i in range(300)])
    assert drawn.shape == (300, 300, 3)


def test_different_numbers_of_boxes_and_names_are_refused():
    with pytest.raises(InputError, match="got 1 boxes, 2 labels, 1 scores and 1 names"):
        draw(plain(8, 8), [[1, 1, 5, 5]], [1, 2], [0.5], ["a"])


def test_without_pillow_one_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match="pip install pillow"):
        draw(plain(8, 8), *one([1, 1, 5, 5]))

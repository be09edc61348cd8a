"""Charts: well-formed SVG, everything within the frame, ticks at round numbers."""

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.report.svg import BOTTOM, COLORS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Series, chart, number

SVG = "{http://www.w3.org/2000/svg}"


def points(x, y, **options):
    return Series("one", x, y, COLORS[0], options.pop("marks", ["dot"] * len(x)), **options)


def parse(series, **options):
    return ElementTree.fromstring(chart(series, "a", "b", "c", **options))


def test_a_chart_by_hand():
    svg = parse([points([0, 10], [1, 3], line=True), points([5, 5], [2, 1], marks=["cross", None])])
    assert svg.tag == f"{SVG}svg" and svg.get("viewBox") == f"0 0 {WIDTH} {HEIGHT}"
    assert [svg.find(f"{SVG}title").text, *[text.text for text in svg.findall(f"{SVG}text")][-2:]] == ["c", "a", "b"]
    first, last = svg.findall(f"{SVG}circle")                           # a dot for each, none for None
    margin = 0.06 / 1.12
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    assert float(first.get("cx")) == pytest.approx(LEFT + margin * width, abs=0.06)
    assert float(first.get("cy")) == pytest.approx(HEIGHT - BOTTOM - margin * height, abs=0.06)      # upwards
    assert float(last.get("cx")) == pytest.approx(WIDTH - RIGHT - margin * width, abs=0.06)
    assert float(last.get("cy")) == pytest.approx(TOP + margin * height, abs=0.06)
    strokes = [path.get("stroke") for path in svg.findall(f"{SVG}path")]
    assert strokes.count(COLORS[0]) == 2                                # the line and the cross
    assert [text.text for text in svg.findall(f"{SVG}text")][:-2] == ["0", "5", "10", "1", "1.5", "2", "2.5", "3"]


def test_a_line_of_a_single_point_can_be_seen():
    svg = parse([points([0.5], [0.2], marks=[None], line=True), points([0, 1], [0, 1], marks=[None, None], line=True)])
    assert len(svg.findall(f"{SVG}circle")) == 1


def test_names_are_escaped():
    text = chart([points([1], [1])], "<x> & 'x'", 'y "<b>"', "<script>alert(1)</script>")
    svg = ElementTree.fromstring(text)
    assert "<script" not in text and svg.find(f"{SVG}title").text == "<script>alert(1)</script>"
    assert [one.text for one in svg.findall(f"{SVG}text")][-2:] == ["<x> & 'x'", 'y "<b>"']


@pytest.mark.parametrize("x, y",
                         [([5], [7]), ([0], [0]), ([-1, -1], [3, 3]), ([1e-7, 3e-7], [1e-5, 2e-4]), ([1e9, 3e9], [-5, 5])])
def test_single_and_equal_points_and_extreme_scales(x, y):
    svg = parse([points(x, y)])
    for circle in svg.findall(f"{SVG}circle"):
        assert LEFT <= float(circle.get("cx")) <= WIDTH - RIGHT and TOP <= float(circle.get("cy")) <= HEIGHT - BOTTOM
    labels = [text.text for text in svg.findall(f"{SVG}text")[:-2]]
    assert all(len(label) <= 8 for label in labels)


positive = st.floats(1e-6, 1e9)


@given(st.lists(st.one_of(positive, positive.map(lambda v: -v), st.just(0.0)), min_size=1, max_size=5))
def test_ticks_lie_inside_and_are_few(values):
    check_ticks(Axis(values, 52, 328), values)


@given(st.lists(positive, min_size=1, max_size=5))
def test_logarithmic_ticks_lie_inside_and_are_few(values):
    check_ticks(Axis(values, 52, 328, log=True), values)


def check_ticks(axis, values):
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 17                                        # a decade each, over 15 decades, at most
    places = [place for _, place in ticks]
    assert places == sorted(places) and places[0] >= 52 - 1e-6 and places[-1] <= 328 + 1e-6
    assert all(axis(value) == place for value, place in ticks)
    assert all(52 <= axis(value) <= 328 for value in values)


@pytest.mark.parametrize("values, expected", [
    ([43000, 431000], [50000, 100000, 200000]), ([1, 1e4], [1, 10, 100, 1e3, 1e4]),
    ([30000, 61706], [30000, 40000, 50000, 60000]), ([55000, 61706], [56000, 58000, 60000, 62000]),
])
def test_logarithmic_ticks(values, expected):
    ticks = [value for value, _ in Axis(values, 0, 1, log=True).ticks()]
    assert all(math.isclose(got, want) for got, want in zip(ticks, expected)) and len(ticks) == len(expected)


@pytest.mark.parametrize("value, text", [
    (0, "0"), (1500, "1500"), (10000, "10k"), (200000, "200k"), (1.5e6, "1.5M"), (0.00012, "1.2e-4"), (0.25, "0.25"),
    (-0.5, "-0.5"),
    (3 * 0.1, "0.3"), (99.95, "99.95"), (-2e-5, "-2e-5"),
])
def test_numbers(value, text):
    assert number(value) == text

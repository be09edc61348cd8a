"""The page of a bench: it parses, shows every step, and its roof is where the machine's speeds are."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from minicnn.errors import InputError
from minicnn.report.roofline_page import colors_of, predict, roofline, write_report
from minicnn.report.svg import HEIGHT, LEFT, RIGHT, TOP, WIDTH

SVG = "{http://www.w3.org/2000/svg}"


def step(name, algorithm, flop, size, milliseconds, arithmetic=None):
    arithmetic = flop if arithmetic is None else arithmetic
    return {"name": name, "path": "", "algorithm": algorithm, "result": [4, 5, 8], "batch": 1, "flop": flop, "arithmetic": arithmetic,
            "bytes": size, "ms": milliseconds, "gflops": flop / milliseconds / 1e6, "product_share": arithmetic / milliseconds / 1e8,
            "memory_share": size / milliseconds / 1e7}


STEPS = [step("0: border", "copy", 0, 10**6, 2.0), step("<0>", "direct", 2 * 10**8, 10**6, 20.0),
         step("2", "winograd, 96 tiles", 4 * 10**9, 10**7, 16.0, 10**9), step("4", "winograd, 2 x 24 tiles", 10**9, 10**7, 5.0, 3 * 10**8),
         step("6", "product", 10**6, 10**6, 1.0)]


@pytest.fixture
def document():
    return {"architecture": "net <&>", "backend": "numpy", "size": [600, 800], "first_ms": 1234.0, "steps": STEPS,
            "roofs": {"gflops": 100.0, "gbytes": 10.0}, "between": {"transform": 3.0, "rest": 1.5},
            "total": {"ms": 48.5, "ms_least": 40.0, "ms_most": 60.0, "runs": 7, "gflops": 107.2},
            "machine": {"processor": "a <chip>", "board": None, "caches": {"L1": 32768}, "blas": ["openblas 0.3"], "variables": {}}}


def test_prediction_by_hand():
    """1 GFLOP and 10 MB: 10 ms at 100 GFLOP/s, 1 ms at 10 GB/s; a copy waits for memory alone; Winograd's own work counts."""
    assert predict(STEPS, 100, 10) == pytest.approx([0.1, 2, 10, 3, 0.1])
    assert predict(STEPS, 1e9, 1) == pytest.approx([1, 1, 10, 10, 1])


def test_the_page_is_self_contained_and_escaped(document, tmp_path):
    path = write_report(tmp_path, document)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert path == str(tmp_path / "report.html")
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) and "<script" not in text and "<link" not in text
    assert "net &lt;&amp;&gt;" in text and "<&>" not in text and "<0>" not in text and "a &lt;chip&gt;" in text
    HTMLParser().feed(text)
    for tag in ("figure", "div", "table", "p", "svg"):
        assert len(re.findall(f"<{tag}[ >]", text)) == text.count(f"</{tag}>")
    rows = [re.findall("<t[dh]>(.*?)</t[dh]>", row) for row in re.findall("<tr>(.*?)</tr>", text)]
    assert rows[2] == ["&lt;0&gt;", "20.00", "10.0", "10 %", "0 %", "direct", "4 × 5 × 8"]
    assert rows[3] == ["2", "16.00", "250.0", "62 %", "6 %", "winograd, 96 tiles", "4 × 5 × 8"]
    assert rows[6][:2] == ["transform", "3.00"] and rows[8][:3] == ["all", "48.50", "107.2"]
    assert ["caches", "L1 32768"] in rows and not any(row[0] in ("board", "variables") for row in rows)
    assert "2.0 ms in steps that do not multiply" in text and "1: &lt;0&gt;, 20.0 ms; 2: 2, 16.0 ms; 3: 4, 5.0 ms" in text


def test_a_dot_for_every_step_that_multiplies_under_the_roof():
    steps = STEPS[1:]
    svg = ElementTree.fromstring(roofline(steps, {"gflops": 100.0, "gbytes": 10.0}))
    circles = svg.findall(f"{SVG}circle")
    dots = [circle for circle in circles if circle.find(f"{SVG}title") is not None]
    rings = [circle for circle in circles if circle not in dots]
    assert len(dots) == 4 and len(rings) == 2
    radii = [float(dot.get("r")) for dot in dots]
    assert radii == sorted(radii, reverse=True) and radii[0] == 11.0
    assert radii[1] ** 2 / radii[0] ** 2 == pytest.approx(16 / 20, rel=0.02)
    roof = next(path.get("d") for path in svg.findall(f"{SVG}path") if path.get("stroke-width") == "1.5")
    x0, y0, x1, y1 = map(float, re.match(r"M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)H", roof).groups())
    assert LEFT - 0.1 <= x0 < x1 < WIDTH - RIGHT and TOP < y1 < y0 <= HEIGHT
    for circle in dots:
        x, y = float(circle.get("cx")), float(circle.get("cy"))
        assert LEFT <= x <= WIDTH - RIGHT and y >= y1 - 0.1
        assert x >= x1 or y >= y1 + (x1 - x) / (x1 - x0) * (y0 - y1) - 0.1
    assert all(float(ring.get("cy")) < y1 for ring in rings)


def test_a_step_at_the_ridge_lies_on_its_corner():
    steps = [step("a", "product", 10**9, 10**8, 10.0), step("b", "product", 10**8, 10**8, 10.0)]        # 10 FLOP/byte: 100; 1: 10
    svg = roofline(steps, {"gflops": 100.0, "gbytes": 10.0})
    corner = re.search(r"L([\d.]+) ([\d.]+)H", svg).groups()
    dots = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert dots[0] == corner and float(dots[1][0]) < float(corner[0]) and float(dots[1][1]) > float(corner[1])


def test_one_colour_for_an_algorithm_whatever_its_settings():
    colors = colors_of(STEPS)
    assert list(colors) == ["winograd", "direct", "copy", "product"] and len(set(colors.values())) == 4


def test_nothing_multiplies(document, tmp_path):
    write_report(tmp_path, {**document, "steps": STEPS[:1]})
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "No step multiplies." in text and "<svg" not in text


def test_a_folder_that_is_not_there(document, tmp_path):
    with pytest.raises(InputError, match="report.html"):
        write_report(tmp_path / "none", document)
    assert not list(tmp_path.iterdir())

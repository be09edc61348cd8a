"""The page of a detector's evaluation: it parses, has every figure, and draws boxes where they are."""

import base64
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from annotated_sets import annotated, detections, image
from PIL import Image

from minicnn.detection.evaluation.evaluate import evaluate
from minicnn.errors import InputError
from minicnn.report.detection_page import BAD, GOOD, TRUE, caption, curves_charts, drawing, images_section, jpeg, write_report
from minicnn.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH

SVG = "{http://www.w3.org/2000/svg}"
CAT, DOG = (10, 10, 50, 50), (0, 0, 20, 30)


def worst():
    return {"name": "0000<1>", "pixels": np.full((60, 90, 3), 200, np.uint8), "missed": {"cat": 2, "<i>": 1}, "truths": [
        ((10.0, 10.0, 50.0, 50.0), "cat", True), ((0.0, 0.0, 20.0, 30.0), "dog", False)], "found": [
        ((11.0, 10.0, 50.0, 49.0), "<cat>", 0.75, "true positive"), ((60.0, 5.0, 89.0, 30.0), "dog", 0.5123, "false positive")]}


@pytest.fixture
def made():
    """(document, curves) of two classes with objects, and one without, whose name is hostile."""
    set_ = annotated([image("a", [(1, CAT), (2, DOG)]), image("b", [(1, CAT), (2, DOG, "difficult")])], ("cat", "dog", "<i>"))
    evaluation = evaluate(set_, [detections((1, 0.9, CAT), (2, 0.8, (0, 0, 20, 10))), detections((3, 0.7, CAT))],
                          [np.array([CAT], np.float32)] * 2, np.random.default_rng(0))
    return {"file": "models/det <&>.npz", "data": "voc", "split": "test", **evaluation.document}, evaluation.curves()


@pytest.fixture
def text(made, tmp_path):
    path = write_report(tmp_path, *made, [worst()])
    assert path == str(tmp_path / "report.html") and [one.name for one in tmp_path.iterdir()] == ["report.html"]
    return (tmp_path / "report.html").read_text("utf-8")


def test_the_page_is_self_contained_and_escaped(text):
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) and "<script" not in text and "<link" not in text
    assert all(source.startswith("data:image/jpeg;base64,") for source in re.findall(r'(?:src|href)="([^"]*)"', text))
    assert "det &lt;&amp;&gt;.npz" in text and "<&>" not in text and "<i>" not in text and "0000<1>" not in text and "<cat>" not in text
    HTMLParser().feed(text)
    for tag in ("figure", "div", "table", "p", "h2", "svg"):
        assert len(re.findall(f"<{tag}[ >]", text)) == text.count(f"</{tag}>")
    for svg in re.findall(r"<svg.*?</svg>", text, re.S):
        ElementTree.fromstring(svg)


def test_the_tables_have_every_figure(text, made):
    document, _ = made
    rows = [re.findall("<t[dh]>(.*?)</t[dh]>", row) for row in re.findall("<tr>(.*?)</tr>", text)]
    cat = document["per_class"]["cat"]
    low, high = (f"{100 * end:.2f}" for end in cat["intervals"]["voc07"])
    assert ["cat", "2", "1", "1", "54.55", "50.00", "50.50", f"{low} to {high}"] in rows
    assert ["&lt;i&gt;", "0", "1", "0", "–", "–", "–", "–"] in rows
    assert any(row[:7] == ["mean", "3", "", "", "27.27", "25.00", "25.25"] for row in rows)
    assert any(row[:3] == ["place", "1", f"{100 * document['errors']['place']['dAP']:.2f}"] for row in rows)
    assert {"class", "both", "duplicate", "background", "missed"} <= {row[0] for row in rows}
    assert ["300", "66.67"] in rows
    coco = [f"{100 * value:.2f}" if value is not None else "–" for value in document["coco"].values()]
    assert ["%", *coco[:6]] in rows and ["%", *coco[6:]] in rows


def test_a_curve_for_every_class_with_objects(text):
    assert re.findall(r"<figcaption>(\w+): ([\d.–]+) %</figcaption>", text) == [("cat", "54.55"), ("dog", "0.00")]


def test_without_proposals_and_images(made, tmp_path):
    document, curves = made
    write_report(tmp_path, {key: value for key, value in document.items() if key != "proposal_recall"}, curves, [])
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "Proposals" not in text and "the images could not be read" in text


def test_curves_run_from_0_to_1_whatever_they_reach():
    recall, precision = np.array([0.25, 0.5]), np.array([1, 0.5])
    html = curves_charts({"cat": (recall, precision), "none": (recall[:0], precision[:0])}, dict.fromkeys(
        ("cat", "none"), {"objects": 4, "voc07": 0.5}))
    charts = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.S)]
    lines = [one for one in charts[0].findall(f"{SVG}path") if one.get("fill") == "none"]
    assert len(lines) == 1 and not [one for one in charts[1].findall(f"{SVG}path") if one.get("fill") == "none"]
    (x0, y0), (x1, y1) = (tuple(map(float, point.split())) for point in lines[0].get("d")[1:].split("L"))
    margin, width, height = 0.06 / 1.12, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    assert x0 == pytest.approx(LEFT + width * (0.25 + 0.06) / 1.12, abs=0.06)
    assert y0 == pytest.approx(TOP + margin * height, abs=0.06)
    assert x1 == pytest.approx(LEFT + width * (0.5 + 0.06) / 1.12, abs=0.06) and y1 > y0


def test_a_long_curve_is_thinned_to_its_ends():
    recall = np.linspace(0.001, 1, 1000)
    html = curves_charts({"cat": (recall, 1 - recall / 2)}, {"cat": {"objects": 1000, "voc07": 0.5}})
    line = re.search(r'<path d="M([^"]*)" fill="none"', html)[1].split("L")
    assert 100 <= len(line) <= 150
    assert float(line[-1].split()[0]) == pytest.approx(WIDTH - RIGHT - 0.06 / 1.12 * (WIDTH - LEFT - RIGHT), abs=0.06)


def test_boxes_are_drawn_where_they_are():
    svg = ElementTree.fromstring(drawing(worst()))
    assert svg.get("viewBox") == "0 0 90 60"
    boxes = [(float(one.get("x")), float(one.get("y")), float(one.get("width")), float(one.get("height")), one.get("stroke"),
              one.get("stroke-dasharray") is not None) for one in svg.findall(f"{SVG}rect")]
    assert boxes == [(10, 10, 40, 40, TRUE, False), (0, 0, 20, 30, TRUE, True), (60, 5, 29, 25, BAD, False), (11, 10, 39, 39, GOOD, False)]
    assert [one.find(f"{SVG}title").text for one in svg.findall(f"{SVG}rect")] == ["cat", "dog", "dog 0.51", "<cat> 0.75"]


def test_the_caption_counts_the_errors():
    assert "<figcaption>0000&lt;1&gt;: 3 missed (cat 2, &lt;i&gt; 1), 1 false (dog 1)</figcaption>" in images_section([worst()])
    assert caption({**worst(), "missed": {}, "found": []}) == "0000&lt;1&gt;: 0 missed, 0 false"


def test_images_are_made_smaller():
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 256, (6, 10, 3)), np.ones((100, 100, 1))).astype(np.uint8)
    shown = re.search(r'href="([^"]*)"', drawing({**worst(), "pixels": pixels}))[1]
    image = Image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2])))
    assert image.size == (480, 288) and image.format == "JPEG"
    assert np.abs(np.asarray(image.resize((1000, 600)), float) - pixels).mean() < 8
    assert jpeg(pixels, 1).startswith("data:image/jpeg;base64,")


def test_a_folder_that_is_not_there(made, tmp_path):
    with pytest.raises(InputError, match="report.html"):
        write_report(tmp_path / "none", *made, [])
    assert not list(tmp_path.iterdir())

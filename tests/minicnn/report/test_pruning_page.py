"""The page of a pruning: it parses, shows every filter, and marks the removed ones."""

import base64
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

import minicnn
from minicnn.compression.cost_table import cost_table
from minicnn.compression.rounds import PruningOptions, PruningTarget, prune_in_rounds
from minicnn.errors import InputError
from minicnn.report.pruning_page import cluster_chart, filters_images, kernel_grid, png, write_report

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def pruned():
    """A network before its pruning, and the document of two rounds and more."""
    original, model = (minicnn.build("lenet5", rng=np.random.default_rng(0)) for _ in range(2))

    def sizes(model):
        costs = cost_table(model, model.input_shape)
        stored = {"dtype": "float32", "file_bytes": costs["bytes"] + 5000, "convolution_bytes": 7, "linear_bytes": 8}
        return {**costs, "accuracy": 0.5, "test": {"accuracy": 0.5, "images": 10}, "stored": stored}
    before = sizes(model)
    rounds = prune_in_rounds(model, PruningTarget("parameters", 20000), PruningOptions(), seed=0, evaluate=lambda model: 0.25)
    return original, {"architecture": "lenet5 <&>", "settings": {"options": {"method": "statistics"}}, "before": before,
                      "after": sizes(model), "rounds": rounds}


@pytest.fixture
def text(pruned, tmp_path):
    original, document = pruned
    path = write_report(tmp_path, document, original)
    assert path == str(tmp_path / "report.html") and [one.name for one in tmp_path.iterdir()] == ["report.html"]
    return (tmp_path / "report.html").read_text("utf-8")


def gone(document, path):
    return {index for entry in document["rounds"] for step in entry["groups"] if step["path"] == path
            for index in step["removed"]}


def charts(text):
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.S)]


def test_the_page_is_self_contained_and_escaped(text):
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) and "<script" not in text and "<link" not in text
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'src="([^"]*)"', text))
    assert "lenet5 &lt;&amp;&gt;" in text and "lenet5 <&>" not in text
    HTMLParser().feed(text)
    for tag in ("figure", "div", "table", "p", "h3", "svg"):
        assert len(re.findall(f"<{tag}[ >]", text)) == text.count(f"</{tag}>")


def test_a_image_for_every_filter_and_the_removed_ones_marked(text, pruned):
    _, document = pruned
    for path, filters in (("conv1", 6), ("conv2", 16)):
        section = re.search(rf'<h3>{path}</h3><div class="filters.*?</div>', text, re.S).group()
        removed = gone(document, path)
        assert removed
        for index in range(filters):
            figure = re.search(rf'<figure([^>]*)><img alt="filter {index}" src="([^"]*)"><figcaption>([^<]*)<', section)
            assert ("removed" in figure[1]) == (" · r" in figure[3]) == (index in removed)
            assert figure[3].split(" · ")[0] == str(index)
        assert section.count("<img") == filters


def test_a_chart_for_every_layer_and_round_with_a_mark_for_every_filter(text, pruned):
    _, document = pruned
    steps = [step for entry in document["rounds"] for step in entry["groups"]]
    drawn = charts(text)
    assert len(drawn) == 1 + len(steps)
    for step in steps:
        assert f"{len(step['removed'])} of {len(step['mean'])} removed" in text
    dots = sum(len(svg.findall(f"{SVG}circle")) for svg in drawn[1:])
    assert dots == sum(len(step["mean"]) - len(step["removed"]) for step in steps)
    assert len(drawn[0].findall(f"{SVG}circle")) == 2 * (1 + len(document["rounds"]))


def test_the_table_tells_sizes_before_and_after(text, pruned):
    _, document = pruned
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in rows]
    assert cells[6][0] == "all" and cells[6][3] == "61,706" and cells[6][4] == f"{document['after']['parameters']:,}"
    assert cells[8][:3] == ["file", "61,706", f"{document['after']['parameters']:,}"]
    assert cells[8][4:6] == [f"{4 * 61706 + 5000:,}", f"{document['after']['bytes'] + 5000:,}"]          # parameters, apart from bytes
    assert len(rows) == 1 + 5 + 1 + 1 + 3


@pytest.mark.parametrize("clusters", [1, 2, 9])
def test_a_chart_shows_every_cluster(clusters):
    """Also more of them than there are colours."""
    rng, count = np.random.default_rng(0), 20
    step = {"path": "conv1", "mean": rng.random(count).tolist(), "variance": rng.random(count).tolist(),
            "filters": list(range(100, 120)),
            "removed": [100, 119], "labels": (np.arange(count) % clusters).tolist()}
    svg = ElementTree.fromstring(cluster_chart(step))
    assert len(svg.findall(f"{SVG}circle")) == 18
    assert len([path for path in svg.findall(f"{SVG}path") if path.get("stroke-width") == "1.6"]) == 2


def test_nothing_removed(pruned, tmp_path):
    original, document = pruned
    write_report(tmp_path, {**document, "rounds": [], "after": document["before"]}, original)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "Nothing was removed." in text and "<svg" not in text and "<img" not in text


def test_colours_of_kernels():
    """Blue is negative, white nothing, red positive; three kernels lie in a grid of two by two, grey between and beyond."""
    kernels = np.array([[[-1, 0]], [[1, 0.5]], [[0, 0]]], float)
    image = kernel_grid(kernels)
    assert image.shape == (3, 5, 3) and image.dtype == np.uint8
    assert_array_equal(image[0, 1], [255] * 3)
    (red, _, blue), (hot, _, cold) = image[0, 0].astype(int), image[0, 3].astype(int)
    assert blue > red and hot > cold
    for grey in (image[1], image[:, 2], image[2, 3:]):
        assert (grey == 200).all()


def test_images_are_png_of_the_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    kind, _, data = png(pixels).partition(",")
    assert kind == "data:image/png;base64"
    assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), pixels)


@pytest.mark.parametrize("weight", [np.zeros((3, 4)), np.zeros((512, 512, 1, 1))])
def test_linear_layers_and_huge_ones_are_not_drawn(weight):
    assert filters_images("fc1", weight, []) == ""


def test_a_layer_of_zeros_is_drawn_white():
    assert filters_images("conv1", np.zeros((2, 1, 3, 3)), []).count("<img") == 2


def test_a_folder_that_is_not_there(pruned, tmp_path):
    original, document = pruned
    with pytest.raises(InputError, match="report.html"):
        write_report(tmp_path / "none", document, original)
    assert not list(tmp_path.iterdir())

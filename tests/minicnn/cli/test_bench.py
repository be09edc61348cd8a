"""minicnn bench."""

import json
import statistics

import numpy as np
import pytest

import minicnn
from minicnn.cli.bench import brief, longest
from minicnn.data.images import write_image
from minicnn.fast.timing import profile


@pytest.fixture(scope="module", autouse=True)
def no_speeds():
    """The machine's two speeds take seconds to measure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile, "product_speed", lambda backend: 100.0)
        patch.setattr(profile, "memory_speed", lambda backend: 10.0)
        yield


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """The file of a small detector."""
    model = minicnn.build("fasterrcnn_mobilenet_v3_large_320_fpn", num_classes=3, box_head_width=16, min_size=64,
                          rng=np.random.default_rng(0))
    path = tmp_path_factory.mktemp("detector") / "detector.npz"
    minicnn.save(path, model)
    return path


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    path = tmp_path_factory.mktemp("lenet") / "lenet.npz"
    minicnn.save(path, minicnn.build("lenet5", rng=np.random.default_rng(0)))
    return path


def document(run, *argv):
    status, out, err = run("bench", *argv, "--json", "-")
    assert status == 0
    return json.loads(out)


def test_a_detectors_table_adds_up_to_the_whole_detection(run, detector, backend):
    found = document(run, detector, "--backend", backend, "--runs", "3", "--size", "64x96")
    assert found["minicnn_bench"] == 1 and found["architecture"] == "fasterrcnn_mobilenet_v3_large_320_fpn"
    assert found["backend"] == backend and found["size"] == [64, 96] and found["file"] == "detector.npz"
    assert list(found["between"]) == ["transform", "proposals", "pooling", "selection", "rest", "(medians do not add up)"]
    total = found["total"]
    assert sum(step["ms"] for step in found["steps"]) + sum(found["between"].values()) == pytest.approx(total["ms"])
    assert 0 < total["ms_least"] <= total["ms"] <= total["ms_most"] and total["runs"] == 3 and found["first_ms"] > 0
    parts = list(dict.fromkeys(part for step in found["steps"] for part in ("backbone", "rpn.head", "roi_heads.box_head",
                                                                            "roi_heads.box_predictor") if step["path"].startswith(part)))
    assert parts == ["backbone", "rpn.head", "roi_heads.box_head", "roi_heads.box_predictor"]
    for step in found["steps"]:
        assert step["gflops"] == pytest.approx(step["flop"] / step["ms"] / 1e6)
        assert step["product_share"] == pytest.approx(step["arithmetic"] / step["ms"] / 1e6 / 100)
        assert step["memory_share"] == pytest.approx(step["bytes"] / step["ms"] / 1e6 / 10)
    assert total["flop"] == sum(step["flop"] for step in found["steps"])
    assert found["machine"]["versions"]["numpy"] == np.__version__ and found["machine"]["threads"] >= 1


def test_every_backend_counts_the_same_work(run, detector):
    """Every multiplication is counted, whether by a plan or by layers."""
    counted = {backend: document(run, detector, "--backend", backend, "--runs", "1", "--size", "64x96")["total"]["flop"]
               for backend in ("numpy", "reference")}
    assert counted["numpy"] == counted["reference"] > 0


def test_the_table_fits_80_columns_and_shows_the_longest(run, detector):
    status, out, err = run("bench", detector, "--runs", "1", "--backend", "numpy")
    lines = out.splitlines()
    assert status == 0 and all(len(line) <= 80 for line in lines[1:]) and lines[0].startswith(f"{detector}: ")
    assert sum(" steps)" in line for line in lines) == 1
    everything = run("bench", detector, "--runs", "1", "--backend", "numpy", "--all")[1].splitlines()
    hidden = int(next(line for line in lines if line.startswith("others (")).split("(")[1].split()[0])
    assert len(everything) == len(lines) - 1 + hidden and not any("others (" in line for line in everything)
    for name in ("transform", "proposals", "pooling", "selection", "rest", "all"):
        assert sum(line.startswith(f"{name} ") for line in lines) == 1


def test_a_classifier(run, lenet, backend):
    found = document(run, lenet, "--backend", backend, "--runs", "2")
    assert found["size"] == [28, 28] and list(found["between"]) == ["rest", "(medians do not add up)"]
    macs = 25 * 6 * 28 * 28 + 150 * 16 * 10 * 10 + 400 * 120 + 120 * 84 + 84 * 10
    assert found["total"]["flop"] == 2 * macs
    assert [step["name"] for step in found["steps"] if step["flop"]] == ["conv1", "conv2", "fc1", "fc2", "fc3"]


def test_layers_that_no_plan_holds_are_reported(run, lenet, monkeypatch):
    assert "no plan" not in run("bench", lenet, "--runs", "1", "--backend", "numpy")[1]
    assert "no plan" not in run("bench", lenet, "--runs", "1", "--backend", "reference")[1]
    monkeypatch.setattr("minicnn.layers.Flatten.traceable", False)
    text = run("bench", lenet, "--runs", "1", "--backend", "numpy")[1]
    assert "12 layers are in no plan" in text and " Conv2d " in text


def test_an_image_is_resized_to_the_size(run, detector, here):
    write_image("photo.png", np.zeros((50, 80, 3), np.uint8))
    found = document(run, detector, "--picture", "photo.png", "--size", "64x96", "--runs", "1", "--backend", "numpy")
    assert found["picture"] == "photo.png" and found["size"] == [50, 80]
    assert next(step for step in found["steps"] if step["name"] == "backbone.body.0.0: border")["result"][:2] == [66, 98]   # 60 x 96
    assert "photo.png" in run("bench", detector, "--picture", "photo.png", "--runs", "1", "--backend", "numpy")[1]


def test_report_and_json_file(run, lenet, here):
    status, out, err = run("bench", lenet, "--runs", "2", "--backend", "numpy", "--report", "new/folder", "--json", "x.json")
    assert status == 0 and out.endswith("folder/report.html\n")
    assert [path.name for path in (here / "new/folder").iterdir()] == ["report.html"]
    assert json.loads((here / "x.json").read_text())["minicnn_bench"] == 1
    assert "conv2" in (here / "new/folder/report.html").read_text()


@pytest.mark.parametrize("text", ["600", "600x", "x800", "0x800", "-6x8", "6x8x3", "6.5x8", "axb"])
def test_sizes_that_are_none(refused, lenet, here, text):
    assert "600x800" in refused("bench", lenet, f"--size={text}")


@pytest.mark.parametrize("options, expected", [
    (["--json", "none/x.json"], "none/x.json"), (["--report", "{lenet}"], "lenet.npz"), (["--picture", "none.jpg"], "none.jpg"),
    (["--runs", "0"], "at least 1"), (["--backend", "cuda"], "cuda"), (["--size", "40x28"], "got images of 40 x 28, expected 28 x 28")])
def test_what_cannot_be_done_is_one_line(refused, lenet, here, options, expected):
    assert expected in refused("bench", lenet, *[option.format(lenet=lenet) for option in options])


def test_a_classifier_takes_images_of_its_own_size(refused, lenet, tmp_path):
    write_image(tmp_path / "photo.png", np.zeros((28, 28, 3), np.uint8))
    assert "1x28x28" in refused("bench", lenet, "--picture", tmp_path / "photo.png")


def test_medians(run, lenet, monkeypatch):
    """The figures of a step are those of its runs."""
    seen, median = [], statistics.median
    monkeypatch.setattr(profile.statistics, "median", lambda values: seen.append(list(values)) or median(values))
    found = document(run, lenet, "--runs", "3", "--backend", "numpy")
    for step in found["steps"]:
        assert (3, step["ms_least"], step["ms"], step["ms_most"]) in [
            (len(values), min(values), median(values), max(values)) for values in seen]


def test_small_texts():
    assert brief("winograd, 2 x 24 tiles") == "winograd 2x24" and brief("winograd, 96 tiles") == "winograd 96" and brief("copy") == "copy"
    steps = [{"ms": float(i % 7), "i": i} for i in range(30)]
    shown = longest(steps)
    assert shown == sorted(shown, key=lambda step: step["i"]) and 20 <= len(shown) < 30
    assert min(step["ms"] for step in shown) >= max(step["ms"] for step in steps if step not in shown)
    assert longest(steps[:21]) == steps[:21]


def test_a_picture_that_is_none_is_the_pictures_fault(refused, here, lenet):
    (here / "text.jpg").write_bytes(b"text")
    for picture in ("nope.jpg", "text.jpg"):
        line = refused("bench", lenet, "--picture", picture)
        assert picture in line and "lenet.npz" not in line and "fit each other" not in line

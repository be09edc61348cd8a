"""minicnn info: its document and its lines for reading."""

import hashlib
import json
import shlex

import numpy as np
import pytest

import minicnn
from minicnn.archive import read_archive, write_archive
from minicnn.cli.parser import build_parser
from minicnn.detection.faster_rcnn import FasterRCNN
from minicnn.functional.dispatch import REFERENCE


def test_json(run, nets):
    status, out, err = run("info", nets / "small.npz", "--json", "-")
    document, model = json.loads(out), minicnn.load(nets / "small.npz")
    assert (status, err) == (0, "")
    assert document["file"] == "small.npz" and document["architecture"] == "lenet5" and document["input_shape"] == [1, 28, 28]
    assert document["repeats"] == {}
    assert document["sha256"] == hashlib.sha256((nets / "small.npz").read_bytes()).hexdigest()
    assert [row["path"] for row in document["layers"]] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    for row in document["layers"]:
        assert row["weight"] == list(model.get_layer(row["path"]).weight.shape)
    assert document["parameters"] == sum(array.size for _, array in model.named_parameters()) == document["bytes"] // 4
    assert document["macs"] == sum(row["macs"] for row in document["layers"])
    assert document["surgery"] == model.record["surgery"] and document["provenance"] == model.record["provenance"]
    assert document["measured"]["test"]["images"] == 200 and document["class_names"] == list("0123456789")
    assert [entry["path"] for entry in document["description"]] == [path for path, _ in model.named_layers() if path]


def test_lenet_by_hand(run, nets):
    document = json.loads(run("info", nets / "lenet.npz", "--json", "-")[1])
    assert document["parameters"] == 61706 and document["convolution_parameters"] == 156 + 2416
    assert document["macs"] == 25 * 6 * 28 * 28 + 150 * 16 * 10 * 10 + 400 * 120 + 120 * 84 + 84 * 10
    assert document["layers"][1] == {"path": "conv2", "kind": "Conv2d", "weight": [16, 6, 5, 5], "inputs": [[6, 14, 14]],
                                     "output": [16, 10, 10], "parameters": 2416, "macs": 240000, "bytes": 9664}


def test_text_shows_layers_surgery_and_origin_within_80_columns(run, nets, monkeypatch):
    monkeypatch.chdir(nets)
    status, out, err = run("info", "small.npz")
    lines, record = out.splitlines(), minicnn.load("small.npz").record
    assert (status, err) == (0, "") and lines[0] == "small.npz: lenet5, input 1x28x28"
    text = " ".join(out.split())
    for number, step in enumerate(record["surgery"], start=1):
        line = text[text.index(f"{number}. statistics removed "):]
        for path, numbers in step["removed"].items():
            assert f"{len(numbers)} of {path}" in line
    assert any(line.startswith("test: ") and "200 images" in line for line in lines)
    paths = [str(nets), record["measured"]["test"]["data"]]
    assert all(len(line) <= 80 for line in lines if not any(path in line for path in paths))
    made = out[out.index("made by: ") + len("made by: "):]
    assert shlex.split(made.replace("\\\n", "")) == shlex.split(record["provenance"]["command"])    # pastes as it stands
    build_parser().parse_args(shlex.split(record["provenance"]["command"])[1:])


@pytest.mark.parametrize("options, expected", [(["--json", "none/x.json"], "none/x.json"), (["--json", ""], "folder")])
def test_places_that_cannot_be_used(refused, nets, here, options, expected):
    assert expected in refused("info", nets / "small.npz", *options)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """The file of a small detector."""
    model = minicnn.build("fasterrcnn_mobilenet_v3_large_320_fpn", num_classes=3, box_head_width=4, min_size=64,
                          rng=np.random.default_rng(0))
    path = tmp_path_factory.mktemp("detector") / "detector.npz"
    minicnn.save(path, model)
    return path


def test_a_detector_is_not_run_nor_its_weights_read_and_its_table_says_what_was_counted(run, detector, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(FasterRCNN, "__call__", lambda *args: pytest.fail("ran"))
        patch.setattr("minicnn.archive.read_array", lambda *args: pytest.fail("read"))
        patch.setitem(REFERENCE, "conv2d", lambda *args: pytest.fail("computed"))
        patch.setenv("MINICNN_BACKEND", "reference")
        status, out, err = run("info", detector)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == [f"{detector}: fasterrcnn_mobilenet_v3_large_320_fpn, input 3x64x85", "MACs with roi_heads on 150 proposals"]
    assert next(line for line in lines if line.startswith("roi_heads.box_head.fc6 ")).split() == [
        "roi_heads.box_head.fc6", "4x12544", "50,180", "200,720", f"{150 * 4 * 12544:,}"]
    assert all(len(line) <= 80 for line in lines[1:])
    document = json.loads(run("info", detector, "--json", "-")[1])
    assert document["repeats"] == {"roi_heads": 150} and document["input_shape"] == [3, 64, 85]
    assert document["parameters"] == sum(array.size for _, array in minicnn.load(detector).named_parameters())


def test_a_detector_whose_layers_do_not_fit_each_other(refused, detector, here):
    arrays, description = read_archive(detector)
    next(entry for entry in description["layers"] if entry["path"] == "rpn.head.cls_logits")["arguments"]["in_channels"] = 512
    arrays["rpn.head.cls_logits.weight"] = np.repeat(arrays["rpn.head.cls_logits.weight"], 2, axis=1)
    write_archive("wrong.npz", arrays, {**description})
    assert "layers do not fit each other" in refused("info", "wrong.npz")


def test_a_classifier_is_not_pruned_like_a_detector(refused, detector, nets, here):
    line = refused("compress", nets / "lenet.npz", "--like", detector, "--target-parameters", "0.5", "--out", "x.npz")
    assert "detector.npz" in line and "fasterrcnn_mobilenet_v3_large_320_fpn, a detector, expected a classifier" in line

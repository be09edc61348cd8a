"""minicnn compress of a detector: the file, the tables, the page, what each option does, and what is refused."""

import importlib.util
import json
import re
import shutil
import signal
import sys

import numpy as np
import pytest
import toy_detector
from calibration_cases import RATES, SMALL
from numpy.testing import assert_allclose, assert_array_equal

import minicnn
from minicnn.archive import read_archive
from minicnn.compression import method as whole_method
from minicnn.compression import repair
from minicnn.compression.cost_table import cost_table
from minicnn.data.images import write_image
from minicnn.data.scenes import CLASS_NAMES, write_scenes
from minicnn.fast import timing
from minicnn.functional import dispatch
from minicnn.models import BUILDERS


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The small detector of the tests stands among the real ones, and the machine's speed need not be measured."""
    monkeypatch.setitem(sys.modules, "minicnn.detection.toy_detector", toy_detector)
    monkeypatch.setitem(BUILDERS, "toy", "minicnn.detection.toy_detector:toy_detector")
    monkeypatch.setattr(timing, "machine_rates", lambda backend: RATES)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder in VOC's form: 24 small images, 19 of them of trainval."""
    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(folder, (80, 64), 24, 0)
    return folder


@pytest.fixture
def net(here):
    """net.npz, of the scenes' classes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "minicnn.detection.toy_detector", toy_detector)
        patch.setitem(BUILDERS, "toy", "minicnn.detection.toy_detector:toy_detector")
        model = minicnn.build("toy", rng=np.random.default_rng(0), num_classes=14, box_head_width=64, min_size=96, max_size=128)
    model.record["class_names"] = CLASS_NAMES
    minicnn.save("net.npz", model)
    return "net.npz"


def squeeze(run, *options, out="small.npz"):
    status, text, err = run("compress", "net.npz", "--out", out, "--json", "-", *options)
    return status, json.loads(text) if text else None, err


def test_too_many_unreadable_images_among_those_drawn_are_refused(run, net, here):
    write_scenes(here / "data", (80, 64), 60, 0)
    for path in sorted((here / "data" / "JPEGImages").iterdir())[::5]:
        path.write_bytes(b"")
    options = "--target-storage", 0.8, "--data", "data", "--repair", 20, "--low", 8
    status, _, err = squeeze(run, *options)
    drawn, lost = map(int, re.search(r"of whose (\d+) images (\d+) cannot be used", err).groups())
    assert status == 2 and drawn - lost == 20 and lost > 0.05 * drawn and not (here / "small.npz").exists()
    assert squeeze(run, *options, "--allow-skipped")[0] == 1 and (here / "small.npz").exists()


def test_json_the_file_and_the_lines(run, scenes, net, here):
    status, document, err = squeeze(run, "--target-storage", 0.8, "--data", scenes, "--repair", 12, "--low", 8, "--seed", 1)
    assert status == 0 and {path.name for path in here.iterdir()} == {"net.npz", "small.npz"} and err == ""
    before, after, step = document["before"], document["after"], document["surgery"]
    assert after["bytes"] <= 0.8 * before["bytes"] and after["convolution_parameters"] <= 0.8 * before["convolution_parameters"]
    assert step["method"] == "hybrid" and step["repaired_from"] == 12 and step["split"]
    model = minicnn.load("small.npz")
    assert model.record["surgery"] == [step] and model.record["class_names"] == list(CLASS_NAMES)
    assert cost_table(model, model.input_shape)["bytes"] == after["bytes"]
    assert after["bytes"] == 4 * sum(array.size for array in read_archive("small.npz")[0].values())
    assert model.record["provenance"]["source"] == document["source"]
    assert [row["path"] for row in document["layers"]][:2] == ["backbone.0", "backbone.3"]
    for row in document["layers"]:
        sides = sum(name in row for name in ("into_values", "out_values"))
        assert len(model.get_layer(row["path"]).children()) == (sides + 1 if row["ranks"] else 0)
    assert document["repair"] and all(row["after"] <= row["before"] + 1e-6 for row in document["repair"])
    assert set(document["seconds"]) == {"looking at pictures", "surgery", "repair", "measuring"}
    told = " ".join(run("info", "small.npz")[1].split())
    assert " decomposed " in told and "repaired from 12 images" in told


@pytest.mark.parametrize("method", [("--method", "hybrid", "--low", 8), ("--method", "statistics", "--minimum", 4)])
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_a_run_stopped_in_its_repair_ends_as_one_that_was_not(run, scenes, net, here, monkeypatch, method, layers):
    options = *method, "--target-storage", 0.7, "--data", scenes, "--repair", 12
    status, whole, _ = squeeze(run, *options, out="whole.npz")
    assert status == 0 and len(whole["repair"]) > layers
    repair_layer, fitted = repair.repair_layer, []

    def stopped(*args):
        if len(fitted) == layers:
            raise KeyboardInterrupt
        fitted.append(args[1])
        return repair_layer(*args)
    with monkeypatch.context() as patch:
        patch.setattr(repair, "repair_layer", stopped)
        status, document, err = squeeze(run, *options, out="stopped.npz")
    assert status == 130 and document is None and "--resume" in err
    assert {path.name for path in here.iterdir()} == {"net.npz", "whole.npz", "stopped.checkpoint.npz"}

    for other in (("--seed", 1), ("--split", "train")):
        status, _, err = squeeze(run, *options, *other, "--resume", out="stopped.npz")
        assert status == 2 and "another compression" in err and err.count("\n") == 1
    status, _, err = squeeze(run, *options, out="stopped.npz")
    assert status == 2 and "--resume to go on from it, or --restart" in err and (here / "stopped.checkpoint.npz").exists()
    monkeypatch.setattr(repair, "repair_layer", lambda *args: fitted.append(args[1]) or repair_layer(*args))
    status, document, err = squeeze(run, *options, "--resume", out="stopped.npz")
    assert status == 0 and err == f"resuming after repair of {layers} layers from stopped.checkpoint.npz\n"
    assert fitted == [row["path"] for row in whole["repair"]]           # each of them once
    for part in ("surgery", "repair", "layers"):
        assert document[part] == whole[part]
    one, other = (read_archive(name)[0] for name in ("stopped.npz", "whole.npz"))
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert_array_equal(array, other[name])
    assert {path.name for path in here.iterdir()} == {"net.npz", "whole.npz", "stopped.npz"}


def test_after_an_image_was_changed_it_is_another_compression(run, scenes, net, here, monkeypatch):
    shutil.copytree(scenes / "JPEGImages", here / "photos")
    options = "--target-storage", 0.7, "--data", "photos", "--repair", 24, "--low", 8
    with monkeypatch.context() as patch:
        patch.setattr(repair, "repair_layer", lambda *args: signal.raise_signal(signal.SIGINT))
        assert squeeze(run, *options)[0] == 130
    (here / "photos" / "000001.jpg").write_bytes((here / "photos" / "000002.jpg").read_bytes())
    status, _, err = squeeze(run, *options, "--resume")
    assert status == 2 and "another compression" in err


def test_what_images_alone_show_to_be_needless_is_pruned(run, scenes, net, here):
    """By the weights alone every filter costs too much; but what half of them give never varies, and a bias can stand in for it."""
    model = minicnn.load("net.npz")
    layer = model.get_layer("backbone.3")
    layer.weight[8:], layer.bias[8:] = 0, 1
    minicnn.save("net.npz", model)
    options = "--layers", "backbone.3", "--target-parameters", 0.9999
    status, _, err = squeeze(run, *options)
    assert status == 0 and "note: the target needs pruning that may take 100% from an output, in place of 0.5%" in err
    status, document, err = squeeze(run, *options, "--data", scenes, "--repair", 0)
    assert status == 0 and "note: " not in err and document["surgery"]["removed"] == {"backbone.3": list(range(8, 16))}


def test_what_cannot_be_had_is_refused_before_images_are_read(refused, scenes, net, here, monkeypatch):
    monkeypatch.setattr("minicnn.cli.compress_detector.calibration_images", lambda *args: pytest.fail("read"))
    for options in (("--low", 1000), ("--method", "l1"), ("--method", "tucker")):
        line = refused("compress", net, *options, "--target-storage", 0.001, "--data", scenes, "--out", "small.npz")
        assert "expected at least" in line


def test_a_split_in_which_no_object_counts(run, scenes, net, here):
    shutil.copytree(scenes, here / "hard")
    for path in (here / "hard" / "Annotations").iterdir():
        path.write_text(path.read_text().replace("<difficult>0<", "<difficult>1<"))
    status, _, err = squeeze(run, "--target-storage", 0.8, "--data", "hard", "--validation", "test", "--low", 8)
    assert status == 2 and err.count("\n") == 1 and "got the split test of hard, in which no object counts" in err


def test_large_photographs_are_made_as_small_as_the_network_looks_at(run, net, here, monkeypatch):
    (here / "photos").mkdir()
    for number in range(10):
        write_image(here / "photos" / f"{number}.png", np.random.default_rng(number).integers(0, 256, (300, 400, 3), np.uint8))
    shapes, observe = [], whole_method.observe
    monkeypatch.setattr(whole_method, "observe", lambda model, images, *rest: shapes.extend(
        image.shape for image in images) or observe(model, images, *rest))
    assert squeeze(run, "--target-storage", 0.8, "--data", "photos", "--low", 8)[0] == 0
    assert shapes == [(96, 128, 3)] * 10


@pytest.mark.parametrize("method", ["hybrid", "statistics"])
def test_the_original_keeps_its_numbers(run, scenes, net, here, monkeypatch, method):
    """It shares its arrays with the one that is made smaller."""
    originals, measure = [], whole_method.measure
    monkeypatch.setattr(whole_method, "measure",
                        lambda report, original, *rest: originals.append(original) or measure(report, original, *rest))
    low = ["--low", 8] * (method == "hybrid")
    assert squeeze(run, "--method", method, "--target-storage", 0.8, "--data", scenes, "--repair", 12, *low)[0] == 0
    arrays, _ = read_archive("net.npz")
    for name, array in originals[-1].named_arrays():
        assert_array_equal(array, arrays[name])


def test_the_tables_fit_a_terminal_and_the_page_has_all(run, scenes, net, here):
    status, out, _ = run("compress", net, "--target-storage", 0.8, "--data", scenes, "--repair", 12, "--low", 8, "--out", "small.npz",
                         "--validation", "test", "--report", "page")
    assert status == 0 and all(len(line) <= 80 for line in out.splitlines())
    assert "VOC07 on test" in out and "x faster" in out and "repaired from 12 images" in out and out.endswith("-> page/report.html\n")
    text = (here / "page" / "report.html").read_text()
    for word in ("What is left", "Layer by layer", "Singular values", "Repair", "What both find", "mean AP, VOC07"):
        assert word in text
    assert text.count("<figcaption>before: ") == text.count("<figcaption>after: ") == 4 and text.count("<image ") == 8


def test_the_page_has_a_chart_where_only_pixels_are_mixed(run, scenes, net, here):
    assert run("compress", net, "--layers", "*fc6", "--target-parameters", 0.9, "--out", "small.npz", "--report", "page")[0] == 0
    page = (here / "page" / "report.html").read_text()
    assert page.count("9 pixels of a map mixed to") == 2 and "<h2>Singular values</h2>" in page       # in the table, under the chart


def test_without_data_nothing_is_repaired_and_it_says_so(run, net, here):
    status, document, err = squeeze(run, "--method", "tucker", "--ranks", "energy:0.9", "--layers", "backbone.[36]")
    assert status == 0 and "no --data, so ranks are chosen by the weights alone, and nothing is repaired" in err
    assert document["repair"] == [] and document["surgery"]["repaired_from"] == 0
    assert {row["path"] for row in document["layers"] if "out_values" in row} <= {"backbone.3", "backbone.6"}


def test_a_folder_of_unlabelled_images_will_do(run, scenes, net, here):
    (here / "photos").mkdir()
    for path in sorted((scenes / "JPEGImages").iterdir())[:11]:
        shutil.copy(path, here / "photos")
    (here / "photos" / "broken.jpg").write_bytes(b"nothing")
    status, document, err = squeeze(run, "--target-parameters", 0.8, "--data", "photos", "--repair", 10, "--low", 8)
    assert document["surgery"]["repaired_from"] == 10
    assert (status == 1) == ("broken.jpg" in err) and document["skipped"]["images"] == status == len(document["problems"])


@pytest.mark.parametrize("method", ["statistics", "l1", "fpgm", "random"])
def test_pruning_alone(run, scenes, net, here, method):
    status, document, err = squeeze(run, "--method", method, "--target-storage", 0.7, "--data", scenes, "--repair", 10, "--minimum", 4)
    assert status == 0 and document["after"]["bytes"] <= 0.7 * document["before"]["bytes"]
    step, model, original = document["surgery"], minicnn.load("small.npz"), minicnn.load("net.npz")
    assert step["method"] == method and step["removed"] and not step["split"] and "round 1: " in err
    for path, gone in step["removed"].items():
        assert len(model.get_layer(path).weight) == len(original.get_layer(path).weight) - len(gone) >= 4


def test_numbers_are_targets_too_and_the_seed_decides(run, net, here):
    parameters = cost_table(minicnn.load(net), (3, 96, 128))["parameters"]
    first = squeeze(run, "--target-parameters", int(0.8 * parameters), "--repair", 0, "--low", 8, out="a.npz")
    assert first[0] == 0 and first[1]["after"]["parameters"] <= 0.8 * parameters
    squeeze(run, "--target-parameters", 0.8, "--repair", 0, "--low", 8, out="b.npz")
    one, other = read_archive("a.npz")[0], read_archive("b.npz")[0]
    for name, array in one.items():
        assert_array_equal(array, other[name])


def test_a_compressed_one_is_compressed_further(run, scenes, net, here):
    squeeze(run, "--target-storage", 0.9, "--data", scenes, "--repair", 10, "--low", 8)
    shutil.copy("small.npz", "net.npz")
    status, document, _ = squeeze(run, "--method", "statistics", "--target-storage", 0.9, out="smaller.npz")
    assert status == 0 and len(minicnn.load("smaller.npz").record["surgery"]) == 2
    assert run("info", "smaller.npz")[0] == 0


def rates_file(path, *machines):
    path.write_text(json.dumps({"format": 1, "settings": {machine: RATES for machine in machines}}))
    return path


BOARD = "Cortex-A72, 1.8 GHz, 4 cores, 4 threads, numpy, minicnn 0.3.0, numpy 1.26.4"


def test_two_targets_and_the_speeds_of_another_machine(run, net, here, monkeypatch):
    monkeypatch.setattr(timing, "machine_rates", lambda backend: pytest.fail("this machine's"))
    options = "--target-storage", 0.7, "--target-time", 0.95, "--low", 8, "--rates", rates_file(here / "board.json", BOARD)
    status, document, _ = squeeze(run, *options, "--report", "page")
    before, after = document["before"], document["after"]
    assert status == 0 and after["bytes"] <= 0.7 * before["bytes"] and document["machine"] == BOARD
    whole, left = (sum(row["milliseconds"][number] for row in document["layers"]) for number in (0, 1))
    assert left <= 0.95 * whole
    assert f"predicted for one image on {BOARD}." in (here / "page" / "report.html").read_text()
    out = run("compress", net, *options, "--out", "other.npz")[1]
    assert "ms are predicted for Cortex-A72, 1.8 GHz, 4 cores" in out and all(len(line) <= 80 for line in out.splitlines())


def test_a_dry_run_prints_a_curve_and_writes_nothing_but_json(run, scenes, net, here):
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    status, out, _ = run("compress", net, "--dry-run", "--low", 8, "--target-storage", 0.7, "--target-time", 0.95)
    assert status == 0 and all(len(line) <= 80 for line in out.splitlines())
    assert "storage 0.7 time 0.95" in out and "Errors are of the weights alone." in out and "expected at least" in out
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before
    (here / "small.checkpoint.npz").write_bytes(b"of an unfinished run")
    status, document, err = squeeze(run, "--dry-run", "--low", 8, "--data", scenes, "--keep", "backbone.6", "--report", "page")
    assert status == 0 and err == "" and {path.name for path in here.iterdir()} == {*before, "small.checkpoint.npz"}
    assert len(document["curve"]) == 10 and document["images"] == 10 and document["curve"][0]["storage"] <= 1
    assert "from 10 images, of which 1 compare the layers" in " ".join(run("compress", net, "--dry-run", "--low", 8, "--data",
                                                                           scenes)[1].split())


@pytest.mark.parametrize("method", ["hybrid", "tucker", "statistics", "random"])
def test_what_is_kept_stays_whole(run, net, here, method):
    low = ["--low", 8] * (method == "hybrid")
    document = squeeze(run, "--method", method, "--target-parameters", 0.9, *low, "--keep", "backbone.6", "--keep", "*fc7", "rpn*")[1]
    small, original = minicnn.load("small.npz"), minicnn.load(net)
    kept = [path for path in (row["path"] for row in document["layers"]) if path.startswith("rpn") or path in ("backbone.6", FC7)]
    assert len(kept) == 5 and document["after"]["parameters"] <= 0.9 * document["before"]["parameters"]
    for path in kept:
        assert len(small.get_layer(path).weight) == len(original.get_layer(path).weight)
        assert path not in document["surgery"]["removed"] and path not in document["surgery"]["split"]


FC7 = "roi_heads.box_head.fc7"


def test_what_rpn_and_linear_leave_out(run, net, here):
    document = squeeze(run, "--target-parameters", 0.95, "--low", 8, "--no-rpn", "--no-linear")[1]
    assert set(document["surgery"]["split"]) == {"backbone.6"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_resnet50_fpn"])
def test_other_backbones_end_to_end(run, scenes, here, name):
    model = minicnn.build(name, rng=np.random.default_rng(0), **SMALL)
    model.record["class_names"] = ["__background__", "a", "b", "c"]
    minicnn.save("net.npz", model)
    status, document, _ = squeeze(run, "--target-storage", 0.7, "--data", scenes, "--repair", 10, "--low", 24)
    assert status == 0 and document["after"]["bytes"] <= 0.7 * document["before"]["bytes"]
    small = minicnn.load("small.npz")
    assert cost_table(small, small.input_shape)["parameters"] == document["after"]["parameters"]
    pixels, maps = np.random.default_rng(1).standard_normal((1, 3, 64, 96)).astype(np.float32), {}
    for backend in dispatch.BACKENDS:
        with dispatch.use(backend if backend != "numba" or importlib.util.find_spec("numba") else "numpy"):
            maps[backend] = dispatch.run(small.backbone, pixels)
    for backend, found in maps.items():
        for one, other in zip(found, maps["reference"]):
            assert_allclose(one, other, atol=1e-4 * np.abs(other).max(), err_msg=backend)
    assert run("detect", scenes / "JPEGImages" / "000001.jpg", "--weights", "small.npz")[0] == 0


@pytest.mark.parametrize("options, message", [
    (("--ranks", "0"), "got --ranks 0, expected a number from 1 on"),
    (("--ranks", "energy:2"), "got --ranks energy:2, expected"),
    (("--ranks", "99", "--layers", "backbone.6", "--low", 8), "got the ranks 99 and 99, expected them from 1 to the channels of"),
    (("--target-storage", 0.01, "--low", 8), "of the convolutions, expected at least 0."),
    (("--target-storage", 7), "got --target-storage 7, expected the share that is kept"),
    (("--target-accuracy", 0.5), "got --target-accuracy for a detector"),
    (("--target-storage", 0.8, "--layers", "nothing*"), "got the layers nothing*, of which none can be pruned or decomposed"),
    (("--target-storage", 0.8, "--repair", 12), "got --repair 12 without --data"),
    (("--target-storage", 0.8, "--low", 8, "--data", "SCENES", "--repair", 500), "got 19 images to repair from, expected at least 500"),
    (("--target-storage", 0.8, "--low", 8, "--data", "SCENES", "--repair", 3), "got 3 images to repair from, expected at least 10"),
    (("--target-storage", 0.8, "--low", 8, "--data", "BROKEN"), "that can be read, expected at least 10"),
    (("--target-storage", 0.8, "--low", 8, "--data", "nowhere"), "got the data 'nowhere'"),
    (("--method", "l1", "--target-time", 0.8), "got --method l1 with --target-time, which is for hybrid and tucker"),
    (("--method", "l1", "--ranks", "evbmf"), "got --method l1 with --ranks, which is for hybrid and tucker"),
    (("--target-storage", 0.8, "--like", "net.npz"), "got --like for net.npz, which is a toy, expected options of detectors"),
    (("--target-storage", 0.8, "--finetune-epochs", 3), "got --finetune-epochs for net.npz"),
    (("--target-storage", 0.8, "--no-compensate"), "got --no-compensate for net.npz"),
    (("--target-storage", 0.8, "--minimum", 8), "got --minimum with --method hybrid, where it has no effect. Leave it out."),
    (("--target-storage", 0.8, "--method", "tucker", "--low", 8), "got --low with --method tucker"),
    (("--target-storage", 0.8, "--target-time", 0.1, "--low", 8), "got a target of 0.1 of the time, expected at least 0."),
    (("--target-storage", 0.8, "--target-time", 7, "--low", 8), "got --target-time 7, expected the share that is kept"),
    (("--target-storage", 0.8, "--target-macs", 0.8, "--method", "l1"), "got --target-storage with --target-macs, expected one target"),
    (("--target-storage", 0.8, "--target-accuracy", 0.8), "got --target-storage with --target-accuracy, expected one target"),
    (("--target-storage", 0.8, "--ranks", "64"), "got --ranks with --target-storage, expected ranks or a target"),
    (("--low", 8), "got no target, expected how small the network shall be"),
    (("--target-storage", 0.8, "--keep", "nothing*"), "got the pattern nothing* of layers that stay whole, which fits none"),
    (("--target-storage", 0.8, "--keep", "nothing*", "--method", "l1"), "got the pattern nothing* of layers that stay whole, which"),
    (("--target-storage", 0.8, "--keep", "*"), "got the layers * without *, of which none can be pruned or decomposed"),
    (("--target-storage", 0.8, "--keep", "*", "--method", "l1"), "keeps 5 channels and all of * stays. Choose a larger target."),
    (("--target-storage", 0.8, "--low", 8, "--rates", "nowhere.json"), "got the file nowhere.json, which is not there, expected speeds"),
    (("--target-storage", 0.8, "--low", 8, "--rates", "coco.json"), "got the file coco.json, which holds no speeds, expected speeds"),
    (("--dry-run", "--method", "l1"), "got --dry-run with --method l1, which predicts no errors"),
    (("--dry-run", "--ranks", "64"), "got --dry-run with --ranks, expected targets, or none"),
    (("--target-storage", 0.8, "--method", "fpgm", "--linear", "svd"), "got --linear svd with --method fpgm"),
    (("--target-storage", 0.8, "--validation", "val"), "got --validation val without --data, expected images"),
    (("--target-storage", 0.8, "--errors", "output"), "got --errors output without --data"),
    (("--target-storage", 0.8, "--low", 8, "--data", "PHOTOS", "--split", "val"), "got --split val for"),
    (("--target-storage", 0.8, "--low", 8, "--data", "COCO", "--validation", "val"), "which is one list of images"),
    (("--target-storage", 0.8, "--low", 8, "--data", "SCENES", "--validation", "nothing"), "nothing"),
    (("--target-storage", 0.01, "--data", "SCENES", "--report", "page", "--low", 8), "of the convolutions, expected at least 0."),
    (("--target-storage", 0.01, "--data", "SCENES", "--method", "l1"), "expected at least"),
], ids=str)
def test_bad_input_is_one_line(run, scenes, net, here, options, message):
    (here / "broken").mkdir()
    for number in range(12):
        (here / "broken" / f"{number}.jpg").write_bytes(b"nothing")
    (here / "coco.json").write_text("{}")
    places = {"SCENES": scenes, "BROKEN": "broken", "PHOTOS": scenes / "JPEGImages", "COCO": "coco.json"}
    status, document, err = squeeze(run, *(places.get(option, option) for option in options))
    assert status == 2 and document is None and message in err.splitlines()[-1]
    assert err.count("\n") == (13 if "BROKEN" in options else 1)         # a line for each image, too
    assert {path.name for path in here.iterdir()} == {"net.npz", "broken", "coco.json"}


def test_an_int8_file_is_what_was_measured_and_its_biases_are_fitted(run, scenes, net, here):
    options = "--target-storage", 0.8, "--data", scenes, "--repair", 12, "--low", 8
    whole = squeeze(run, *options, out="whole.npz")[1]
    status, document, _ = squeeze(run, *options, "--dtype", "int8", "--validation", "test", "--report", "page")
    assert status == 0 and "rounding" in document["seconds"]
    assert document["surgery"] == whole["surgery"] and document["after"]["bytes"] == whole["after"]["bytes"]
    stored = document["after"]["stored"]
    assert stored["dtype"] == "int8" and stored["file_bytes"] == (here / "small.npz").stat().st_size
    for row in document["layers"]:
        assert row["stored_bytes"][0] == 4 * row["parameters"][0] and row["stored_bytes"][1] < 3 * row["parameters"][1]
    assert document["before"]["stored"]["layers"]["backbone.0"] == 4 * (8 * 27 + 8)
    one, other = minicnn.load("whole.npz"), minicnn.load("small.npz")
    moved = [name for name, array in one.named_arrays() if array.ndim == 1 and not np.array_equal(array, dict(other.named_arrays())[name])]
    assert "rpn.head.cls_logits.bias" in moved and "backbone.0.bias" in moved
    assert json.loads(run("evaluate", "small.npz", "--data", scenes, "--split", "test", "--json", "-")[1])["mAP"]["voc07"] == (
        document["after"]["mAP"]["voc07"])
    page = (here / "page" / "report.html").read_text()
    assert "<th>bytes, float32</th><th>after, int8</th>" in page and f"{stored['file_bytes']:,}" in page
    assert run("detect", scenes / "JPEGImages" / "000001.jpg", "--weights", "small.npz", "--json", "found.json")[0] == 0
    status, out, _ = run("compress", "small.npz", "--method", "statistics", "--target-parameters", 0.9, "--out", "again.npz")
    assert status == 0 and "as float32 " in out and all(len(line) <= 80 for line in out.splitlines())

"""minicnn compress: targets, methods, --like, resuming, and what it refuses."""

import json
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import minicnn
from minicnn.archive import read_archive, write_archive
from minicnn.compression import method
from minicnn.compression.cost_table import cost_table


@pytest.fixture
def squeeze(run, data, nets, here):
    """squeeze(*options, out=...): (status, the JSON document or None, standard error) of compressing the small LeNet."""
    def squeeze(*options, out="small.npz"):
        status, out, err = run("compress", nets / "lenet.npz", "--data", data, "--finetune-epochs", 1, "--out", out,
                               "--json", "-", *options)
        return status, json.loads(out) if out else None, err
    return squeeze


def kept(document):
    return [row["weight"][0] for row in document["after"]["layers"]]


def removed(document):
    return [{step["path"]: len(step["removed"]) for step in entry["groups"]} for entry in document["rounds"]]


def same_weights(one, other):
    first, second = read_archive(one)[0], read_archive(other)[0]
    assert list(first) == list(second)
    for path, array in first.items():
        assert_array_equal(array, second[path])


def test_json_the_file_and_the_lines(squeeze, data, nets, here):
    status, document, err = squeeze("--target-parameters", 0.5, "--seed", 2)
    assert status == 0 and [path.name for path in here.iterdir()] == ["small.npz"]
    assert document["before"]["parameters"] == 61706 and document["after"]["parameters"] <= 30853
    assert document["rounds"][-1]["parameters"] == document["after"]["parameters"] > 0.9 * 30853     # no more than needed
    assert document["before"]["test"]["images"] == document["after"]["test"]["images"] == 200
    assert document["settings"]["options"]["method"] == "statistics"
    lines = err.splitlines()
    assert lines[0].startswith("before: 61,706 parameters, 416,520 MACs, validation ")
    assert sum(line.startswith("round") and "->" in line for line in lines) == len(document["rounds"])
    assert max(map(len, lines)) <= 80

    model = minicnn.load("small.npz")
    sizes = cost_table(model, model.input_shape)
    assert sizes["parameters"] == document["after"]["parameters"] == sum(array.size for _, array in model.named_parameters())
    record, source = model.record, minicnn.load(nets / "lenet.npz").record
    assert [step["removed"] for step in record["surgery"]] == [
        {group["path"]: group["removed"] for group in entry["groups"]} for entry in document["rounds"]]
    assert [step["round"] for step in record["surgery"]] == list(range(1, len(document["rounds"]) + 1))
    assert record["class_names"] == source["class_names"] and record["provenance"]["before"] == source["provenance"]
    assert record["provenance"]["source"]["file"] == "lenet.npz" and record["measured"]["test"]["images"] == 200
    assert record["measured"]["test"]["accuracy"] == document["after"]["test"]["accuracy"]


def test_the_table_fits_a_terminal(run, data, nets, here):
    status, out, err = run("compress", nets / "lenet.npz", "--data", data, "--target-macs", 0.7, "--finetune-epochs", 0,
                           "--out", "s.npz", "--report", "report")
    assert status == 0 and all(len(line) <= 80 for line in out.splitlines())
    for word in ("conv1", "fc3", "convolutions", "linear layers", "MACs", "bytes", "test accuracy",
                 "s.npz written, report/report.html too"):
        assert word in out
    assert (here / "report" / "report.html").read_bytes().startswith(b"<!doctype html>")


@pytest.mark.parametrize("options, kind, limit", [
    (["--target-parameters", 30000], "parameters", 30000), (["--target-parameters", "1"], "parameters", 61706),
    (["--target-macs", 0.6], "macs", 0.6 * 416520), (["--target-macs", 300000], "macs", 300000),
])
def test_targets_are_shares_or_numbers(squeeze, options, kind, limit):
    status, document, _ = squeeze(*options)
    assert status == 0 and 0.85 * limit < document["after"][kind] <= limit


def test_a_target_accuracy_keeps_to_it(squeeze):
    status, document, err = squeeze("--target-accuracy", 0.02, "--minimum", 4, "--no-linear")
    assert status == 0 and document["rounds"]
    assert kept(document) == [4, 4, 120, 84, 10] and all(entry["accuracy"] >= 0.02 for entry in document["rounds"])
    status, _, err = squeeze("--target-accuracy", 1)
    assert status == 2 and "a target accuracy of 1, expected at most" in err


def test_no_linear_prunes_convolutions_only(squeeze):
    status, document, _ = squeeze("--no-linear", "--target-macs", 0.6)
    assert status == 0 and kept(document)[2:] == [120, 84, 10] and kept(document)[:2] < [6, 16]
    assert {step["path"] for entry in document["rounds"] for step in entry["groups"]} <= {"conv1", "conv2"}


@pytest.mark.parametrize("method", ["l1", "fpgm", "random"])
def test_like_removes_as_many_of_each_layer_and_round(squeeze, nets, method):
    surgery = minicnn.load(nets / "small.npz").record["surgery"]
    status, document, _ = squeeze("--target-parameters", 0.5, "--method", method, "--like", nets / "small.npz")
    assert status == 0 and len(surgery) > 1
    assert removed(document) == [{path: len(numbers) for path, numbers in step["removed"].items()} for step in surgery]
    assert {step["method"] for step in minicnn.load("small.npz").record["surgery"]} == {method}


def test_compensation_changes_biases_only(squeeze):
    """Without fine-tuning and in one round, what is kept has the same weights either way."""
    options = ["--target-parameters", 0.95, "--finetune-epochs", 0]
    _, one, _ = squeeze(*options, out="a.npz")
    _, other, _ = squeeze(*options, "--no-compensate", out="b.npz")
    assert len(one["rounds"]) == len(other["rounds"]) == 1 and kept(one) == kept(other)
    first, second = read_archive("a.npz")[0], read_archive("b.npz")[0]
    different = {path for path in first if not np.array_equal(first[path], second[path])}
    assert different and all(path.endswith("bias") for path in different)


@pytest.mark.parametrize("options", [["--clusters", 3], ["--clusters", 50], ["--patience", 1]])
def test_other_options(squeeze, options):
    status, document, _ = squeeze("--target-parameters", 0.95, *options)
    assert status == 0 and document["after"]["parameters"] <= 0.95 * 61706


@pytest.mark.parametrize("target", [["--target-parameters", 0.3], ["--target-accuracy", 0.02, "--minimum", 3, "--no-linear"]])
def test_a_run_stopped_between_rounds_ends_as_one_that_was_not(squeeze, here, monkeypatch, target):
    status, whole, _ = squeeze(*target, out="nonstop.npz")           # as long as "stopped": the name is in the file, whose size is told
    assert status == 0 and len(whole["rounds"]) > 1
    train_classifier = method.train_classifier

    def stop_in_round_two(*args, **options):
        if options["label"].startswith("round 2"):
            raise KeyboardInterrupt
        return train_classifier(*args, **options)
    with monkeypatch.context() as patch:
        patch.setattr(method, "train_classifier", stop_in_round_two)
        status, document, err = squeeze(*target, out="stopped.npz")
    assert status == 130 and document is None and "--resume" in err
    assert sorted(path.name for path in here.iterdir()) == ["nonstop.npz", "stopped.checkpoint.npz"]
    assert len(minicnn.load("stopped.checkpoint.npz").conv1.weight) < 6       # the checkpoint is a network like any other

    status, _, err = squeeze(*target, "--seed", 1, "--resume", out="stopped.npz")
    assert status == 2 and "another compression" in err and err.count("\n") == 1
    status, _, err = squeeze(*target, out="stopped.npz")
    assert status == 2 and "--resume to go on from it, or --restart" in err and (here / "stopped.checkpoint.npz").exists()
    status, document, err = squeeze(*target, "--resume", out="stopped.npz")
    assert status == 0 and err.startswith("resuming after round 1 from stopped.checkpoint.npz\n")
    assert document["rounds"] == whole["rounds"] and document["after"] == whole["after"]
    same_weights("stopped.npz", "nonstop.npz")
    assert minicnn.load("stopped.npz").record["surgery"] == minicnn.load("nonstop.npz").record["surgery"]
    assert sorted(path.name for path in here.iterdir()) == ["nonstop.npz", "stopped.npz"]


def test_a_resumed_run_writes_the_bytes_of_one_that_was_not_interrupted(squeeze, here, monkeypatch):
    target, train_classifier = ("--target-parameters", 0.3), method.train_classifier
    assert squeeze(*target)[0] == 0
    whole = (here / "small.npz").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(method, "train_classifier", lambda *args, **options: train_classifier(*args, **options) and (
            options["label"].startswith("round 2") and signal.raise_signal(signal.SIGINT)))
        assert squeeze(*target)[0] == 130
    status, _, err = squeeze(*target, "--resume")
    assert status == 0 and "resuming after round 1" in err and (here / "small.npz").read_bytes() == whole
    (here / "small.checkpoint.npz").write_bytes(b"old")
    assert squeeze(*target)[0] == 2 and squeeze(*target, "--restart")[0] == 0
    assert (here / "small.npz").read_bytes() == whole
    assert "no checkpoint small.checkpoint.npz: beginning anew\n" in squeeze(*target, "--resume")[2]


def test_a_compressed_network_can_be_compressed_again(run, data, nets, here):
    for source, out, target in ((nets / "lenet.npz", "a.npz", 40000), ("a.npz", "b.npz", 20000)):
        assert run("compress", source, "--data", data, "--target-parameters", target, "--finetune-epochs", 0,
                   "--out", out)[0] == 0
    first, second = minicnn.load("a.npz").record["surgery"], minicnn.load("b.npz").record["surgery"]
    assert second[:len(first)] == first and len(second) > len(first)
    assert run("info", "b.npz")[0] == 0


# what is refused

@pytest.mark.parametrize("options, expected", [
    (["--target-parameters", "0"], "expected at least"), (["--target-parameters", "100"], "expected at least"),
    (["--target-macs", "10"], "10 macs"),
    (["--target-parameters", "0.9", "--no-linear", "--minimum", "15"], "linear layers all of theirs"),
    (["--target-parameters", "0.9", "--target-macs", "0.9"], "expected one target"), (["--minimum", "4"], "got no target"),
    (["--target-parameters", "0.9", "--keep", "conv9"], "conv9"), (["--dry-run"], "got --dry-run"),
    (["--target-parameters", "0.9", "--rates", "file"], "got --rates"),
    (["--target-accuracy", "98"], "a share up to 1"), (["--target-parameters", "0.5", "--minimum", "500"], "500 channels"),
    (["--target-parameters", "0.5", "--data", "none"], "'none'"),
    (["--target-parameters", "0.5", "--out", "none/x.npz"], "none/x.npz"),
    (["--target-parameters", "0.5", "--report", "file"], "file"),
    (["--target-parameters", "0.5", "--report", "file/x"], "file/x"),
    (["--target-parameters", "0.5", "--json", "none/x"], "none/x"),
    (["--target-parameters", "0.5", "--like", "none.npz"], "none.npz"),
])
def test_options_that_cannot_be_met(run, data, nets, here, options, expected):
    (here / "file").write_bytes(b"old")
    status, out, err = run("compress", nets / "lenet.npz", "--data", data, "--out", "small.npz", *options)
    assert (status, out) == (2, "") and expected in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("minicnn compress: error: ")
    assert [line for line in err.splitlines() if not line.startswith("before: ")] == err.splitlines()[-1:]
    assert [path.name for path in here.iterdir()] == ["file"] and (here / "file").read_bytes() == b"old"


def test_like_of_a_network_that_lost_nothing_or_has_another_form(refused, run, data, nets, here):
    options = ["--data", data, "--target-parameters", 0.5, "--finetune-epochs", 0, "--out", "x.npz"]
    assert "nothing was removed" in refused("compress", nets / "lenet.npz", *options, "--like", nets / "lenet.npz")
    arrays, description = read_archive(nets / "small.npz")
    for number, path in ((6, "conv1"), (1, "conv9")):
        description["surgery"] = [{"round": 1, "method": "l1", "removed": {path: list(range(number))}}]
        write_archive("other.npz", arrays, description)
        assert f"{number} filters of {path}" in refused("compress", nets / "lenet.npz", *options, "--like", "other.npz")


SPOILT = [
    (lambda arrays, description: arrays.pop("conv1.bias"), "missing conv1.bias"),
    (lambda arrays, description: arrays.update(more=np.zeros(1)), "extra more"),
    (lambda arrays, description: arrays.update({"fc3.bias": np.zeros(11)}), "fc3.bias is (11,)"),
    (lambda arrays, description: arrays["fc3.bias"].__setitem__(0, np.nan), "NaN"),
    (lambda arrays, description: description.update(architecture="vgg16"), "vgg16"),
    (lambda arrays, description: description["layers"][1].update(kind="Flatten"), "do not fit each other"),
    (lambda arrays, description: description["layers"][2]["arguments"].update(kernel_size=100), "do not fit each other"),
]


@pytest.mark.parametrize("verb, spoil, expected", [
    (verb, *case) for verb in ("compress", "evaluate", "info") for case in SPOILT if (verb, case[1]) != ("info", "NaN")])   # reads none
def test_spoilt_networks(refused, data, nets, here, verb, spoil, expected):
    arrays, description = read_archive(nets / "lenet.npz")
    spoil(arrays, description)
    write_archive("net.npz", arrays, description)
    options = {"compress": ["--data", data, "--target-parameters", 0.5, "--out", "x.npz"], "evaluate": ["--data", data],
               "info": []}[verb]
    err = refused(verb, "net.npz", *options)
    assert expected in err and "net.npz" in err


@pytest.mark.parametrize("verb", ["compress", "evaluate", "info"])
def test_files_that_are_no_networks(refused, data, nets, here, verb):
    good, objects = (nets / "lenet.npz").read_bytes(), Path("pickle.npz")
    np.savez(objects, **{"conv1.weight": np.array([{}], object)})               # a pickle inside
    with zipfile.ZipFile(objects, "a") as archive:
        archive.writestr("minicnn.json", zipfile.ZipFile(nets / "lenet.npz").read("minicnn.json"))
    Path("cut.npz").write_bytes(good[:-100])
    Path("text.npz").write_text("not a network\n")
    Path("empty.npz").write_bytes(b"")
    options = {"compress": ["--data", data, "--target-parameters", 0.5, "--out", "x.npz"], "evaluate": ["--data", data],
               "info": []}[verb]
    for name, expected in (("pickle.npz", "pickle"), ("cut.npz", "cannot be read"), ("text.npz", "cannot be read"),
                           ("empty.npz", "cannot be read"), (".", "directory"), ("none.npz", "No such file")):
        assert expected in refused(verb, name, *options)


def test_int8_files_count_as_float32_and_their_biases_are_fitted(squeeze, run, data, here):
    status, whole, err = squeeze("--target-storage", 0.5, out="whole.npz")
    assert status == 0, err
    status, document, _ = squeeze("--target-storage", 0.5, "--dtype", "int8")
    assert status == 0
    for key in ("parameters", "macs", "bytes", "layers"):
        assert document["after"][key] == whole["after"][key] and document["before"][key] == whole["before"][key]
    stored = document["after"]["stored"]
    assert stored["dtype"] == "int8" and document["before"]["stored"]["dtype"] == whole["after"]["stored"]["dtype"] == "float32"
    assert stored["file_bytes"] == Path("small.npz").stat().st_size < 0.35 * whole["after"]["stored"]["file_bytes"]
    first, second = minicnn.load("whole.npz"), minicnn.load("small.npz")
    assert 0 < np.abs(first.fc1.bias - second.fc1.bias).max() < 0.01
    assert json.loads(run("evaluate", "small.npz", "--data", data, "--json", "-")[1])["accuracy"] == document["after"]["test"]["accuracy"]
    assert "weights as int8" in run("info", "small.npz")[1]
    assert squeeze("--like", "small.npz", "--target-parameters", 0.6, out="like.npz")[0] == 0
    assert run("compress", "small.npz", "--data", data, "--target-parameters", 0.8, "--finetune-epochs", 0, "--out", "again.npz")[0] == 0
    assert "weights as float32" in run("info", "again.npz")[1]


def test_no_such_dtype(refused, nets, here):
    assert "float16" in refused("compress", nets / "lenet.npz", "--target-parameters", 0.5, "--dtype", "float16", "--out", "small.npz")

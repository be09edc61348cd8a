"""minicnn train: what it writes, what it refuses, and that Ctrl-C costs nothing but the epoch."""

import json
import signal

import pytest
from numpy.testing import assert_array_equal
from subprocesses import HUNG

import minicnn
from minicnn.archive import read_archive
from minicnn.hyperparameters import Hyperparameters
from minicnn.train_classifier import train_classifier


def same_weights(one, other):
    first, second = read_archive(one)[0], read_archive(other)[0]
    assert list(first) == list(second)
    for path, array in first.items():
        assert_array_equal(array, second[path])


def test_json_and_the_file(run, data, here):
    status, out, err = run("train", "lenet5", "--data", data, "--epochs", 2, "--seed", 3, "--out", "net.npz", "--json", "-")
    document = json.loads(out)
    assert status == 0 and document["file"] == "net.npz" and len(document["losses"]) == 2
    assert document["test"]["images"] == 200 and 0 <= document["test"]["accuracy"] <= 1
    assert err.count("\n") == 2 and all(len(line) <= 80 for line in err.splitlines())
    assert [path.name for path in here.iterdir()] == ["net.npz"]        # no checkpoint is left
    record = minicnn.load("net.npz").record
    assert record["class_names"] == list("0123456789") and record["surgery"] == []
    assert record["provenance"]["command"].startswith("minicnn train lenet5 --data ") and record["provenance"]["seed"] == 3
    assert record["provenance"]["images"] == 320 and set(record["provenance"]["versions"]) == {"minicnn", "numpy", "python"}
    assert record["measured"]["test"] == {"data": str(data), **document["test"]}


def test_text_and_json_in_a_file(run, data, here):
    status, out, err = run("train", "lenet5", "--data", data, "--epochs", 1, "--out", "net.npz", "--json", "train.json")
    assert status == 0 and out.startswith("net.npz: ") and out.endswith("of 200 test images right after 1 epoch\n")
    assert all(len(line) <= 80 for line in (out + err).splitlines())
    assert json.loads((here / "train.json").read_text())["file"] == "net.npz"


def test_options_become_hyperparameters(run, data, here, monkeypatch):
    got = []
    monkeypatch.setattr("minicnn.cli.train.train_classifier", lambda *args: got.append(args[3:]) or [])
    options = {"epochs": 3, "batch_size": 7, "lr": 0.5, "momentum": 0.1, "weight_decay": 0.25, "warmup_steps": 9, "patience": 2}
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    assert run("train", "lenet5", "--data", data, "--out", "x.npz", "--seed", 4, "--nesterov", "--resume", *flags)[0] == 0
    assert run("train", "lenet5", "--data", data, "--out", "x.npz")[0] == 0
    assert got == [(Hyperparameters(**options, nesterov=True), 4, "x.checkpoint.npz", True),
                     (Hyperparameters(), 0, "x.checkpoint.npz", None)]


def test_the_seed_decides(run, data, here):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("train", "lenet5", "--data", data, "--epochs", 1, "--seed", seed, "--out", f"{name}.npz")
    same_weights("a.npz", "b.npz")
    with pytest.raises(AssertionError):
        same_weights("a.npz", "c.npz")


def test_ctrl_c_leaves_a_checkpoint_from_which_the_same_network_comes(start, start_paused, data_of_a_process, here):
    command = ["train", "lenet5", "--data", data_of_a_process, "--epochs", 8]
    process, shown = start_paused(17, *command, "--out", "stopped.npz")             # in the fourth epoch of five steps each
    assert [line[:9] for line in shown if not line.startswith("minicnn: compil")] == ["epoch 1/8", "epoch 2/8", "epoch 3/8"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HUNG)
    assert process.returncode == 130 and out == ""
    assert err.endswith("minicnn train: interrupted: add --resume to the same command to go on from the last checkpoint\n")
    assert "Traceback" not in err
    assert [path.name for path in here.iterdir()] == ["stopped.checkpoint.npz"]
    done = len(read_archive("stopped.checkpoint.npz")[1]["progress"]["losses"])
    assert done == 3

    resumed, whole = start(*command, "--out", "stopped.npz", "--resume"), start(*command, "--out", "whole.npz")
    err = resumed.communicate(timeout=HUNG)[1]
    assert resumed.returncode == 0 and err.startswith(f"resuming after epoch {done} from stopped.checkpoint.npz\n")
    assert whole.communicate(timeout=HUNG) and whole.returncode == 0
    same_weights("stopped.npz", "whole.npz")
    assert sorted(path.name for path in here.iterdir()) == ["stopped.npz", "whole.npz"]


def test_resume_with_other_options_is_refused(run, refused, data, here, monkeypatch):
    def stop(*args):
        train_classifier(*args)
        raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr("minicnn.cli.train.train_classifier", stop)
        assert run("train", "lenet5", "--data", data, "--epochs", 1, "--out", "net.npz")[0] == 130
    for options, named in ((["--epochs", 2], "hyperparameters"), (["--epochs", 1, "--seed", 1], "seed")):
        assert f"other {named}" in refused("train", "lenet5", "--data", data, "--out", "net.npz", "--resume", *options)
    assert "other layers" in refused("train", "lenet5_caffe", "--data", data, "--epochs", 1, "--out", "net.npz", "--resume")


@pytest.mark.parametrize("options, expected", [
    (["--out", "none/net.npz"], "cannot write none/net.npz"), (["--out", "file/net.npz"], "cannot write"),
    (["--out", "."], "folder"),
    (["--out", ""], "folder"), (["--out", "net.npz", "--json", "none/x.json"], "none/x.json"),
    (["--out", "net.npz", "--json", ""], "folder"), (["--out", "net.npz", "--data", "none"], "'none'"),
    (["--out", "net.npz", "--data", "."], "train-images-idx3-ubyte"),
])
def test_places_that_cannot_be_used(refused, data, here, options, expected):
    (here / "file").write_bytes(b"old")
    assert expected in refused("train", "lenet5", "--data", data, "--epochs", 1, *options)


@pytest.mark.parametrize("name, change, expected", [
    ("train-images-idx3-ubyte", lambda b: b[:-1], "as its header says"), ("train-images-idx3-ubyte", lambda b: b[:10], "header"),
    ("train-labels-idx1-ubyte", lambda b: b[:4] + (419).to_bytes(4, "big") + b[8:-1], "420 images"),
    ("train-labels-idx1-ubyte", lambda b: b"\x00\x00\x08\x03" + b[4:], "magic number 2051"),
    ("train-labels-idx1-ubyte", lambda b: b[:-1] + b"\x0a", "label 10"),
    ("t10k-images-idx3-ubyte.gz", lambda b: b[:-20], "t10k-images-idx3-ubyte.gz"),
])
def test_damaged_data(refused, data, here, name, change, expected):
    folder = here / "data"
    folder.mkdir()
    for path in data.iterdir():
        (folder / path.name).write_bytes(change(path.read_bytes()) if path.name == name else path.read_bytes())
    assert expected in refused("train", "lenet5", "--data", "data", "--epochs", 1, "--out", "net.npz")


def test_a_training_that_diverges(run, data, here):
    status, out, err = run("train", "lenet5", "--data", data, "--lr", "1e30", "--warmup-steps", 0, "--out", "net.npz")
    assert status == 2 and out == "" and err.count("\n") == 1
    assert "Lower the learning rate" in err and not (here / "net.npz").exists()


def test_nesterov_without_momentum(run, data, here):
    status, out, err = run("train", "lenet5", "--data", data, "--nesterov", "--momentum", 0, "--out", "net.npz")
    assert (status, out) == (2, "") and err.startswith("minicnn train: error: ") and "momentum" in err
    assert not list(here.iterdir())


def test_a_network_for_other_images(refused, data, here):
    line = refused("train", "vgg16", "--data", data, "--out", "x.npz")
    assert "images of 1x28x28" in line and "vgg16 takes" in line


@pytest.mark.parametrize("option", [
    ("--init", "x.npz"), ("--classes", "cat"), ("--config", "x.json"), ("--min-size", 100), ("--max-size", 100), ("--split", "train"),
    ("--cache-features", "x"), ("--report", "x"), ("--validation", "val"), ("--no-flip",), ("--milestones", 3, 4), ("--clip-norm", 1),
    ("--accumulate", 2)], ids=str)
def test_options_of_detectors_are_refused_for_a_classifier(refused, data, here, option):
    assert f"got {option[0].replace('no-', '')}" in refused("train", "lenet5", "--data", data, "--out", "net.npz", *option)


@pytest.mark.parametrize("command", [["train", "lenet5"], ["train", "fasterrcnn_vgg16"], ["finetune", "net.npz"]], ids=" ".join)
def test_no_epoch_at_all_is_refused_before_anything_is_written(run, data, here, command):
    status, out, err = run(*command, "--data", data, "--epochs", 0, "--out", "net.npz")
    assert (status, out) == (2, "") and "argument --epochs: got 0, expected a number of at least 1" in err
    assert list(here.iterdir()) == []

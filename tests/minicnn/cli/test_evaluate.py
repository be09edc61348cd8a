"""minicnn evaluate."""

import json

import numpy as np
import pytest

import minicnn
from minicnn.data import load_data


def test_json(run, data, nets):
    status, out, err = run("evaluate", nets / "small.npz", "--data", data, "--json", "-")
    document = json.loads(out)
    assert (status, err) == (0, "")
    images, labels = load_data(data, "test")
    right = minicnn.load(nets / "small.npz")(images).argmax(axis=1) == labels
    assert document["accuracy"] == right.mean() and document["errors"] == (~right).sum() and document["images"] == 200
    assert document["file"] == str(nets / "small.npz") and document["data"] == str(data) and document["split"] == "test"
    assert len(document["per_class"]) == 10 and document["loss"] > 0 and document["seconds"] > 0
    assert document["accuracy"] == minicnn.load(nets / "small.npz").record["measured"]["test"]["accuracy"]


@pytest.mark.parametrize("split, images", [("train", 320), ("validation", 100), ("test", 200)])
def test_splits_and_text(run, data, nets, monkeypatch, split, images):
    monkeypatch.chdir(nets)
    status, out, err = run("evaluate", "small.npz", "--data", data, "--split", split)
    assert (status, err) == (0, "") and out.startswith("small.npz: ") and f" % of {images} {split} images right, " in out
    assert out.count("\n") == 1 and len(out) <= 81


def test_json_in_a_file(run, data, nets, here):
    status, out, _ = run("evaluate", nets / "small.npz", "--data", data, "--json", "x.json")
    assert status == 0 and "images right" in out
    assert json.loads((here / "x.json").read_text())["images"] == 200


def test_generated_digits_are_the_default(run, nets, monkeypatch):
    monkeypatch.setattr("minicnn.cli.evaluate.load_data", lambda source,
                        split: (np.zeros((2, 1, 28, 28), np.float32), np.arange(2))
                        if (source, split) == ("digits", "test") else None)
    assert run("evaluate", nets / "small.npz")[0] == 0


@pytest.mark.parametrize("options, expected", [
    (["--data", "none"], "'none'"), (["--data", "."], "t10k-images-idx3-ubyte"), (["--json", "none/x.json"], "none/x.json"),
    (["--json", "."], "folder"),
])
def test_places_that_cannot_be_used(refused, nets, here, options, expected):
    assert expected in refused("evaluate", nets / "small.npz", *options)


def test_images_of_another_shape_than_the_network_takes(refused, nets, monkeypatch):
    monkeypatch.setattr("minicnn.cli.evaluate.load_data", lambda source, split: (np.zeros((2, 3, 28, 28), np.float32), np.arange(2)))
    line = refused("evaluate", nets / "small.npz", "--data", "somewhere")
    assert "images of 3x28x28 in somewhere, expected 1x28x28, which lenet5 takes" in line

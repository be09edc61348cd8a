"""minicnn scenes: a data set that can be loaded, and refused sizes."""

import json
import signal
import time

import pytest
from subprocesses import HUNG

from minicnn.data import load_annotated, scenes
from minicnn.data.annotated import read_annotated


def test_a_folder_of_scenes(run, here):
    status, out, err = run("scenes", "deep/data", "--size", "80x64", "--count", 13, "--seed", 5)
    assert (status, err) == (0, "")
    assert out == "deep/data: 13 images of 80 x 64 (train 10, val 1, trainval 11, test 2), 13 classes\n"
    assert [path.name for path in here.iterdir()] == ["deep"] and [path.name for path in (here / "deep").iterdir()] == ["data"]
    for split, count in (("trainval", 11), ("test", 2)):
        images = load_annotated("deep/data", split)
        assert len(images.images) == count and images.class_names == list(scenes.CLASS_NAMES)
        assert {read_annotated(image).shape for image in images.images} == {(64, 80, 3)}


def test_json_and_an_empty_folder(run, here):
    (here / "data").mkdir()
    status, out, err = run("scenes", "data", "--count", 9, "--json", "-")
    assert (status, err) == (0, "")
    assert json.loads(out) == {"folder": "data", "size": [160, 120], "seed": 0, "classes": [*"0123456789", "circle", "square", "triangle"],
                               "splits": {"train": 6, "val": 1, "trainval": 7, "test": 2}}


def test_the_same_command_makes_the_same_bytes(run, here):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("scenes", name, "--count", 9, "--seed", seed)[0] == 0
    a, b, c = ({path.relative_to(here / name): path.read_bytes() for path in (here / name).rglob("*.jpg")} for name in "abc")
    assert len(a) == 9 and a == b and all(a[name] != c[name] for name in a)


@pytest.mark.parametrize("argv, expected", [
    (["full"], "not empty"), (["full/file"], "a file"), ([""], "folder"), (["full/file/x"], "cannot write"),
    (["new", "--size", "63x100"], "63 x 100"), (["new", "--size", "100x5000"], "4096"), (["new", "--json", "none/x.json"], "none/x.json")])
def test_what_cannot_be_done_is_one_line(refused, here, argv, expected):
    (here / "full").mkdir()
    (here / "full" / "file").write_text("old")
    assert expected in refused("scenes", *argv)


@pytest.mark.parametrize("options", [["--size", "100"], ["--size", "100x"], ["--size", "axb"], ["--size", "-100x100"], ["--size", "1x2x3"],
                                     ["--size", "9999999x100"], ["--count", "8"], ["--count", "1e3"], ["--seed", "-1"]])
def test_usage_errors(refused, here, options):
    assert options[0] in refused("scenes", "new", *options)


def test_ctrl_c_leaves_nothing(start, drawing, here):
    process = start("scenes", "data", "--count", 9999)
    deadline = time.monotonic() + HUNG
    while not list(here.glob(".data.*/JPEGImages/000003.jpg")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HUNG)
    assert process.returncode == 130 and out == "" and err == "\nminicnn scenes: interrupted\n"
    assert list(here.iterdir()) == []

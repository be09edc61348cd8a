"""No verb writes over what it reads, or one output over another, whatever the names that they have."""

import argparse
import itertools
import json
import os
import shutil

import pytest

from minicnn.cli.parser import build_parser
from minicnn.cli.paths import CheckpointedOutput, Input, Output, OutputFolder, Pictures, check_distinct, checkpoint_path
from minicnn.errors import InputError

VERBS = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)).choices
PATHS = (Input, Output, OutputFolder)
NO_PATHS = {"NAME", "ARCHITECTURE", "ARCH", "A", "X", "N", "E", "K", "RULE", "PATTERN", "HxW", "WxH", "BASE", None}      # metavars
NEEDED = {"compress": ["--target-macs", "0.5"]}


def is_a(action, kinds):
    return isinstance(action.type, type) and issubclass(action.type, kinds)


def of(verb, kinds):
    return [action for action in VERBS[verb]._actions if is_a(action, kinds)]


def pairs(first, second):
    """(verb, action, action, number of the second's file) of all verbs."""
    return [pytest.param(verb, one, two, number, id=f"{verb}-{one.dest}-{two.dest}-{number}")
            for verb in VERBS for one, two in itertools.product(of(verb, first), of(verb, second)) if one is not two
            for number in range(len(two.type("x").written()))]


def command(verb, values):
    """A command with these values, {dest: value}, and others where they are needed."""
    argv = [verb, *NEEDED.get(verb, [])]
    for action in VERBS[verb]._actions:
        value = values.get(action.dest)
        if value is None and (action.required or not action.option_strings) and action.nargs != "?":
            value = next(iter(action.choices)) if action.choices else f"other_{action.dest}"
        if value is not None:
            argv += [*action.option_strings[-1:], value]
    return argv


def output_value(action, number, path):
    """The value of an output whose file of that number is ``path``, and that file's path."""
    if is_a(action, OutputFolder):
        return os.path.dirname(path) or ".", os.path.join(os.path.dirname(path), action.type.files[number])
    if number:
        return path.replace(".checkpoint", ""), path
    return path, path


@pytest.mark.parametrize("verb", VERBS)
def test_every_argument_that_is_a_path_says_whether_it_is_read_or_written(verb):
    for action in VERBS[verb]._actions:
        assert is_a(action, PATHS) or action.choices or action.metavar in NO_PATHS, action.dest
    assert of(verb, (Output, OutputFolder))


@pytest.mark.parametrize("alias", ["the same", "another spelling", "symbolic link", "hard link", "link to a link"])
@pytest.mark.parametrize("verb, read, written, number", pairs(Input, (Output, OutputFolder)))
def test_no_output_is_an_input(refused, here, verb, read, written, number, alias):
    (here / "dir").mkdir()
    value, path = output_value(written, number, "dir/x.checkpoint.npz")
    source = path
    (here / "original").write_bytes(b"what is read")
    if alias in ("the same", "another spelling"):
        shutil.copy("original", path)
        source = path if alias == "the same" else os.path.join("dir", "..", path)
    elif alias == "hard link":
        os.link("original", path)
        source = "original"
    else:
        os.symlink(here / "original", path)
        source = "original"
        if alias == "link to a link":
            os.symlink(path, "another")
            source = "another"
    assert "read too, expected another file" in refused(*command(verb, {read.dest: source, written.dest: value}))


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("verb, one, two, number", pairs((Output, CheckpointedOutput), (Output, OutputFolder)))
def test_no_output_is_another(refused, here, verb, one, two, number, exists):
    (here / "dir").mkdir()
    value, path = output_value(two, number, "dir/x.checkpoint.npz")
    if exists:
        (here / path).write_bytes(b"before")
        os.symlink(path, "link")
    assert "two things to" in refused(*command(verb, {one.dest: "link" if exists else path, two.dest: value}))


@pytest.mark.parametrize("verb", [verb for verb in VERBS if of(verb, OutputFolder) and verb not in ("scenes", "detect")])
def test_a_file_is_not_the_folder_of_another_output(refused, here, verb):
    for folder in of(verb, OutputFolder):
        for name in ("x.npz", "x.npz/page"):
            assert "as a file and as the folder of" in refused(*command(verb, {"json": "x.npz", folder.dest: name}))


@pytest.mark.parametrize("verb, options", [("evaluate", ["x.npz"]), ("train", ["lenet5", "--out", "y.npz"]), ("finetune", ["x.npz", "--out",
                                           "y.npz"]), ("compress", ["x.npz", "--out", "y.npz", "--target-macs", "1"])])
def test_no_output_is_a_file_of_the_data(refused, here, verb, options):
    (here / "data" / "annotations").mkdir(parents=True)
    for name in ("a.jpg", "a.xml", "annotations/val.json", "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz", "list.txt"):
        (here / "data" / name).write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
        os.symlink(f"data/{name}", "link")
        for path in (f"data/{name}", "link"):
            assert "an image or a file of the data" in refused(verb, *options, "--data", "data", "--json", path)
        os.unlink("link")
    (here / "data" / "results.json").write_text('{"mAP": 1}')
    line = refused(verb, *options, "--data", "data", "--json", "data/results.json")         # for another reason
    assert "file of the data" not in line


def test_no_output_is_an_image_that_lies_elsewhere(refused, here):
    (here / "photo.jpg").write_bytes(b"x")
    (here / "coco.json").write_text("{}")
    assert "is an image" in refused("evaluate", "x.npz", "--data", "coco.json", "--json", "photo.jpg")


def test_downloads_and_measurements_in_the_cache_are_not_written_over(refused, here, monkeypatch):
    monkeypatch.setenv("MINICNN_CACHE", str(here / "cache"))
    (here / "cache").mkdir()
    name = "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"
    (here / "cache" / name).write_bytes(b"x")
    assert "read too" in refused("download", "fasterrcnn_resnet50_fpn", "-o", f"cache/{name}")
    assert "two things to" in refused("tune", "x.npz", "--json", "cache/tuned.json")
    (here / "fasterrcnn_resnet50_fpn.npz").write_bytes(b"x")
    assert "two things to" in refused("download", "fasterrcnn_resnet50_fpn", "--json", "fasterrcnn_resnet50_fpn.npz")


def test_files_that_stay_apart_may_be_written():
    check_distinct(["a", "dir"], ["b", "dir/c", "dir/d/e"])
    check_distinct(["/dev/null"], ["/dev/null", "/dev/null"])               # nothing is lost there
    with pytest.raises(InputError, match="a to write to, which is ./a and read too"):
        check_distinct(["./a"], ["a"])


def test_pictures_are_read():
    assert issubclass(Pictures, Input)


@pytest.mark.parametrize("out, expected", [("a/net.npz", "a/net.checkpoint.npz"), ("net", "net.checkpoint.npz")])
def test_a_checkpoint_lies_beside_the_output(out, expected):
    assert checkpoint_path(out) == expected

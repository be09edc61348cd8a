"""The parser: help and examples of every verb, and usage errors in one line."""

import importlib

import pytest

import minicnn
from minicnn.cli import parser

VERBS = ["scenes", "train", "compress", "evaluate", "compare", "info", "demo"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(run, verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(verb, "--help")
    assert status == 0 and err == ""
    assert f"\nexample: minicnn {verb} " in out
    assert "--json" in out


def test_examples_are_commands_that_parse():
    for verb in parser.VERBS:
        module = importlib.import_module(f"minicnn.cli.{verb}")
        name, command, *rest = module.EXAMPLE.split()
        args = parser.build_parser().parse_args([command, *rest])
        assert (name, command) == ("minicnn", verb) and args.run is module.run


def test_the_overview_has_a_line_and_an_example_for_every_verb(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    status, out, err = run("--help")
    assert status == 0
    for verb in VERBS:
        assert f"Example: minicnn {verb}" in out
    assert run("--version") == (0, f"minicnn {minicnn.__version__}\n", "")


@pytest.mark.parametrize("argv, expected", [
    ([], "VERB"), (["prune"], "prune"), (["train"], "ARCHITECTURE, --out"), (["train", "vgg", "--out", "x"], "vgg"),
    (["train", "lenet5", "--out", "x", "--epochs", "-1"], "at least 1"),
    (["train", "lenet5", "--out", "x", "--epochs", "1.5"], "1.5"),
    (["train", "lenet5", "--out", "x", "--lr", "nan"], "nan"), (["train", "lenet5", "--out", "x", "--lr", "inf"], "inf"),
    (["train", "lenet5", "--out", "x", "--batch-size", "0"], "at least 1"),
    (["train", "lenet5", "--out", "x", "--seed", "-1"], "-1"),
    (["train", "lenet5", "--out"], "--out"),
    (["compress", "a.npz", "--out", "b.npz", "--resume", "--restart"], "not allowed with"),
    (["compress", "a.npz", "--out", "b.npz", "--target-macs", "1", "--method", "l3"], "l3"),
    (["compress", "a.npz", "--out", "b.npz", "--target-macs", "1", "--clusters", "1"], "at least 2"),
    (["compress", "a.npz", "--out", "b.npz", "--target-macs", "1", "--minimum", "0"], "at least 1"),
    (["compare", "a.json"], "B.json"), (["info"], "FILE"), (["demo", "--seed", "x"], "x"),
])
def test_usage_errors_are_one_line(run, here, argv, expected):
    status, out, err = run(*argv)
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and err.startswith("minicnn") and ": error: " in err and expected in err
    assert "--help" in err and not list(here.iterdir())

"""What the verbs share."""

import argparse
import hashlib
import json

import pytest

from minicnn.cli.options import (
    at_least,
    check_outputs,
    checkpoint_path,
    emit,
    percent,
    provenance,
    shape,
    source_file,
    table,
)
from minicnn.errors import InputError


def test_table():
    assert table(("name", "n"), [("a", 1), ("longer", "1,000"), ("x", "")]) == (
        "name        n\n"
        "------  -----\n"
        "a           1\n"
        "longer  1,000\n"
        "x")


@pytest.mark.parametrize("function, value, expected", [
    (shape, (20, 1, 5, 5), "20x1x5x5"), (percent, 0.98765, "98.77 %"), (percent, 1, "100.00 %"),
    (checkpoint_path, "a/net.npz", "a/net.checkpoint.npz"), (checkpoint_path, "net", "net.checkpoint.npz"),
])
def test_small_ones(function, value, expected):
    assert function(value) == expected


@pytest.mark.parametrize("low, kind, text, expected",
                         [(0, int, "3", 3), (0, float, "0", 0.0), (2, int, "2", 2), (0, float, "1e-3", 0.001)])
def test_numbers_that_are_taken(low, kind, text, expected):
    value = at_least(low, kind)(text)
    assert value == expected and type(value) is kind


@pytest.mark.parametrize("low, kind, text",
                         [(0, int, "-1"), (2, int, "1"), (0, float, "nan"), (0, float, "inf"), (0, float, "-0.1")])
def test_numbers_that_are_not(low, kind, text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"got {text}, expected a number of at least {low}"):
        at_least(low, kind)(text)


def test_emit(tmp_path, capsys):
    document = {"name": "Käse", "value": 0.5, "list": [1, None]}
    emit(argparse.Namespace(json=None), document, "text")
    assert capsys.readouterr().out == "text\n"
    emit(argparse.Namespace(json="-"), document, "text")
    out = capsys.readouterr().out
    assert json.loads(out) == document and "Käse" in out and out.endswith("}\n")
    emit(argparse.Namespace(json=str(tmp_path / "x.json")), document, "text")
    assert capsys.readouterr().out == "text\n"
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == document


def test_check_outputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_outputs(argparse.Namespace(json=None), "a.npz")
    check_outputs(argparse.Namespace(json="-"), "a.npz")
    for json_path, out in (("none/x", "a.npz"), (None, "none/x"), ("", "a.npz"), (None, "")):
        with pytest.raises(InputError):
            check_outputs(argparse.Namespace(json=json_path), out)
    assert not list(tmp_path.iterdir())


def test_provenance_and_source(tmp_path):
    made = provenance(argparse.Namespace(argv=["train", "lenet5", "--out", "a b.npz"]), seed=3)
    assert made["command"] == "minicnn train lenet5 --out 'a b.npz'" and made["seed"] == 3
    (tmp_path / "x").write_bytes(b"abc")
    assert source_file(tmp_path / "x") == {"file": "x", "sha256": hashlib.sha256(b"abc").hexdigest()}

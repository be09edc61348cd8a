"""What verbs write: a document for --json, and where a file comes from."""

import argparse
import json

from minicnn.cli.provenance import emit, provenance


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


def test_provenance():
    made = provenance(argparse.Namespace(argv=["train", "lenet5", "--out", "a b.npz"]), seed=3)
    assert made["command"] == "minicnn train lenet5 --out 'a b.npz'" and made["seed"] == 3

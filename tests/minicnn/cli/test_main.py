"""The command line as a whole: help, what the user types wrongly, exit statuses, and each verb once as a process."""

import importlib
import json

import pytest
from subprocesses import HUNG

import minicnn
from minicnn.cli import compress, parser, train
from minicnn.errors import InputError
from minicnn.functional.dispatch import default_backend

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
    (["train", "lenet5", "--out", "x", "--epochs", "-1"], "at least 0"),
    (["train", "lenet5", "--out", "x", "--epochs", "1.5"], "1.5"),
    (["train", "lenet5", "--out", "x", "--lr", "nan"], "nan"), (["train", "lenet5", "--out", "x", "--lr", "inf"], "inf"),
    (["train", "lenet5", "--out", "x", "--batch-size", "0"], "at least 1"),
    (["train", "lenet5", "--out", "x", "--seed", "-1"], "-1"),
    (["train", "lenet5", "--out"], "--out"), (["compress", "a.npz", "--out", "b.npz"], "--target-parameters"),
    (["compress", "a.npz", "--out", "b.npz", "--target-macs", "1", "--target-parameters", "1"], "not allowed with"),
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


def test_exit_statuses(run, monkeypatch, here):
    def raising(error):
        def fail(args):
            raise error
        return fail
    for error, status, text in ((InputError("two\nlines"), 2, "minicnn info: error: two lines\n"),
                                (KeyboardInterrupt(), 130, "\nminicnn info: interrupted\n")):
        monkeypatch.setattr("minicnn.cli.info.run", raising(error))
        assert run("info", "x") == (status, "", text)
    monkeypatch.setattr("minicnn.cli.info.run", raising(ValueError("a bug")))
    with pytest.raises(ValueError, match="a bug"):                      # a bug shows its traceback
        run("info", "x")
    for verb, module in (("train lenet5", train), ("compress a --target-macs 1", compress)):
        monkeypatch.setattr(module, "run", raising(KeyboardInterrupt()))
        status, out, err = run(*verb.split(), "--out", "x")
        assert status == 130 and "--resume" in err


def test_each_verb_as_a_process(start, data_of_a_process, here):
    """What a user does, in the user's folder; JSON alone on standard output, progress on standard error."""
    data = data_of_a_process
    verbs = {
        "train": ["lenet5", "--data", data, "--epochs", 1, "--out", "lenet.npz"],
        "compress": ["lenet.npz", "--data", data, "--target-parameters", 0.6, "--finetune-epochs", 1, "--out", "small.npz",
                     "--report", "report/"],
        "evaluate": ["small.npz", "--data", data],
        "info": ["small.npz"],
    }
    for verb, options in verbs.items():
        process = start(verb, *options, "--json", "-")
        out, err = process.communicate(timeout=HUNG)
        assert process.returncode == 0, err
        assert isinstance(json.loads(out), dict)
        assert "Traceback" not in err and "Warning" not in err
        assert ("epoch 1/1  loss" in err) == (verb in ("train", "compress"))
    assert sorted(path.name for path in here.iterdir()) == ["lenet.npz", "report", "small.npz"]
    assert [path.name for path in (here / "report").iterdir()] == ["report.html"]
    process = start("info", "none.npz")
    out, err = process.communicate(timeout=HUNG)
    assert process.returncode == 2 and out == "" and err.count("\n") == 1 and err.startswith("minicnn info: error: ")


def test_a_wrong_backend_in_the_environment_is_refused(refused, nets, data, monkeypatch):
    monkeypatch.setenv("MINICNN_BACKEND", "fast")
    default_backend.cache_clear()
    try:
        err = refused("evaluate", nets / "small.npz", "--data", data)
    finally:
        default_backend.cache_clear()
    assert "got the backend 'fast', expected one of reference, numpy, numba" in err


def test_a_reader_that_goes_away_is_no_error(nets, start):
    process = start("info", nets / "small.npz")
    process.stdout.close()
    assert process.wait(60) == 1 and process.stderr.read() == ""


def test_a_name_beyond_the_terminals_encoding_is_escaped(nets, start, here, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    (here / "naïf.npz").write_bytes((nets / "small.npz").read_bytes())
    out, err = start("info", "naïf.npz").communicate()
    assert out.startswith("na\\xeff.npz: lenet5") and err == ""

"""The command line as a whole: exit statuses, and each verb once as a process."""

import json
import signal

import pytest
from subprocesses import HUNG

from minicnn.cli import compress, train
from minicnn.errors import InputError
from minicnn.functional.dispatch import default_backend


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


def test_sigterm_ends_a_verb_as_ctrl_c_does_and_exits_with_143(run, monkeypatch, here):
    def terminated(args):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as stop:
            stop.args = ("after 3 of 4",)
            raise
    monkeypatch.setattr("minicnn.cli.info.run", terminated)
    assert run("info", "x") == (143, "", "\nminicnn info: terminated after 3 of 4\n")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_sigterm_that_the_caller_handles_stays_the_callers(run, monkeypatch, here):
    caught = []
    before = signal.signal(signal.SIGTERM, lambda *arguments: caught.append(arguments))
    try:
        monkeypatch.setattr("minicnn.cli.info.run", lambda args: signal.raise_signal(signal.SIGTERM))
        assert run("info", "x") == (0, "", "") and len(caught) == 1
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("variable, value, message", [
    *(("MINICNN_NUM_THREADS", value, "expected a number of threads") for value in ("0", "-1", "two")),
    ("MINICNN_BACKEND", "nonsense", "expected one of reference, numpy, numba"), ("MINICNN_WINOGRAD", "off", "expected 0, which"),
])
@pytest.mark.parametrize("command", ["detect x.jpg --weights x.npz", "info x", "train lenet5 --out x.npz", "tune x.npz"])
def test_a_wrong_variable_ends_every_verb_with_one_line(run, monkeypatch, here, command, variable, value, message):
    monkeypatch.setenv(variable, value)
    status, out, err = run(*command.split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"minicnn {command.split()[0]}: error: got ") and value in err and message in err


def test_each_verb_as_a_process(start, data_of_a_process, here):
    """The verbs as a user runs them: only JSON on standard output, progress on standard error."""
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

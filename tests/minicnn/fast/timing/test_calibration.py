"""The machine's rates: fitted exactly where the model holds, kept for this machine, and no file can harm."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from minicnn.errors import InputError
from minicnn.fast import machine
from minicnn.fast.timing import calibration, chain_milliseconds
from minicnn.fast.timing.calibration import fit_rates, read_rates, write_rates
from minicnn.fast.timing.cost_model import KINDS, amounts
from minicnn.layers import Conv2d

RATES = dict(zip(KINDS, (13.0, 12.0, 16.0, 0.2, 0.1, 0.3, 0.2, 0.05)))
LAYER = Conv2d(64, 128, 3, padding=1)
SHAPE = (1, 64, 30, 41)             # 8 x 11 tiles


def some(**counted):
    return {**dict.fromkeys(KINDS, 0.0), **counted}


def measured(rates, noise=0.0):
    """Amounts of the networks of the calibration, and what they take by ``rates``."""
    rng = np.random.default_rng(1)
    done = [amounts(network, shape, "numpy") for network, shape in calibration.sample_networks()]
    return [(one, sum(rates[kind] * one[kind] for kind in KINDS) * (1 + noise * rng.standard_normal())) for one in done]


def test_rates_are_found_again_from_the_times_that_they_make():
    assert_allclose(list(fit_rates(measured(RATES)).values()), list(RATES.values()), rtol=1e-6)


def test_rates_that_are_0_stay_0_and_none_is_below():
    rates = {**RATES, "patches": 0.0, "steps": 0.0}
    found = fit_rates(measured(rates, noise=0.03))
    assert min(found.values()) >= 0
    times = [(sum(found[kind] * one[kind] for kind in KINDS), ms) for one, ms in measured(rates)]
    assert max(abs(a / b - 1) for a, b in times) < 0.05


def test_no_other_rates_leave_a_smaller_error():
    samples = measured({**RATES, "maps": 0.0}, noise=0.1)
    a = np.array([[one[kind] for kind in KINDS] for one, _ in samples]) / [[ms] for _, ms in samples]

    def error(rates):
        return np.sum((a @ rates - 1) ** 2)
    best = np.array(list(fit_rates(samples).values()))
    gradient = a.T @ (a @ best - 1)
    assert_allclose(gradient[best > 0], 0, atol=1e-6 * np.abs(a).max())                 # the conditions of Karush, Kuhn and Tucker
    assert (gradient[best == 0] >= -1e-9).all()
    rng = np.random.default_rng(2)
    assert all(error(best) <= error(np.maximum(0, best * (1 + 0.1 * rng.standard_normal(len(KINDS))))) for _ in range(100))


def test_work_that_no_sample_does_has_no_rate():
    samples = [(some(product=1.0 * i, steps=1), 2.0 * i + 1) for i in range(1, 6)]
    assert_allclose(list(fit_rates(samples).values()), list(some(product=2.0, steps=1.0).values()), atol=1e-9)


# the machine's rates

@pytest.fixture
def few(monkeypatch):
    """A calibration of two small convolutions, which takes no time."""
    monkeypatch.setattr(calibration, "SAMPLES", ((16, 16, 12, 12, {}), (16, 24, 9, 9, {"stride": 2})))
    monkeypatch.setattr(calibration, "SECONDS", 0)
    monkeypatch.setattr(calibration, "BUSY", np.inf)


def test_calibrating_measures_and_keeps(few, engine, folder, capsys):
    rates = calibration.calibrate(engine)
    assert list(rates) == list(KINDS) and min(rates.values()) >= 0 and max(rates.values()) > 0
    assert calibration.machine_rates(engine) == rates
    assert [path.name for path in folder.iterdir()] == ["rates.json"]
    whole, chains = chain_milliseconds(LAYER, SHAPE, [8, 16], engine)
    assert whole > 0 and min(chains) > 0
    assert capsys.readouterr().out == ""


def test_rates_measured_on_a_busy_machine_are_not_kept(few, monkeypatch, folder, capsys):
    monkeypatch.setattr(calibration, "BUSY", 0.2)
    times = np.random.default_rng(0)
    monkeypatch.setattr(calibration, "interleaved_milliseconds", lambda calls, *_: times.uniform(0.1, 10, len(calls)).tolist())
    assert min(calibration.calibrate("numpy").values()) >= 0
    assert list(folder.iterdir()) == []
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("minicnn: warning: the machine was busy")


def test_it_is_measured_once(few, monkeypatch):
    rates = calibration.machine_rates("numpy")
    monkeypatch.setattr(calibration, "calibrate", lambda backend: pytest.fail("measured again"))
    assert calibration.machine_rates("numpy") == rates


def test_another_machine_or_setting_measures_anew(folder, monkeypatch):
    folder.mkdir()
    write_rates(calibration.rates_file(), calibration.machine_key("numpy"), RATES)
    monkeypatch.setattr(calibration, "calibrate", lambda backend: "measured")
    assert calibration.machine_rates("numpy") == RATES
    with monkeypatch.context() as patch:
        patch.setattr(machine, "threads", lambda backend: 99)
        assert calibration.machine_rates("numpy") == "measured"
    monkeypatch.setenv("MINICNN_WINOGRAD", "0")
    assert calibration.machine_rates("numpy") == "measured"


def test_keeping_leaves_the_rates_of_other_settings(folder):
    folder.mkdir()
    path = calibration.rates_file()
    for key in ("a", "b", "a"):
        write_rates(path, key, {**RATES, "steps": float(ord(key))})
    assert read_rates(path, "a")["steps"] == 97 and read_rates(path, "b")["steps"] == 98 and read_rates(path, "c") is None


def document(**changes):
    return json.dumps({"format": 1, "settings": {"a": RATES}, **changes}).encode()


WRONG = {
    "nothing": b"", "no JSON": b"\x93NUMPY\x01\x00", "cut": document()[:-3], "a list": b"[1]", "deep": b"[" * 100_000,
    "another format": document(format=2), "settings are a list": document(settings=[RATES]),
    "rates are a number": document(settings={"a": 3}),
    "a rate is missing": document(settings={"a": {"product": 1.0}}), "a rate is a text": document(settings={"a": {**RATES, "steps": "1"}}),
    "a rate is negative": document(settings={"a": {**RATES, "steps": -1.0}}),
    "a rate is infinite": document(settings={"a": {**RATES, "steps": float("inf")}}),
    "a rate is no number": document(settings={"a": {**RATES, "steps": float("nan")}}),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=list(WRONG))
def test_a_file_that_cannot_be_used_is_written_anew(folder, content):
    folder.mkdir()
    path = calibration.rates_file()
    path.write_bytes(document())
    assert read_rates(path, "a") == RATES
    path.write_bytes(content)
    assert read_rates(path, "a") is None
    write_rates(path, "a", RATES)
    assert read_rates(path, "a") == RATES


def test_a_cache_that_cannot_be_written_is_an_error_before_anything_is_measured(few, folder, monkeypatch):
    folder.write_text("a file in the folder's place")
    monkeypatch.setattr(calibration, "interleaved_milliseconds", lambda *_: pytest.fail("measured"))
    with pytest.raises(InputError, match="cache"):
        calibration.calibrate("numpy")


# a file for another machine

def test_the_speeds_of_this_machine_are_written_for_another_one(few, folder, monkeypatch, tmp_path):
    key = calibration.write_machine(tmp_path / "board.json", "numpy")
    assert calibration.read_machine(str(tmp_path / "board.json")) == (key, "numpy", calibration.machine_rates("numpy"))
    write_rates(calibration.rates_file(), "another machine", RATES)
    monkeypatch.setattr(calibration, "fit_rates", lambda measured: {**RATES, "steps": 7.0})
    calibration.write_machine(tmp_path / "board.json", "numpy")
    assert calibration.read_machine(tmp_path / "board.json")[2]["steps"] != 7
    calibration.write_machine(tmp_path / "board.json", "numpy", again=True)
    assert calibration.read_machine(tmp_path / "board.json")[2]["steps"] == 7
    assert read_rates(calibration.rates_file(), "another machine") == RATES


def test_a_busy_machine_writes_no_speeds_for_another_one(few, folder, monkeypatch, tmp_path):
    monkeypatch.setattr(calibration, "BUSY", -1)
    with pytest.raises(InputError, match="^got a busy machine, whose speeds would be wrong in .*board.json, expected an idle one"):
        calibration.write_machine(tmp_path / "board.json", "numpy")
    assert not (tmp_path / "board.json").exists()


BOARD = "Cortex-A72, 1.8 GHz, 4 cores, 4 threads, numpy, minicnn 0.3.0, numpy 1.26.4"


@pytest.mark.parametrize("content, message", [
    (None, "which is not there"), (b"{}", "which holds no speeds"), (document(settings={}), "which holds no speeds"),
    (document(settings={"a": {**RATES, "steps": -1}}), "which holds no speeds"),
    (document(settings={BOARD: RATES, "b": RATES}), r"got the speeds of 2 machines or settings .*; b\), expected those of one"),
    (document(settings={"an abacus": RATES}), "got speeds of an abacus .*, expected the backend numpy or numba"),
    (document(settings={f"{BOARD}{calibration.WITHOUT}": RATES}), "measured without Winograd's .* Set MINICNN_WINOGRAD=0"),
], ids=str)
def test_a_file_that_is_not_of_one_machine(tmp_path, content, message):
    path = tmp_path / "board.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        calibration.read_machine(path)


def test_the_same_use_of_winograds_algorithm_is_asked_for(tmp_path, monkeypatch):
    path = tmp_path / "board.json"
    path.write_bytes(document(settings={BOARD: RATES}))
    assert calibration.read_machine(path) == (BOARD, "numpy", RATES)
    monkeypatch.setenv("MINICNN_WINOGRAD", "0")
    with pytest.raises(InputError, match="measured with Winograd's .* Unset MINICNN_WINOGRAD=0"):
        calibration.read_machine(path)

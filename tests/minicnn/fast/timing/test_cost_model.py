"""Times told from shapes: counted as by hand, fitted exactly where the model holds, kept for this machine, and no file can harm."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from minicnn.errors import InputError
from minicnn.fast import machine, timing
from minicnn.fast.plan import compile
from minicnn.fast.timing import KINDS, amounts, break_even, chain_milliseconds, fit, keep, kept
from minicnn.layers import Conv2d, ReLU, Sequential, tucker_chain

RATES = dict(zip(KINDS, (13.0, 12.0, 16.0, 0.2, 0.1, 0.3, 0.2, 0.05)))
LAYER = Conv2d(64, 128, 3, padding=1)
SHAPE = (1, 64, 30, 41)             # 8 x 11 tiles
BACKENDS = ("numpy", "numba")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache folder of its own."""
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MINICNN_WINOGRAD", raising=False)
    return tmp_path / "cache"


def some(**counted):
    return {**dict.fromkeys(KINDS, 0.0), **counted}


# amounts

def test_a_winograd_convolution_is_counted_as_by_hand():
    found = amounts(Sequential([LAYER]), SHAPE, "numpy")
    assert_same(found, some(winograd=36 * 88 * 64 * 128 / 1e9, tiles=36 * 88 * (64 + 128) / 1e6, weights=36 * 64 * 128 / 1e6, steps=1))


def test_a_product_is_counted_as_by_hand():
    found = amounts(Sequential([Conv2d(64, 24, 1)]), SHAPE, "numpy")
    assert_same(found, some(product=30 * 41 * 64 * 24 / 1e9, maps=30 * 41 * (64 + 24) / 1e6, weights=64 * 24 / 1e6, steps=1))


def test_a_direct_convolution_is_counted_as_by_hand():
    found = amounts(Sequential([Conv2d(64, 24, 5, stride=2, padding=2)]), SHAPE, "numpy")
    assert_same(found, some(direct=15 * 21 * 25 * 64 * 24 / 1e9, maps=(2 * 30 * 41 * 64 + 15 * 21 * 24) / 1e6,
                            patches=15 * 21 * 25 * 64 / 1e6, weights=25 * 64 * 24 / 1e6, steps=2))


def test_channels_are_counted_as_wide_as_the_plan_makes_them():
    shape = (1, 30, 10, 12)
    narrow = amounts(Sequential([Conv2d(30, 50, 1)]), shape, "numpy")
    assert narrow == amounts(Sequential([Conv2d(32, 56, 1)]), (1, 32, 10, 12), "numpy")


def test_an_activation_costs_nothing():
    assert amounts(Sequential([LAYER, ReLU()]), SHAPE, "numpy") == amounts(Sequential([LAYER]), SHAPE, "numpy")


def test_a_batch_takes_as_much_as_its_images():
    one, four = (amounts(Sequential([LAYER]), (n, *SHAPE[1:]), "numpy") for n in (1, 4))
    assert_allclose([four[kind] for kind in ("winograd", "tiles")], [4 * one[kind] for kind in ("winograd", "tiles")])
    assert four["weights"] == one["weights"] and four["steps"] == one["steps"]


def test_what_is_counted_are_the_steps_of_the_plan(engine):
    rng = np.random.default_rng(0)
    for layer, shape in ((LAYER, SHAPE), (Conv2d(24, 40, 3, 2, 1), (1, 24, 17, 20)), (Conv2d(16, 16, 3), (1, 16, 9, 9))):
        network = Sequential([Conv2d(shape[1], shape[1], 1, rng=rng), *(part for _, part in tucker_chain(layer, 16, rng).children())])
        steps = compile(network, shape, engine).steps
        assert amounts(network, shape, engine)["steps"] == len(steps), str(layer)
        assert (amounts(network, shape, engine)["winograd"] > 0) == any("winograd" in step.algorithm for step in steps)


def test_without_winograd_it_is_not_counted(monkeypatch):
    monkeypatch.setenv("MINICNN_WINOGRAD", "0")
    assert amounts(Sequential([LAYER]), SHAPE, "numpy")["winograd"] == 0


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert_allclose(list(found.values()), list(expected.values()))


# chains

def test_grouped_convolutions_and_other_layers_are_refused():
    for layer in (Conv2d(8, 8, 3, groups=8), ReLU()):
        with pytest.raises(InputError, match="without groups"):
            chain_milliseconds(layer, (1, 8, 9, 9), [4], "numpy", RATES)


# milliseconds

def test_a_chain_takes_what_its_three_convolutions_take():
    whole, (one, same, other) = chain_milliseconds(LAYER, SHAPE, [(32, 40), (32, 40), 32], "numpy", RATES)
    parts = [Conv2d(64, 32, 1), Conv2d(32, 40, 3, padding=1), Conv2d(40, 128, 1)]
    shapes = [(1, channels, *SHAPE[2:]) for channels in (64, 32, 40)]
    alone = [chain_milliseconds(part, shape, [], "numpy", RATES)[0] for part, shape in zip(parts, shapes)]
    assert_allclose(one, sum(alone))
    assert one == same and other < one
    found = amounts(Sequential([LAYER]), SHAPE, "numpy")
    assert_allclose(whole, 16.0 * found["winograd"] + 0.3 * found["tiles"] + 0.2 * found["weights"] + 0.05)


def test_break_even_is_the_largest_rank_that_is_faster():
    layer, shape = Conv2d(512, 512, 3, padding=1), (1, 512, 50, 68)
    rank = break_even(layer, shape, "numpy", RATES)
    assert rank % 8 == 0 and 8 < rank < 512
    whole, (here, next_) = chain_milliseconds(layer, shape, [rank, rank + 8], "numpy", RATES)
    assert here < whole <= next_
    slow_products = {**RATES, "product": 1e5}
    assert break_even(layer, shape, "numpy", slow_products) == 0


@pytest.mark.parametrize("shape", [(1, 63, 30, 41), (1, 64, 30), (64, 30, 41)])
def test_an_input_that_does_not_fit_is_refused(shape):
    with pytest.raises(InputError, match="expected one that it can read") as caught:
        chain_milliseconds(LAYER, shape, [8], "numpy", RATES)
    assert "\n" not in str(caught.value)


def test_a_image_smaller_than_the_kernel_is_refused():
    with pytest.raises(InputError, match="expected one that it can read"):
        chain_milliseconds(Conv2d(8, 8, 5), (1, 8, 3, 9), [4], "numpy", RATES)


def test_the_reference_makes_no_plans():
    with pytest.raises(InputError, match="reference"):
        chain_milliseconds(LAYER, SHAPE, [8], "reference", RATES)
    with pytest.raises(InputError, match="cuda"):
        chain_milliseconds(LAYER, SHAPE, [8], "cuda", RATES)


# fitting

def measured(rates, noise=0.0):
    """Amounts of the networks of the calibration, and what they take by ``rates``."""
    rng = np.random.default_rng(1)
    done = [amounts(network, shape, "numpy") for network, shape in timing.samples()]
    return [(one, sum(rates[kind] * one[kind] for kind in KINDS) * (1 + noise * rng.standard_normal())) for one in done]


def test_rates_are_found_again_from_the_times_that_they_make():
    assert_allclose(list(fit(measured(RATES)).values()), list(RATES.values()), rtol=1e-6)


def test_rates_that_are_0_stay_0_and_none_is_below():
    rates = {**RATES, "patches": 0.0, "steps": 0.0}
    found = fit(measured(rates, noise=0.03))
    assert min(found.values()) >= 0
    times = [(sum(found[kind] * one[kind] for kind in KINDS), ms) for one, ms in measured(rates)]
    assert max(abs(a / b - 1) for a, b in times) < 0.05


def test_no_other_rates_leave_a_smaller_error():
    samples = measured({**RATES, "maps": 0.0}, noise=0.1)
    a = np.array([[one[kind] for kind in KINDS] for one, _ in samples]) / [[ms] for _, ms in samples]

    def error(rates):
        return np.sum((a @ rates - 1) ** 2)
    best = np.array(list(fit(samples).values()))
    gradient = a.T @ (a @ best - 1)
    assert_allclose(gradient[best > 0], 0, atol=1e-6 * np.abs(a).max())                 # the conditions of Karush, Kuhn and Tucker
    assert (gradient[best == 0] >= -1e-9).all()
    rng = np.random.default_rng(2)
    assert all(error(best) <= error(np.maximum(0, best * (1 + 0.1 * rng.standard_normal(len(KINDS))))) for _ in range(100))


def test_work_that_no_sample_does_has_no_rate():
    samples = [(some(product=1.0 * i, steps=1), 2.0 * i + 1) for i in range(1, 6)]
    assert_allclose(list(fit(samples).values()), list(some(product=2.0, steps=1.0).values()), atol=1e-9)


# the machine's rates

@pytest.fixture
def few(monkeypatch):
    """A calibration of two small convolutions, which takes no time."""
    monkeypatch.setattr(timing, "SAMPLES", ((16, 16, 12, 12, {}), (16, 24, 9, 9, {"stride": 2})))
    monkeypatch.setattr(timing, "SECONDS", 0)
    monkeypatch.setattr(timing, "BUSY", np.inf)


def test_calibrating_measures_and_keeps(few, engine, folder, capsys):
    rates = timing.calibrate(engine)
    assert list(rates) == list(KINDS) and min(rates.values()) >= 0 and max(rates.values()) > 0
    assert timing.machine_rates(engine) == rates
    assert [path.name for path in folder.iterdir()] == ["rates.json"]
    whole, chains = chain_milliseconds(LAYER, SHAPE, [8, 16], engine)
    assert whole > 0 and min(chains) > 0
    assert capsys.readouterr().out == ""


def test_rates_measured_on_a_busy_machine_are_not_kept(few, monkeypatch, folder, capsys):
    monkeypatch.setattr(timing, "BUSY", 0.2)
    times = np.random.default_rng(0)
    monkeypatch.setattr(timing, "contest", lambda calls, *_: times.uniform(0.1, 10, len(calls)).tolist())
    assert min(timing.calibrate("numpy").values()) >= 0
    assert list(folder.iterdir()) == []
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("minicnn: warning: the machine was busy")


def test_it_is_measured_once(few, monkeypatch):
    rates = timing.machine_rates("numpy")
    monkeypatch.setattr(timing, "calibrate", lambda backend: pytest.fail("measured again"))
    assert timing.machine_rates("numpy") == rates


def test_another_machine_or_setting_measures_anew(folder, monkeypatch):
    folder.mkdir()
    keep(timing.rates_file(), timing.setting("numpy"), RATES)
    monkeypatch.setattr(timing, "calibrate", lambda backend: "measured")
    assert timing.machine_rates("numpy") == RATES
    with monkeypatch.context() as patch:
        patch.setattr(machine, "threads", lambda backend: 99)
        assert timing.machine_rates("numpy") == "measured"
    monkeypatch.setenv("MINICNN_WINOGRAD", "0")
    assert timing.machine_rates("numpy") == "measured"


def test_keeping_leaves_the_rates_of_other_settings(folder):
    folder.mkdir()
    path = timing.rates_file()
    for key in ("a", "b", "a"):
        keep(path, key, {**RATES, "steps": float(ord(key))})
    assert kept(path, "a")["steps"] == 97 and kept(path, "b")["steps"] == 98 and kept(path, "c") is None


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
    path = timing.rates_file()
    path.write_bytes(document())
    assert kept(path, "a") == RATES
    path.write_bytes(content)
    assert kept(path, "a") is None
    keep(path, "a", RATES)
    assert kept(path, "a") == RATES


def test_a_cache_that_cannot_be_written_is_said_before_anything_is_measured(few, folder, monkeypatch):
    folder.write_text("a file in the folder's place")
    monkeypatch.setattr(timing, "contest", lambda *_: pytest.fail("measured"))
    with pytest.raises(InputError, match="cache"):
        timing.calibrate("numpy")

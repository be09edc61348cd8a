"""The choice of a convolution's algorithm: by rules, by measurements, and its limits."""

import numpy as np
import pytest

from minicnn.fast import choose, tuned
from minicnn.fast.choose import Choice
from minicnn.fast.plan import compile
from minicnn.layers import Conv2d, ReLU, Sequential
from minicnn.trace import trace

SIDES = (2, 16, 30, 25)


def network(kernel=3, inputs=16, outputs=24, **settings):
    return Sequential([Conv2d(inputs, outputs, kernel, rng=np.random.default_rng(0), **settings), ReLU()])


def operation(shape=SIDES, **settings):
    return next(one for one in trace(network(**settings), [shape])[0] if one.kind == "conv2d")


def algorithm(backend, **settings):
    return compile(network(**settings), SIDES, backend).steps[-1].algorithm


@pytest.fixture(params=["numpy", "numba"])
def engine(request):
    """Each backend that makes plans."""
    if request.param == "numba":
        pytest.importorskip("numba")
    return request.param


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """measured(operation, backend, algorithm, **options): as if that had been measured."""
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path))
    tuned.read.cache_clear()
    yield lambda operation, backend, algorithm, **options: tuned.save(
        backend, choose.key(operation), choose.output_pixels(operation), {"algorithm": algorithm, "options": options})
    tuned.read.cache_clear()


def test_candidates_compute_the_same(engine):
    x = np.random.default_rng(1).standard_normal(SIDES, np.float32)
    model = network(padding=1)
    expected = model(x)
    choices = choose.candidates(operation(padding=1), engine)
    assert {one.algorithm for one in choices} == {"winograd", "direct"} and len(choices) > 4
    assert choices[0] == choose.by_rules(operation(padding=1), engine)
    for choice in choices:
        with choose.choosing(lambda *_, choice=choice: choice):
            plan = compile(model, SIDES, engine)
        assert plan.steps[-1].algorithm == str(choice)
        y = plan.run([x], np.empty(plan.arena_size, np.float32))
        assert np.abs(y - expected).max() <= 1e-5 * np.abs(expected).max(), choice


def test_a_1_by_1_convolution_can_be_a_product_or_direct(engine):
    assert [one.algorithm for one in choose.candidates(operation(kernel=1), engine)] == ["product", "direct"]


@pytest.mark.parametrize("settings", [{"kernel": 5}, {"stride": 2}, {"dilation": 2}, {"outputs": 4}, {"groups": 16, "outputs": 16},
                                      {"kernel": 1, "stride": 2}], ids=str)
def test_where_one_algorithm_fits_there_is_no_choice(engine, settings):
    assert len(choose.candidates(operation(**settings), engine)) == 1


def test_strips_are_not_longer_than_there_are_tiles(engine):
    small = operation(shape=(1, 16, 12, 8), padding=1)
    choices = choose.candidates(small, engine)
    assert {one.options["tiles"] for one in choices if one.algorithm == "winograd"} == {6} and len(choices) == 3


def test_a_measured_choice_goes_before_the_rules(engine, measured):
    assert algorithm(engine, padding=1).startswith("winograd")
    measured(operation(padding=1), engine, "direct")
    assert algorithm(engine, padding=1) == "direct"
    assert algorithm(engine, padding=1, outputs=32).startswith("winograd")              # another convolution
    with choose.choosing(lambda *_: None):
        assert algorithm(engine, padding=1).startswith("winograd")                      # the rules alone


def test_winograd_can_be_turned_off_also_where_it_was_measured_to_win(engine, measured, monkeypatch):
    measured(operation(padding=1), engine, "winograd", tiles=24, together=True)
    assert algorithm(engine, padding=1) == "winograd, 24 tiles"
    monkeypatch.setenv("MINICNN_WINOGRAD", "0")
    assert algorithm(engine, padding=1) == "direct"
    tuned.forget()
    assert algorithm(engine, padding=1) == "direct"
    monkeypatch.setenv("MINICNN_WINOGRAD", "1")
    assert algorithm(engine, padding=1).startswith("winograd")


@pytest.mark.parametrize("what", ["winograd", "depthwise", "product", "os.system"])
def test_a_file_cannot_choose_what_does_not_fit(engine, measured, what):
    measured(operation(kernel=5, padding=2), engine, what, tiles=24, together=True)
    assert algorithm(engine, kernel=5, padding=2) == "direct"


@pytest.mark.parametrize("options, expected", [
    ({"tiles": 10**12, "together": True}, 7 * 8 * 2), ({"tiles": -5, "together": False}, 1), ({"tiles": 0}, 1), ({}, 1)], ids=str)
def test_a_file_cannot_ask_for_strips_that_are_none(engine, measured, options, expected):
    measured(operation(padding=1), engine, "winograd", **options)
    assert choose.planned_convolution(operation(padding=1), engine) == Choice(
        "winograd", {"tiles": expected, "together": options.get("together", False)})
    x = np.random.default_rng(1).standard_normal(SIDES, np.float32)
    plan, expected = compile(network(padding=1), SIDES, engine), network(padding=1)(x)
    y = plan.run([x], np.empty(plan.arena_size, np.float32))
    assert np.abs(y - expected).max() <= 1e-5 * np.abs(expected).max()


def test_keys_distinguish_convolutions_but_not_numbers_of_pixels():
    keys = {choose.key(operation(**settings)) for settings in (
        {}, {"padding": 1}, {"kernel": 1}, {"stride": 2}, {"dilation": 2}, {"outputs": 32}, {"outputs": 16, "groups": 16})}
    assert len(keys) == 7
    assert choose.key(operation()) == choose.key(operation(shape=(1, 16, 99, 7)))
    assert choose.output_pixels(operation()) == 2 * 28 * 23 and choose.output_pixels(operation(padding=1)) == 2 * 30 * 25
    assert choose.output_tiles(operation()) == 2 * 7 * 6

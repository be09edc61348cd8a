"""The first of a decomposed layer's layers against dense least squares, and against the error that it shall lessen."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.compression import first_factor as module
from minicnn.compression.first_factor import Chain, Patches, fit_chain, fit_first, joined, parted, solve_first
from minicnn.compression.observe import at, half
from minicnn.compression.regression import fit_best
from minicnn.compression.repair import patches
from minicnn.layers import Conv2d, Sequential

INPUTS, R, Q, OUTPUTS, TAPS = 8, 3, 4, 6, 9


def generator(seed=0):
    return np.random.default_rng(seed)


def chain(core=True, seed=0):
    """A random ``Chain`` of three layers, or of two."""
    rng = generator(seed)
    return Chain(rng.standard_normal((R, INPUTS)), rng.standard_normal((Q, R, TAPS)) if core else None,
                 rng.standard_normal((OUTPUTS, Q if core else R)), rng.standard_normal(OUTPUTS))


def made_by(some, count=600, noise=0.1, seed=1, relu=False):
    """``Patches`` with alike taps, as maps have, and the outputs of a chain there, with noise."""
    rng, taps = generator(seed), some.taps.shape[2]
    x = rng.standard_normal((count, INPUTS, 1)) @ np.ones((1, taps)) + 0.5 * rng.standard_normal((count, INPUTS, taps)) + 1
    x = half(x.reshape(count, -1))
    y = x.astype(np.float64) @ (some.last @ joined(some.taps, some.first)).T + some.bias + noise * rng.standard_normal((count, OUTPUTS))
    return Patches(x, y.astype(np.float32), relu)


@pytest.mark.parametrize("core", [True, False])
@pytest.mark.parametrize("strength", [1e-2, 10])
def test_conjugate_gradients_find_the_least_squares(core, strength, monkeypatch):
    monkeypatch.setattr(module, "TOLERANCE", 1e-10)
    some, rng = chain(core), generator(3)
    width = INPUTS * some.taps.shape[2]
    root, wanted = rng.standard_normal((width, width)), rng.standard_normal((OUTPUTS, width))
    found = solve_first(some, root @ root.T, some.last.T @ wanted @ root @ root.T, strength, some.first)
    weights = np.array([some.last @ joined(some.taps, one) for one in np.eye(R * INPUTS).reshape(-1, R, INPUTS)])         # of each unknown
    pull = np.sqrt(strength * (root @ root.T).trace() / width)
    design = np.concatenate([(weights @ root).reshape(R * INPUTS, -1), pull * weights.reshape(R * INPUTS, -1)], axis=1)
    target = np.concatenate([(wanted @ root).ravel(), pull * (some.last @ joined(some.taps, some.first)).ravel()])
    expected = np.linalg.lstsq(design.T, target, rcond=None)[0].reshape(R, INPUTS)
    assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_with_one_tap_one_step_is_enough(monkeypatch):
    monkeypatch.setattr(module, "TOLERANCE", 1e-10)
    some, root, mixed = chain(core=False), generator(3).standard_normal((INPUTS, INPUTS)), generator(4).standard_normal((R, INPUTS))
    found = solve_first(some, root @ root.T, mixed, 0.1, some.first)
    monkeypatch.setattr(module, "STEPS", 1)
    assert_allclose(solve_first(some, root @ root.T, mixed, 0.1, some.first), found, atol=1e-6)


def test_parted_is_the_adjoint_of_joined():
    some, matrix = chain(), generator(3).standard_normal((Q, INPUTS * TAPS))
    assert_allclose((joined(some.taps, some.first) * matrix).sum(), (some.first * parted(some.taps, matrix)).sum())


@pytest.mark.parametrize("relu", [False, True])
def test_a_wrong_first_layer_is_found_again(relu):
    truth = chain()
    wrong = truth._replace(first=truth.first + 0.5 * generator(5).standard_normal((R, INPUTS)))
    learnt, held_back = made_by(truth, relu=relu), made_by(truth, seed=2, relu=relu)
    *_, without = fit_best(learnt.behind(wrong.first), held_back.behind(wrong.first), wrong.weight, wrong.bias, wrong.factorise)
    fitted, strength, first_strength, before, after = fit_chain(wrong, learnt, held_back)
    assert np.isfinite(first_strength) and before == held_back.error(wrong) and after < 0.5 * without
    assert held_back.error(fitted) == after


def test_the_strength_is_that_of_least_error_on_what_was_held_back(monkeypatch):
    monkeypatch.setattr(module, "TOLERANCE", 1e-10)
    truth = chain()
    wrong = truth._replace(first=truth.first + 0.1)
    learnt, held_back = made_by(truth, count=12, noise=4), made_by(truth, seed=2, noise=4)
    *_, strength, error = fit_first(wrong, learnt, held_back, learnt.covariance())
    assert strength > min(module.STRENGTHS)
    for other in filter(np.isfinite, module.STRENGTHS):
        monkeypatch.setattr(module, "STRENGTHS", (other,))
        assert error <= fit_first(wrong, learnt, held_back, learnt.covariance())[2] * (1 + 1e-6)


@pytest.mark.parametrize("relu", [False, True])
def test_what_does_not_help_is_left_as_it_is(relu):
    truth = chain()
    learnt, held_back = made_by(truth, count=8, noise=20, relu=relu), made_by(truth, noise=0, seed=2, relu=relu)
    fitted, strength, first_strength, before, after = fit_chain(truth, learnt, held_back)
    assert strength == first_strength == np.inf and before == after < 1e-4
    for one, other in zip(fitted, truth):
        assert_array_equal(one, other)


def test_moments_are_those_of_all_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 100)
    some = made_by(chain(), count=350)
    x = some.x.astype(np.float64)
    assert_allclose(some.mean(), x.mean(axis=0))
    assert_allclose(some.covariance(), np.cov(x.T, bias=True), atol=1e-4)
    z = some.y - some.y.mean(axis=0)
    assert_allclose(some.mixed(z), z.T @ (x - x.mean(axis=0)) / 350, atol=1e-4)


@pytest.mark.parametrize("settings", [{"padding": 1}, {"stride": 2}, {"dilation": 2, "padding": 1}], ids=str)
def test_the_second_layer_reads_what_the_first_makes_of_the_patches(settings):
    first, core = Conv2d(INPUTS, R, 1, bias=False, rng=generator()), Conv2d(R, OUTPUTS, 3, rng=generator(1), **settings)
    x = generator(2).standard_normal((2, INPUTS, 9, 7)).astype(np.float32)
    y = Sequential([first, core])(x)
    points = tuple(generator(3).integers(0, side, 50) for side in y[:, 0].shape)
    some = Patches(half(patches(core, x, points)), at(y, points), False).behind(first.weight[:, :, 0, 0].astype(np.float64))
    assert_allclose(some.predict(core.weight.reshape(OUTPUTS, -1).astype(np.float64), core.bias.astype(np.float64)), some.y, atol=5e-3)

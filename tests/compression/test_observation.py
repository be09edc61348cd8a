"""What is kept of a network's doings against what it does."""

import numpy as np
import pytest
import toy
from numpy.testing import assert_allclose, assert_array_equal
from watched import HEADS, MAPS, generator, pictures

from minicnn.compression import observation
from minicnn.compression.ledger import has_matrix
from minicnn.compression.observation import at, batches, draw, half, inputs_of, observe
from minicnn.probe import probed


@pytest.fixture(scope="module")
def model():
    return toy.toy(rng=generator(), min_size=96, max_size=128)


@pytest.fixture(scope="module")
def seen(model):
    paths = [path for path, layer in model.named_layers() if not layer.children() and has_matrix(layer)]
    return observe(model, pictures(), paths, generator())


def test_all_layers_in_the_order_in_which_they_run(seen):
    assert seen.order == MAPS + HEADS and set(seen.heads) == set(HEADS)


def test_windows_are_parts_of_the_pictures(model, seen):
    assert len(seen.windows) == 4
    for picture, window in zip(seen.pictures, seen.windows):
        assert window.shape == (1, 3, 32, 64)
        whole = model.transform([picture.transpose(2, 0, 1).astype(np.float32) / 255]).pixels
        places = [(y, x) for y in range(whole.shape[2] - 31) for x in range(whole.shape[3] - 63)
                  if (whole[0, :, y, x] == window[0, :, 0, 0]).all()]
        assert any((whole[:, :, y:y + 32, x:x + 64] == window).all() for y, x in places)


def test_windows_of_one_size_go_together():
    sizes = [(32, 64)] * 21 + [(64, 32)] * 9
    windows = [np.full((1, 3, *size), number, np.float32) for number, size in enumerate(sizes)]
    found = batches(windows)
    assert [one.shape for one in found] == [(3, 3, 32, 64)] * 7 + [(3, 3, 64, 32)] * 3
    assert_array_equal(np.concatenate([one[:, 0, 0, 0] for one in found]), np.arange(30))
    assert len(batches(windows[:11])) == 11


@pytest.mark.parametrize("path", MAPS)
def test_answers_are_the_outputs_at_the_points(model, seen, path):
    outputs = []
    with probed(model, {path: lambda x, y: outputs.append(y)}):
        for window in seen.windows:
            model.look(window)
    for y, points, answers in zip(outputs, seen.points[path], seen.answers[path]):
        assert len(points) == len(answers) == 1 and answers[0].dtype == np.float16
        assert_allclose(answers[0], half(at(y, points[0])), rtol=2e-3, atol=1e-6)
        assert len(set(zip(*points[0]))) == len(answers[0]) == min(observation.POINTS, y[:, 0].size)


def test_heads_are_watched_on_proposals(model, seen):
    outputs = []
    with probed(model, {HEADS[0]: lambda x, y: outputs.append(y)}):
        for picture, proposals in zip(seen.pictures, seen.proposals):
            assert 0 < len(proposals) <= observation.PROPOSALS
            model.judge(model.pool(picture, proposals)[1])
    for y, (points,), (answers,) in zip(outputs, seen.points[HEADS[0]], seen.answers[HEADS[0]]):
        assert_allclose(answers, at(y, points), rtol=2e-3, atol=1e-4)
    assert seen.all_answers(HEADS[0]).shape == (sum(map(len, seen.proposals)), 16)


def test_inputs_are_counted_channel_by_channel(seen):
    inputs = seen.inputs["backbone.3"]
    assert inputs.count == 4 * observation.POINTS and inputs.mean.shape == (8,) and inputs.covariance().shape == (8, 8)
    assert (np.linalg.eigvalsh(inputs.covariance()) > -1e-9).all()
    assert seen.inputs[HEADS[0]].mean.shape == (144,) and np.ndim(seen.inputs[HEADS[0]].products) == 0


def test_one_seed_one_observation(model):
    one, other = (observe(model, pictures(), ["backbone.3"], generator(5)) for _ in range(2))
    assert_array_equal(one.all_answers("backbone.3"), other.all_answers("backbone.3"))
    assert one.proposals == [] and one.heads == ()


def test_of_many_outputs_fewer_points_are_kept(model, monkeypatch):
    monkeypatch.setattr(observation, "KEPT", 8 * 4 * 10)
    assert observe(model, pictures(), ["backbone.0"], generator()).all_answers("backbone.0").shape == (40, 8)


def test_a_layers_inputs_and_no_step_further(model, seen):
    after = []
    with probed(model, {"backbone.6": lambda x, y: after.append(y)}):
        caught = inputs_of(model, "backbone.3", 1, lambda: model.look(seen.windows[0]))
    expected = []
    with probed(model, {"backbone.3": lambda x, y: expected.append(x)}):
        model.look(seen.windows[0])
    assert not after
    assert_array_equal(caught, expected)
    assert model.get_layer("backbone.3").kind == "Conv2d"


@pytest.mark.parametrize("shape", [(1, 5, 6, 7), (9, 5), (3, 5, 2, 4)])
def test_points_of_any_output(shape):
    y = generator().standard_normal(shape)
    points = draw(y, 4, generator())
    assert at(y, points).shape == (4, 5)
    n, *rest = (place[2] for place in points)
    assert_array_equal(at(y, points)[2], y[(n, slice(None), *rest)])

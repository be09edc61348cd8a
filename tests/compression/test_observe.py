"""The observation of a detector against its outputs."""

import numpy as np
import pytest
from calibration_cases import HEADS, MAPS, generator, images
from numeric_checks import BACKENDS
from numpy.testing import assert_allclose, assert_array_equal
from toy_detector import toy_detector

from minicnn.compression import observe as observation
from minicnn.compression.cost_table import weighted_layers
from minicnn.compression.observe import at, draw, half, observe
from minicnn.compression.recording import Recorder
from minicnn.detection.transform import Batch
from minicnn.errors import InputError
from minicnn.fast import run as fast_run
from minicnn.fast.plan import compile
from minicnn.functional.dispatch import use
from minicnn.hooks import watch
from minicnn.layers import Conv2d, Layer


@pytest.fixture(scope="module")
def model():
    return toy_detector(rng=generator(), min_size=96, max_size=128)


@pytest.fixture(scope="module")
def seen(model):
    return observe(model, images(), generator(), weighted_layers(model))


def test_all_layers_in_the_order_in_which_they_run(seen):
    assert seen.order == MAPS + HEADS and set(seen.heads) == set(HEADS)


@pytest.mark.parametrize("path", MAPS)
def test_outputs_are_kept_at_the_points(model, seen, path):
    outputs = []
    with watch(model, {path: lambda x, y: outputs.append(y)}):
        for image in seen.images:
            model.backbone_and_rpn(model.prepare(image).pixels)
    for y, points, answers in zip(outputs, seen.points[path], seen.outputs[path]):
        assert len(points) == len(answers) == 1 and answers[0].dtype == np.float16
        assert_allclose(answers[0], half(at(y, points[0])), rtol=2e-3, atol=1e-4)
        assert len(set(zip(*points[0]))) == len(answers[0]) == min(observation.POINTS, y[:, 0].size)


def test_heads_are_observed_on_the_best_proposals(model, seen):
    outputs = []
    with watch(model, {HEADS[0]: lambda x, y: outputs.append(y)}):
        for image, proposals in zip(seen.images, seen.proposals):
            batch = model.prepare(image)
            maps, _ = model.backbone_and_rpn(batch.pixels)
            assert_allclose(proposals, model.pool_rois(maps, batch)[0][:observation.PROPOSALS], atol=1e-3)
            model.box_head(model.pool_rois(maps, batch, proposals)[1])
    for y, (points,), (answers,) in zip(outputs, seen.points[HEADS[0]], seen.outputs[HEADS[0]]):
        assert_allclose(answers, at(y, points), rtol=2e-3, atol=1e-4)
    assert seen.all_outputs(HEADS[0]).shape == (sum(map(len, seen.proposals)), 16)


def test_layers_that_only_relus_read(seen):
    assert seen.relu_followed == {"backbone.0", "backbone.3", "backbone.6", "rpn.head.conv.0.0", *HEADS[:2]}


def test_inputs_are_counted_channel_by_channel(seen):
    inputs = seen.inputs["backbone.3"]
    assert inputs.count == 4 * observation.POINTS and inputs.mean.shape == (8,) and inputs.covariance().shape == (8, 8)
    assert (np.linalg.eigvalsh(inputs.covariance()) > -1e-9).all()
    pooled, vectors = (seen.inputs[path] for path in HEADS[:2])
    assert pooled.mean.shape == (144,) and not pooled.by_channel and np.ndim(vectors.products) == 0
    pixels = len(pooled.products)
    assert 144 % pixels == 0 and pixels > 1 and (np.linalg.eigvalsh(pooled.covariance()) > -1e-9).all()


def test_one_seed_one_observation(model):
    one, other = (observe(model, images(), generator(5), ["backbone.3"]) for _ in range(2))
    assert_array_equal(one.all_outputs("backbone.3"), other.all_outputs("backbone.3"))
    assert one.proposals == [] and one.heads == ()


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_observing_plans_once_for_each_shape(model, monkeypatch, backend):
    planned = []
    monkeypatch.setattr(fast_run, "compile", lambda network, *args: planned.append(type(network)) or compile(network, *args))
    with use(backend):
        observe(model, images(), generator(), MAPS + HEADS)
    assert planned.count(Recorder) == 2                                     # backbone and RPN, and the box head


class Pyramid(Layer):
    """Maps of two sizes, read by one layer."""

    def __init__(self):
        self.layer = Conv2d(3, 4, 1, rng=generator())

    def backbone_and_rpn(self, x):
        return [self.layer(x), self.layer(x[:, :, ::2, ::2])], ()

    prepare, box_head, channel_groups, repeats = staticmethod(lambda image: Batch(image, (), ())), None, staticmethod(tuple), {}


def test_calls_share_the_points_of_an_image():
    seen = observe(Pyramid(), list(generator(1).standard_normal((2, 1, 3, 16, 20)).astype(np.float32)), generator(), ["layer"])
    assert [[len(rows) for rows in calls] for calls in seen.outputs["layer"]] == [[102, 25]] * 2        # of 128, as 320 pixels to 80
    assert seen.inputs["layer"].count == 2 * (102 + 25)


def test_fewer_points_are_kept_of_many_outputs(model, monkeypatch):
    monkeypatch.setattr(observation, "KEPT", 8 * 4 * 10)
    assert observe(model, images(), generator(), ["backbone.0"]).all_outputs("backbone.0").shape == (40, 8)


def test_an_image_without_proposals_adds_nothing(model, monkeypatch):
    found, pool_rois = [], model.pool_rois

    def every_other(maps, batch, proposals=None):
        boxes, pooled = pool_rois(maps, batch, proposals)
        found.append(0 if len(found) % 2 else len(boxes))
        return boxes[:found[-1]], pooled[:found[-1]]
    monkeypatch.setattr(model, "pool_rois", every_other)
    seen = observe(model, images(), generator(), HEADS)
    kept = [min(count, observation.PROPOSALS) for count in found]
    assert [len(boxes) for boxes in seen.proposals] == kept and kept[1] == kept[3] == 0 < kept[0]
    assert seen.all_outputs(HEADS[0]).shape == (sum(kept), 16) and seen.inputs[HEADS[0]].count == sum(kept)
    assert seen.relu_followed >= set(HEADS[:2])


def test_without_any_proposal_the_box_head_cannot_be_observed(model, monkeypatch):
    monkeypatch.setattr(model.rpn, "score_thresh", 1.0)
    assert observe(model, images(2), generator(), MAPS).proposals == []
    with pytest.raises(InputError, match="got 2 images in none of which the network proposes a box, expected some, to observe the layers"):
        observe(model, images(2), generator(), HEADS)


@pytest.mark.parametrize("shape", [(1, 5, 6, 7), (9, 5), (3, 5, 2, 4)])
def test_points_of_any_output(shape):
    y = generator().standard_normal(shape)
    points = draw(y, 4, generator())
    assert at(y, points).shape == (4, 5)
    n, *rest = (place[2] for place in points)
    assert_array_equal(at(y, points)[2], y[(n, slice(None), *rest)])

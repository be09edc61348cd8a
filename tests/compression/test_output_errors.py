"""Errors of layers, weighed by their effect on the detector's outputs."""


import pytest
from calibration_cases import HEADS, MAPS, generator, images, weak_detector
from numpy.testing import assert_array_equal

from minicnn.compression.budget import Candidate
from minicnn.compression.hybrid import LayerDecision
from minicnn.compression.low_rank import LowRank
from minicnn.compression.observe import observe
from minicnn.compression.output_errors import weigh_errors


def test_errors_are_weighed_by_their_effect_on_the_outputs():
    model = weak_detector()
    model.get_layer("rpn.head.cls_logits").weight[...] = 0               # nothing hears what the RPN's convolution says
    model.get_layer("rpn.head.bbox_pred").weight[...] = 0
    seen = observe(model, images(), generator(), MAPS + HEADS)
    arrays = {name: array.copy() for name, array in model.named_arrays()}
    layers = []
    for path in ("backbone.6", "rpn.head.conv.0.0"):
        low_rank = LowRank(model.get_layer(path), seen.inputs[path], seen.all_outputs(path))
        narrower = [Candidate((rank, rank), low_rank.error((rank, rank)), 2, 2, 2.0) for rank in (12, 8)]
        layers.append(LayerDecision(path, low_rank, [Candidate(None, 0.0, 4, 4, 4.0), *narrower], None))
    before = [one.error for one in layers[0].candidates]
    weigh_errors(model, layers, seen)
    effective, without_effect = ([one.error for one in layer.candidates] for layer in layers)
    assert without_effect == [0, 0, 0] and effective[0] == 0 and 0 < effective[1] < effective[2]
    assert effective[1] / effective[2] == pytest.approx(before[1] / before[2])
    for name, array in model.named_arrays():
        assert_array_equal(array, arrays[name])

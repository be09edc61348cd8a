"""The whole method as a library call: what it returns, what it leaves alone, and what is imported for it."""

import subprocess
import sys

import numpy as np
import pytest
from calibration_cases import RATES, generator, images
from numpy.testing import assert_array_equal
from toy_detector import toy_detector

import minicnn
import minicnn.compression
from minicnn.compression import DetectorOptions, PruningTarget, RankRule, compress_classifier, compress_detector, machine_cost_model
from minicnn.compression.cost_table import cost_table
from minicnn.hyperparameters import Hyperparameters

COSTS = machine_cost_model("numpy", RATES)


def detector():
    model = toy_detector(rng=generator(), box_head_width=64, min_size=96, max_size=128)
    model.architecture, model.record = "toy", {"surgery": [], "class_names": [], "provenance": {}, "measured": {}}
    return model


def test_a_smaller_copy_and_a_report():
    model, events = detector(), []
    arrays = {name: array.copy() for name, array in model.named_arrays()}
    small, report = compress_detector(
        model, DetectorOptions(RankRule("storage", 0.8), low=8), images(12), cost_model=COSTS,
        evaluate=lambda network: {"voc07": float(network is model)}, progress=lambda event, **facts: events.append(event))
    assert events == ["checked"]
    for name, array in model.named_arrays():
        assert_array_equal(array, arrays[name])
    assert model.record["surgery"] == [] and small.record["surgery"] == [report.surgery]
    assert report.surgery["method"] == "hybrid" and report.surgery["split"] and report.surgery["repaired_from"] == 12
    assert report.repair and set(report.seconds) == {"looking at pictures", "surgery", "repair", "measuring"}
    assert report.before["mAP"] == {"voc07": 1.0} and report.after["mAP"] == {"voc07": 0.0}
    assert report.after["bytes"] == cost_table(small, small.input_shape)["bytes"] <= 0.8 * report.before["bytes"]
    assert list(report.document("small.npz", {})) == ["file", "architecture", "source", "surgery", "layers", "repair", "before", "after",
                                                      "errors", "backend", "seconds"]


def test_without_images_nothing_is_observed_or_repaired():
    small, report = compress_detector(detector(), DetectorOptions(RankRule("energy", 0.6), method="tucker"), cost_model=COSTS)
    assert report.errors == "weights" and report.repair == [] and report.surgery["repaired_from"] == 0
    assert set(report.seconds) == {"surgery", "measuring"}


def test_a_method_that_prunes_alone_needs_a_target():
    with pytest.raises(ValueError, match="got the rule energy with l1, expected a target"):
        DetectorOptions(RankRule("energy", 0.6), method="l1")


def test_a_classifier():
    model, events = minicnn.build("lenet5", rng=generator()), []
    x, labels = generator(1).random((16, *model.input_shape), np.float32), np.arange(16) % 10
    small, report = compress_classifier(
        model, x, labels, PruningTarget("parameters", 40000), hyperparameters=Hyperparameters(epochs=1, batch_size=8),
        evaluate=lambda network: 0.5, progress=lambda event, **facts: events.append(event))
    assert events[0] == "before" and set(events[1:]) == {"round"} and len(events) == len(report.rounds) + 1
    assert report.after["parameters"] == cost_table(small, small.input_shape)["parameters"] <= 40000
    assert cost_table(model, model.input_shape)["parameters"] == report.before["parameters"] == 61706
    assert [step["round"] for step in small.record["surgery"]] == list(range(1, len(report.rounds) + 1))


def test_every_export_is_what_its_name_says():
    for name in minicnn.compression.__all__:
        assert getattr(minicnn.compression, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        minicnn.compression.nothing  # noqa: B018


def test_only_what_is_asked_for_is_imported():
    code = """
import sys, minicnn.compression
assert not [name for name in sys.modules if name.startswith("minicnn.compression.")]
from minicnn.compression import unfold
assert [name for name in sys.modules if name.startswith("minicnn.compression.")] == ["minicnn.compression.tucker"]
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

"""The whole method as a library call: what it returns, what it leaves alone, and what is imported for it."""

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from calibration_cases import RATES, SMALL, generator, images
from numpy.testing import assert_allclose, assert_array_equal
from sane import sane_detector
from small_detector import scene
from toy_detector import toy_detector

import minicnn
import minicnn.compression
from minicnn.archive import read_archive
from minicnn.compression import (
    DetectorOptions,
    PruningTarget,
    RankRule,
    compress_classifier,
    compress_detector,
    machine_cost_model,
    observe,
    regression,
    repair,
)
from minicnn.compression.checkpoint import Checkpoint
from minicnn.compression.cost_table import cost_table
from minicnn.compression.criteria import METHODS
from minicnn.compression.rounds import PruningOptions
from minicnn.errors import InputError
from minicnn.functional.dispatch import use
from minicnn.hyperparameters import Hyperparameters
from minicnn.layers import Hardswish
from minicnn.models import BUILDERS

DETECTORS = [name for name, builder in BUILDERS.items() if builder.startswith("minicnn.detection.")]
COSTS = machine_cost_model("numpy", RATES)


def detector():
    model = toy_detector(rng=generator(), box_head_width=64, min_size=96, max_size=128)
    model.architecture, model.architecture_arguments = "toy", {"box_head_width": 64, "min_size": 96, "max_size": 128}
    model.record = {"surgery": [], "class_names": [], "provenance": {}, "measured": {}}
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


@pytest.fixture
def few_samples(monkeypatch):
    """Whole architectures within seconds: few points, one round of targets, and only the bias of the widest layers."""
    for module, name, value in (observe, "POINTS", 8), (observe, "PROPOSALS", 4), (repair, "WIDEST", 600), (regression, "ROUNDS", 1):
        monkeypatch.setattr(module, name, value)


@pytest.mark.slow
@pytest.mark.parametrize("name, method, count", list(itertools.product(DETECTORS, METHODS, (0, 10))))
def test_every_detector_is_pruned_by_every_method_and_detects(few_samples, name, method, count):
    model = sane_detector(name, scene(64, 80).transpose(2, 0, 1).astype(np.float32) / 255, **{**SMALL, "min_size": 48, "max_size": 64})
    model.record["class_names"] = ["__background__", "a", "b", "c"]
    options = DetectorOptions(RankRule("parameters", 0.8), method=method, n_clusters=2)
    small, report = compress_detector(model, options, [scene(64, 80, seed) for seed in range(count)], cost_model=COSTS)
    assert report.after["parameters"] <= 0.8 * report.before["parameters"] and report.surgery["removed"]
    readers = {row["path"] for row in report.layers if small.get_layer(row["path"]).weight.shape[1] < row["weight"][1]}
    assert {row["path"] for row in report.repair} == (readers if count else set())
    assert all(row["after"] <= row["before"] for row in report.repair)
    detections = small.detect(scene(64, 80))
    assert np.isfinite(detections.boxes).all() and np.isfinite(detections.scores).all()
    maps = small.backbone_and_rpn(small.prepare(scene(64, 80)).pixels)[0]
    assert all(np.isfinite(one).all() and np.ptp(one) > 0 for one in maps)


def test_without_images_nothing_is_observed_or_repaired():
    small, report = compress_detector(detector(), DetectorOptions(RankRule("energy", 0.6), method="tucker"), cost_model=COSTS)
    assert report.errors == "weights" and report.repair == [] and report.surgery["repaired_from"] == 0
    assert set(report.seconds) == {"surgery", "measuring"}


def test_images_are_whatever_is_an_image(tmp_path):
    small = []
    for convert in (lambda image: image, lambda image: image.astype(np.float32).transpose(2, 0, 1) / 255):
        checkpoint = Checkpoint(tmp_path / "c.npz", False, {})
        network, _ = compress_detector(detector(), DetectorOptions(RankRule("energy", 0.6), method="tucker"),
                                       [convert(image) for image in images(10)], cost_model=COSTS, checkpoint=checkpoint)
        small.append(network)
    for (name, one), (_, other) in zip(*(network.named_arrays() for network in small)):
        assert_allclose(one, other, atol=0.02 * np.abs(one).max(), err_msg=name)
    with pytest.raises(InputError, match="^got a int for an image"):
        compress_detector(detector(), DetectorOptions(RankRule("storage", 0.8), low=8), [*images(9), 5], cost_model=COSTS)


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


def refusals(identity, cases, run, path):
    """Each entry of a checkpoint's identity, and no other, has its case; each is refused by its name, and the file stays."""
    assert cases.keys() == identity.keys()
    before = path.read_bytes()
    for named, change in cases.values():
        with pytest.raises(InputError, match=rf"another compression \(other {named}\)"):
            run(**change)
    assert path.read_bytes() == before


def other_layer(path, layer):
    model = detector()
    model.replace_layer(path, layer)
    return model


def test_a_checkpoint_of_another_detectors_compression_is_refused_whatever_decides_the_result(tmp_path, monkeypatch):
    monkeypatch.setitem(BUILDERS, "toy", "toy_detector:toy_detector")
    path, options, weak, coarse = tmp_path / "c.npz", DetectorOptions(RankRule("storage", 0.8), low=8), detector(), detector()
    weak.get_layer("backbone.3").weight[0] = 0
    coarse.transform.max_size = 120

    def run(model=None, options=options, pixels=1, costs=COSTS, rng=None, origin="a"):
        compress_detector(model or detector(), options, images(12, pixels), cost_model=costs, rng=rng,
                          checkpoint=Checkpoint(path, path.exists(), {"source": origin}))
    run()
    refusals(read_archive(path)[1]["compression"], {
        "source": ("source", {"origin": "b"}), "method": ("method; options low", {"options": replace(options, method="tucker")}),
        "rule": ("rule kind, value", {"options": replace(options, rule=RankRule.of([RankRule("storage", 0.8), RankRule("time", 0.9)]))}),
        "options": ("options low, linear, left_out", {"options": replace(options, low=4, linear=False, left_out=("backbone.0",))}),
        "errors": ("errors", {"options": replace(options, errors="weights")}),
        "minimum": ("minimum", {"options": replace(options, minimum=7)}),
        "clusters": ("clusters", {"options": replace(options, n_clusters=3)}),
        "repaired": ("repaired", {"options": replace(options, repair=False)}),
        "refit_first": ("refit_first", {"options": replace(options, refit_first=False)}),
        "seed": ("seed; rng", {"options": replace(options, seed=1)}), "rng": ("rng", {"rng": generator(5)}),
        "rates": ("rates", {"costs": machine_cost_model("numpy", {**RATES, "steps": 0.0})}),
        "pictures": ("images", {"pixels": 2}), "backend": ("backend", {"costs": machine_cost_model("numba", RATES)}),
        "layers": ("layers; weights", {"model": other_layer("backbone.4", Hardswish())}), "weights": ("weights", {"model": weak}),
        "settings": ("settings transform.max_size", {"model": coarse})}, run, path)
    run()


def test_a_checkpoint_of_another_classifiers_compression_is_refused_whatever_decides_the_result(tmp_path):
    path, target, recipe, x = tmp_path / "c.npz", PruningTarget("parameters", 40000), Hyperparameters(epochs=0), np.zeros((16, 1, 28, 28))

    def lenet(seed=0, name="lenet5", layer=None):
        model = minicnn.build("lenet5", rng=generator(seed))
        model.architecture = name
        if layer:
            model.replace_layer("relu1", layer)
        return model

    def run(model=None, x=x, target=target, options=None, recipe=recipe, counts=None, seed=0, backend="numpy", origin="a"):
        with use(backend):
            compress_classifier(model or lenet(), x.astype(np.float32), np.arange(16) % 10, target, options or PruningOptions(), recipe,
                                counts=counts, seed=seed, evaluate=lambda network: 0.5,
                                checkpoint=Checkpoint(path, path.exists(), {"source": origin}))
    run()
    refusals(read_archive(path)[1]["compression"], {
        "source": ("source", {"origin": "b"}), "target": ("target value", {"target": PruningTarget("parameters", 50000)}),
        "options": ("options method, left_out", {"options": PruningOptions("l1", left_out=("conv1",))}),
        "recipe": ("hyperparameters epochs", {"recipe": Hyperparameters()}),
        "seed": ("seed", {"seed": 1}), "counts": ("counts", {"counts": [{"conv1": 1}]}), "images": ("images", {"x": x + 1}),
        "backend": ("backend", {"backend": "reference"}), "weights": ("weights", {"model": lenet(1)}),
        "layers": ("layers; weights", {"model": lenet(layer=Hardswish())}),
        "settings": ("settings architecture", {"model": lenet(name="other")})}, run, path)


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

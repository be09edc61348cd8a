"""The training loop: that it learns, that it can be stopped at any moment, and what it refuses."""

import math
import signal
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from rectangles import HYPERPARAMETERS, arrays, network, same

from minicnn.archive import read_archive, write_archive
from minicnn.data.annotated import BACKGROUND, AnnotatedImages
from minicnn.detection.training import train
from minicnn.detection.training.batches import read_pixels
from minicnn.detection.training.train import DetectorHyperparameters, learning_rate, train_detector
from minicnn.errors import InputError
from minicnn.functional.dispatch import use
from minicnn.layers import Hardswish


def test_it_learns(data):
    model = network()
    losses = train_detector(model, data, replace(HYPERPARAMETERS, epochs=60, lr=0.1, warmup_steps=30), 0)
    assert len(losses) == 60 and list(losses[0]) == ["loss", "loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"]
    assert losses[-1]["loss"] < 0.5 * losses[0]["loss"]
    assert_allclose(losses[3]["loss"], sum(list(losses[3].values())[1:]), rtol=1e-12)
    right = 0
    for image in data.images:
        found = model.detect(read_pixels(image, False)).above(0.3)
        for box, label in zip(image.boxes, image.labels):
            right += any(np.abs(one - box).max() < 6 and said == label for one, said in zip(found.boxes, found.labels))
    assert right >= 0.75 * sum(len(image.labels) for image in data.images)
    assert not model.training and not any(layer.training for _, layer in model.named_layers())


@pytest.mark.usefixtures("backend")
def test_the_seed_decides(data):
    models = [network() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2)):
        train_detector(model, data, HYPERPARAMETERS, seed)
    assert same(arrays(models[0]), arrays(models[1])) and not same(arrays(models[0]), arrays(models[2]))


@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "patience": 1, "min_sizes": (40, 48)}], ids=str)
def test_interrupted_at_twenty_moments_and_resumed_it_ends_with_the_same_bytes(data, tmp_path, monkeypatch, options):
    hyperparameters = replace(HYPERPARAMETERS, epochs=7, **options)
    whole = network()
    expected = train_detector(whole, data, hyperparameters, 5, tmp_path / "whole.npz")
    rng, stopped, stops, step = np.random.default_rng(0), network(), [0], train.train_step

    def interrupted(*args):
        draw = rng.random()
        stops[0] += draw < 0.8
        if draw < 0.55:                                     # before the step
            raise KeyboardInterrupt
        if draw < 0.8:                                      # within it, so that it is taken first
            signal.raise_signal(signal.SIGINT)
        return step(*args)
    losses = None
    while losses is None:
        monkeypatch.setattr(train, "train_step", interrupted if stops[0] < 20 else step)
        try:
            losses = train_detector(stopped, data, hyperparameters, 5, tmp_path / "stopped.npz", resume=True)
        except KeyboardInterrupt:
            stopped = network()                             # nothing of the model before is needed
    assert stops[0] == 20 and losses == expected and same(arrays(stopped), arrays(whole))
    assert (tmp_path / "stopped.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_a_checkpoint_is_written_before_the_first_step_and_now_and_then(data, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(train, "write_training_checkpoint", lambda path, model, optimizer, settings, progress:
                        written.append((len(progress["losses"]), progress["steps"])))
    train_detector(network(), data, HYPERPARAMETERS, 0, tmp_path / "x.npz")
    assert written == [(0, 0), *((0, step) for step in range(1, 7)), (1, 0), *((1, step) for step in range(1, 7)), (2, 0)]


def one_training(data, path, kind="", seed=0, resume=None, **recipe):
    """One epoch of the toy detector, with one thing changed that decides the result."""
    model, teacher = network(1 if kind == "weights" else 0), None
    if kind == "settings":
        model.transform.min_size = 40
    if kind == "layers":
        model.replace_layer("backbone.2", Hardswish())
    if kind.startswith("teacher"):
        teacher = network(1 if kind == "teacher" else 0)
        teacher.record = model.record = {"class_names": data.class_names}
        teacher.roi_heads.box_roi_pool.sampling_ratio += kind == "teacher's settings"
    with use("numpy" if kind == "backend" else "reference"):
        train_detector(model, data, replace(HYPERPARAMETERS, epochs=1, trainable_backbone_layers=1, **recipe), seed, path, resume,
                       path.parent / "cache" if kind == "cache" else None, teacher)


def other_images(data, tmp_path):
    """The same names and objects, one image with other pixels."""
    np.save(tmp_path / "other.npy", np.zeros((data.images[0].height, data.images[0].width, 3), np.uint8))
    return AnnotatedImages(data.class_names, [replace(data.images[0], path=tmp_path / "other.npy"), *data.images[1:]])


def test_a_checkpoint_of_another_training_is_refused_whatever_decides_the_result(data, tmp_path):
    """Each entry of the checkpoint's identity, and no other, has its case here."""
    path = tmp_path / "x.npz"
    one_training(data, path, "teacher 0")
    before = path.read_bytes()
    cases = {
        "recipe": ("hyperparameters lr", {"lr": 0.5}), "seed": ("seed", {"seed": 1}), "weights": ("weights", {"kind": "weights"}),
        "settings": ("settings transform.min_size", {"kind": "settings"}), "layers": ("layers; weights", {"kind": "layers"}),
        "backend": ("backend", {"kind": "backend"}), "cache": ("cache; teacher", {"kind": "cache"}),
        "teacher": ("teacher", {"kind": "teacher"}),
        "teacher_settings": ("teacher's settings roi_heads.box_roi_pool.sampling_ratio", {"kind": "teacher's settings"}),
        "data": ("data; images", {"data": AnnotatedImages(data.class_names, data.images[1:])}),
        "pictures": ("images", {"data": other_images(data, tmp_path)})}
    assert cases.keys() == read_archive(path)[1]["training"].keys()
    for named, change in cases.values():
        with pytest.raises(InputError, match=rf"another training \(other {named}.*Give the same options, files and data, or begin anew"):
            one_training(**{"data": data, "path": path, "kind": "teacher 0", "resume": True, **change})
    assert path.read_bytes() == before
    one_training(data, path, "teacher 0", resume=True)


def test_an_existing_checkpoint_is_neither_resumed_nor_replaced_unless_that_is_said(data, tmp_path, capsys):
    path = tmp_path / "x.npz"
    one_training(data, path, resume=True)
    assert capsys.readouterr().err.startswith(f"no checkpoint {path}: beginning anew\n")
    before = path.read_bytes()
    with pytest.raises(InputError, match="got no --resume, but .*x.npz is there"):
        one_training(data, path, seed=1)
    assert path.read_bytes() == before
    one_training(data, path, seed=1, resume=False)
    assert read_archive(path)[1]["training"]["seed"] == 1


def test_a_checkpoint_of_an_older_version_is_resumed(data, tmp_path, capsys):
    path = tmp_path / "x.npz"
    one_training(data, path)
    arrays, description = read_archive(path)
    for name in ("weights", "settings", "backend", "pictures", "teacher_settings"):
        del description["training"][name]
    write_archive(path, arrays, description)
    one_training(data, path, resume=True)
    assert "does not hold the weights, settings, backend, images, teacher's settings, which are taken" in " ".join(
        sorted(capsys.readouterr().err.split("\n"), key=len, reverse=True)[0].split())
    with pytest.raises(InputError, match="other seed"):
        one_training(data, path, seed=1, resume=True)


def test_frozen_stages_stay_as_they_are_and_cost_no_gradient(data):
    model, before = network(), arrays(network())
    train_detector(model, data, replace(HYPERPARAMETERS, trainable_backbone_layers=1), 0)
    changed = {name for name, array in arrays(model).items() if not np.array_equal(array, before[name])}
    assert changed == {name for name in before if not name.startswith(("backbone.0.", "backbone.3."))}


@pytest.mark.parametrize("options, epoch, step, expected", [
    ({}, 0, 0, 1e-3), ({}, 0, 5, 0.5 * (1 + math.cos(math.pi * 5 / 40)) * (1e-3 + 0.999 * 0.5)),
    ({}, 2, 0, 0.5), ({}, 3, 9, 0.5 * (1 + math.cos(math.pi * 39 / 40))),
    ({"milestones": (2, 3), "gamma": 0.2}, 1, 9, 1), ({"milestones": (2, 3), "gamma": 0.2}, 2, 0, 0.2),
    ({"milestones": (2, 3), "gamma": 0.2}, 3, 0, 0.04), ({"patience": 2}, 3, 0, 0.3)])
def test_learning_rates(options, epoch, step, expected):
    hyperparameters = DetectorHyperparameters(epochs=4, warmup_steps=10, **options)
    assert_allclose(learning_rate(hyperparameters, epoch, step, 10, 0.3), expected)


def test_with_patience_it_ends_when_the_loss_has_converged(data):
    hyperparameters = replace(HYPERPARAMETERS, epochs=50, patience=1, lr=1e-9, flip=False)
    assert 2 < len(train_detector(network(), data, hyperparameters, 0)) < 20


def test_a_training_that_diverges_is_told_during_it_and_at_its_end(data, capsys, monkeypatch):
    losses = iter([1.0] * 9 + [5.0] * 99)
    monkeypatch.setattr(train, "train_step", lambda *args: dict.fromkeys(
        ("loss", "loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"), next(losses)))
    train_detector(network(), data, replace(HYPERPARAMETERS, epochs=4), 0)
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2 and "the training may diverge" in warnings[0] and "the loss of epoch 4, 5, is above" in warnings[1]


def test_progress_fits_a_terminal(data, capsys):
    train_detector(network(), data, HYPERPARAMETERS, 0)
    lines = capsys.readouterr().err.splitlines()
    assert [line[:9] for line in lines[::2]] == ["epoch 1/2", "epoch 2/2"] and max(map(len, lines)) <= 80
    assert all("images/s" in line and line.endswith(" left") for line in lines[1::2])


@pytest.mark.parametrize("change, expected", [
    ({"lr": 1e30, "warmup_steps": 0, "clip_norm": 0.0}, "Lower the learning rate"), ({"batch_size": 0}, "batch_size=0"),
    ({"accumulate": 0}, "accumulate=0"), ({"trainable_backbone_layers": 4}, "expected 0 to 3"),
    ({"nesterov": True, "momentum": 0.0}, "nesterov"),
])
def test_hyperparameters_out_of_range(data, change, expected):
    with pytest.raises(InputError, match=expected):
        train_detector(network(), data, replace(HYPERPARAMETERS, **change), 0)


def test_data_that_cannot_be_learnt_from(data, tmp_path):
    with pytest.raises(InputError, match="got data of 1 classes, expected 3 as the detector has"):
        train_detector(network(), AnnotatedImages([BACKGROUND, "red"], data.images), HYPERPARAMETERS, 0)
    nothing = [replace(image, difficult=np.ones(len(image.labels), bool)) for image in data.images]
    with pytest.raises(InputError, match="got 12 images without an object to learn from"):
        train_detector(network(), AnnotatedImages(data.class_names, nothing), HYPERPARAMETERS, 0)
    other = replace(data.images[0], height=61)
    with pytest.raises(InputError, match="44 x 60 pixels, expected 44 x 61"):
        train_detector(network(), AnnotatedImages(data.class_names, [other]), HYPERPARAMETERS, 0, tmp_path / "x.npz")
    missing = replace(data.images[1], path=tmp_path / "none.png")
    with pytest.raises(InputError, match="got 2 of 3 images that cannot be learnt from: .*expected 44 x 61.*none.png"):      # both at once
        faulty = AnnotatedImages(data.class_names, [other, missing, data.images[2]])
        train_detector(network(), faulty, HYPERPARAMETERS, 0, tmp_path / "x.npz")
    assert not (tmp_path / "x.npz").exists()


def test_images_without_objects_are_background(data):
    empty = [replace(image, boxes=image.boxes[:0], labels=image.labels[:0], difficult=image.difficult[:0],
                                 crowd=image.crowd[:0]) for image in data.images[:6]]
    losses = train_detector(network(), AnnotatedImages(data.class_names, [*empty, data.images[7]]), HYPERPARAMETERS, 0)
    assert all(math.isfinite(loss) for one in losses for loss in one.values())


def test_several_sizes_and_a_cache(data, tmp_path):
    hyperparameters = replace(HYPERPARAMETERS, min_sizes=(40, 48), trainable_backbone_layers=1)
    with pytest.raises(InputError, match="2 min_sizes, expected one size"):
        train_detector(network(), data, hyperparameters, 0, cache_features=tmp_path / "cache")


def test_the_checkpoint_says_how_far_it_is(data, tmp_path):
    losses = train_detector(network(), data, HYPERPARAMETERS, 0, tmp_path / "x.npz")
    assert read_archive(tmp_path / "x.npz")[1]["progress"] == {"losses": losses, "steps": 0, "sums": {}}

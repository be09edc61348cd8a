"""The loop that trains a detector: what it draws, that it learns, that it can be stopped at any moment, and what it refuses."""

import dataclasses
import math
import signal

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minicnn
from minicnn.archive import read_archive
from minicnn.data.annotated import BACKGROUND, AnnotatedImage, AnnotatedImages
from minicnn.detection.training import train
from minicnn.detection.training.distillation import Teacher
from minicnn.detection.training.feature_cache import FeatureCache
from minicnn.detection.training.train import (
    DetectorHyperparameters,
    draw_batch,
    fingerprint,
    learning_rate,
    learnt,
    plan_epoch,
    read_pixels,
    train_detector,
    train_step,
)
from minicnn.errors import InputError
from minicnn.models import BUILDERS
from minicnn.optim import SGD

RECIPE = DetectorHyperparameters(epochs=2, lr=0.02, warmup_steps=3, trainable_backbone_layers=3)
COLOURS = {1: (220, 40, 30), 2: (30, 200, 60), 3: (40, 60, 230)}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(BUILDERS, "toy", "toy:toy")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve images of one to three coloured rectangles on grey, every third of them high."""
    folder, rng, images = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0), []
    for number in range(12):
        h, w = (60, 44) if number % 3 == 0 else (48, 64)
        values, boxes, labels = rng.integers(90, 150, (h, w, 3)).astype(np.uint8), [], []
        for label in rng.permutation([1, 2, 3])[:1 + number % 3]:
            x, y, side = rng.integers(1, w - 22), rng.integers(1, h - 22), rng.integers(12, 20)
            values[y:y + side, x:x + side] = COLOURS[label]
            boxes.append([x, y, x + side, y + side])
            labels.append(label)
        np.save(folder / f"{number}.npy", values)
        images.append(annotated(folder / f"{number}.npy", h, w, boxes, labels))
    return AnnotatedImages([BACKGROUND, "red", "green", "blue"], images)


def annotated(path, h, w, boxes, labels, difficult=None):
    count = len(labels)
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    flags = np.zeros(count, bool) if difficult is None else np.array(difficult)
    return AnnotatedImage(path.stem, path, h, w, boxes, np.array(labels, np.int64), flags, np.zeros(count, bool), np.ones(count))


def network(seed=0):
    return minicnn.build("toy", rng=np.random.default_rng(seed))


def arrays(model):
    return {name: array.copy() for name, array in model.named_arrays()}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_it_learns(data):
    model = network()
    losses = train_detector(model, data, dataclasses.replace(RECIPE, epochs=60, lr=0.1, warmup_steps=30), 0)
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
        train_detector(model, data, RECIPE, seed)
    assert same(arrays(models[0]), arrays(models[1])) and not same(arrays(models[0]), arrays(models[2]))


@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "patience": 1, "min_sizes": (40, 48)}], ids=str)
def test_interrupted_at_twenty_moments_and_resumed_it_ends_with_the_same_bytes(data, tmp_path, monkeypatch, options):
    recipe = dataclasses.replace(RECIPE, epochs=7, **options)
    whole = network()
    expected = train_detector(whole, data, recipe, 5, tmp_path / "whole.npz")
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
            losses = train_detector(stopped, data, recipe, 5, tmp_path / "stopped.npz", resume=True)
        except KeyboardInterrupt:
            stopped = network(9)                            # nothing of the model before is needed
    assert stops[0] == 20 and losses == expected and same(arrays(stopped), arrays(whole))
    assert (tmp_path / "stopped.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_a_checkpoint_is_written_before_the_first_step_and_now_and_then(data, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(train, "write_training_checkpoint", lambda path, model, optimizer, settings, progress:
                        written.append((len(progress["losses"]), progress["steps"])))
    train_detector(network(), data, RECIPE, 0, tmp_path / "x.npz")
    assert written == [(0, 0), *((0, step) for step in range(1, 7)), (1, 0), *((1, step) for step in range(1, 7)), (2, 0)]


def test_a_checkpoint_of_another_training_is_refused(data, tmp_path):
    train_detector(network(), data, dataclasses.replace(RECIPE, epochs=1), 0, tmp_path / "x.npz")
    for recipe, seed, images, named in ((RECIPE, 0, data, "hyperparameters"), (dataclasses.replace(RECIPE, epochs=1), 1, data, "seed"), (
            dataclasses.replace(RECIPE, epochs=1), 0, AnnotatedImages(data.class_names, data.images[1:]), "data")):
        with pytest.raises(InputError, match=f"other {named}"):
            train_detector(network(), images, recipe, seed, tmp_path / "x.npz", resume=True)


@pytest.mark.parametrize("made, resumed, named", [("pictures", "features", "cache"), ("teacher 1", "teacher 2", "teacher"),
                                                  ("teacher 1", "pictures", "teacher")])
def test_a_checkpoint_of_other_features_or_another_teacher_is_refused(data, tmp_path, made, resumed, named):
    recipe = dataclasses.replace(RECIPE, epochs=1, trainable_backbone_layers=1)

    def run(way, **options):
        model, cache = cached(tmp_path / "cache", data) if way == "features" else (network(), None)
        teacher = None
        if way.startswith("teacher"):
            teacher = network(int(way[-1]))
            teacher.record = model.record = {"class_names": data.class_names}
            teacher = Teacher(teacher, model)
        train_detector(model, data, recipe, 0, tmp_path / "x.npz", cache=cache, teacher=teacher, **options)
    run(made)
    run(made, resume=True)
    with pytest.raises(InputError, match=rf"another training \(other {named}\)"):
        run(resumed, resume=True)


def test_frozen_stages_stay_as_they_are_and_cost_no_gradient(data):
    model, before = network(), arrays(network())
    train_detector(model, data, dataclasses.replace(RECIPE, trainable_backbone_layers=1), 0)
    changed = {name for name, array in arrays(model).items() if not np.array_equal(array, before[name])}
    assert changed == {name for name in before if not name.startswith(("backbone.0.", "backbone.3."))}


@pytest.mark.usefixtures("backend")
def test_two_equal_batches_make_the_step_of_one(data):
    batch = draw_batch(data.images[1:3], RECIPE, np.random.default_rng(0))
    after = []
    for batches in ([batch], [batch, batch]):
        model = network()
        model.freeze(3)
        model.train()
        losses = train_step(model, batches, SGD(model, 0.1), np.arange)
        after.append((losses, arrays(model)))
    (one, first), (two, second) = after
    assert_allclose(list(one.values()), list(two.values()), rtol=1e-12)
    for name in first:
        assert_allclose(first[name], second[name], rtol=1e-5, atol=1e-7)


def test_a_clipped_step_is_as_long_as_it_may_be(data):
    batch, model = draw_batch(data.images[1:3], RECIPE, np.random.default_rng(0)), network()
    model.freeze(3)
    model.train()
    before = arrays(model)
    train_step(model, [batch], SGD(model, 1.0), np.arange, clip_norm=0.01)
    length = math.sqrt(sum(float(((array - before[name]) ** 2).sum()) for name, array in arrays(model).items()))
    assert_allclose(length, 0.01, rtol=1e-3)


def test_mirrored_boxes_lie_on_the_mirrored_objects(data):
    for image in data.images:
        pixels, target = read_pixels(image, True), learnt(image, True)
        assert pixels.flags.c_contiguous and target.boxes.dtype == np.float32
        assert_array_equal(pixels[:, :, ::-1], read_pixels(image, False))
        for (x1, y1, x2, y2), label in zip(target.boxes.astype(int), target.labels):
            if len(target.labels) == 1:                     # not hidden by another
                assert_allclose(pixels[:, y1:y2, x1:x2], np.broadcast_to(np.array(COLOURS[label])[:, None, None] / 255,
                                                                        (3, y2 - y1, x2 - x1)), rtol=1e-6)


def test_nothing_is_learnt_from_what_is_difficult_or_a_crowd(tmp_path):
    image = annotated(tmp_path / "x.npy", 40, 40, [[0, 0, 9, 9], [10, 10, 20, 20], [5, 5, 30, 30]], [1, 2, 3], [False, True, False])
    image.crowd[2] = True
    target = learnt(image, False)
    assert target.labels.tolist() == [1] and target.boxes.tolist() == [[0, 0, 9, 9]]


@pytest.mark.parametrize("batch_size, accumulate", [(1, 1), (2, 1), (5, 1), (2, 3), (4, 2), (100, 1)])
def test_an_epoch_takes_every_image_once(data, batch_size, accumulate):
    recipe = DetectorHyperparameters(batch_size=batch_size, accumulate=accumulate)
    steps = plan_epoch(data.images, recipe, np.random.default_rng(0))
    batches = [batch for step in steps for batch in step]
    assert sorted(place for batch in batches for place in batch) == list(range(12))
    assert all(len(step) == accumulate for step in steps[:-1]) and all(len(batch) <= batch_size for batch in batches)
    mixed = [batch for batch in batches if len({data.images[place].height > data.images[place].width for place in batch}) > 1]
    assert len(mixed) <= 1
    assert steps != plan_epoch(data.images, recipe, np.random.default_rng(1))


def test_what_is_drawn_for_a_batch(data):
    rng = np.random.default_rng(0)
    drawn = [draw_batch(data.images[:2], dataclasses.replace(RECIPE, min_sizes=(30, 40)), rng) for _ in range(40)]
    assert {min_size for _, _, min_size in drawn} == {30, 40}
    flips = [not np.array_equal(target.boxes, image.boxes) for _, targets, _ in drawn for target, image in zip(targets, data.images)]
    assert 20 < sum(flips) < 60
    pixels, targets, min_size = draw_batch(data.images[:2], dataclasses.replace(RECIPE, flip=False), rng)
    assert min_size is None and all(np.array_equal(target.boxes, image.boxes) for target, image in zip(targets, data.images))
    assert [one.shape for one in pixels] == [(3, 60, 44), (3, 48, 64)]


@pytest.mark.parametrize("options, epoch, step, expected", [
    ({}, 0, 0, 1e-3), ({}, 0, 5, 0.5 * (1 + math.cos(math.pi * 5 / 40)) * (1e-3 + 0.999 * 0.5)),
    ({}, 2, 0, 0.5), ({}, 3, 9, 0.5 * (1 + math.cos(math.pi * 39 / 40))),
    ({"milestones": (2, 3), "gamma": 0.2}, 1, 9, 1), ({"milestones": (2, 3), "gamma": 0.2}, 2, 0, 0.2),
    ({"milestones": (2, 3), "gamma": 0.2}, 3, 0, 0.04), ({"patience": 2}, 3, 0, 0.3)])
def test_learning_rates(options, epoch, step, expected):
    recipe = DetectorHyperparameters(epochs=4, warmup_steps=10, **options)
    assert_allclose(learning_rate(recipe, epoch, step, 10, 0.3), expected)


def test_with_patience_it_ends_when_the_loss_has_converged(data):
    recipe = dataclasses.replace(RECIPE, epochs=50, patience=1, lr=1e-9, flip=False)
    assert 2 < len(train_detector(network(), data, recipe, 0)) < 20


def test_progress_fits_a_terminal(data, capsys):
    train_detector(network(), data, RECIPE, 0)
    lines = capsys.readouterr().err.splitlines()
    assert [line[:9] for line in lines[::2]] == ["epoch 1/2", "epoch 2/2"] and max(map(len, lines)) <= 80
    assert all("images/s" in line and line.endswith(" left") for line in lines[1::2])


@pytest.mark.parametrize("change, expected", [
    ({"lr": 1e30, "warmup_steps": 0, "clip_norm": 0.0}, "Lower the learning rate"), ({"batch_size": 0}, "batch_size=0"),
    ({"accumulate": 0}, "accumulate=0"), ({"trainable_backbone_layers": 4}, "expected 0 to 3"),
    ({"nesterov": True, "momentum": 0.0}, "nesterov"),
])
def test_recipes_that_cannot_be(data, change, expected):
    with pytest.raises(InputError, match=expected):
        train_detector(network(), data, dataclasses.replace(RECIPE, **change), 0)


def test_data_that_cannot_be_learnt_from(data, tmp_path):
    with pytest.raises(InputError, match="got data of 1 classes, expected 3 as the detector has"):
        train_detector(network(), AnnotatedImages([BACKGROUND, "red"], data.images), RECIPE, 0)
    nothing = [dataclasses.replace(image, difficult=np.ones(len(image.labels), bool)) for image in data.images]
    with pytest.raises(InputError, match="got 12 images without an object to learn from"):
        train_detector(network(), AnnotatedImages(data.class_names, nothing), RECIPE, 0)
    other = dataclasses.replace(data.images[0], height=61)
    with pytest.raises(InputError, match="44 x 60 pixels, expected 44 x 61"):
        train_detector(network(), AnnotatedImages(data.class_names, [other]), RECIPE, 0, tmp_path / "x.npz")
    assert not (tmp_path / "x.npz").exists()


def test_images_without_objects_are_background(data):
    empty = [dataclasses.replace(image, boxes=image.boxes[:0], labels=image.labels[:0], difficult=image.difficult[:0],
                                 crowd=image.crowd[:0]) for image in data.images[:6]]
    losses = train_detector(network(), AnnotatedImages(data.class_names, [*empty, data.images[7]]), RECIPE, 0)
    assert all(math.isfinite(loss) for one in losses for loss in one.values())


def test_other_data_has_another_fingerprint(data):
    others = [AnnotatedImages(["a", *data.class_names[1:]], data.images), AnnotatedImages(data.class_names, data.images[:-1])]
    assert len({fingerprint(one) for one in (data, *others)}) == 3 and fingerprint(data) == fingerprint(data)


# features on disk


def cached(folder, data, model=None, trainable=1):
    model = model or network()
    model.freeze(trainable)
    return model, FeatureCache(folder, model, data.images)


@pytest.mark.parametrize("places", [(1, 2), (0, 1)], ids=["one size", "two sizes"])
def test_kept_features_are_those_of_each_image(data, tmp_path, places):
    model, cache = cached(tmp_path / "cache", data)
    images = [data.images[place] for place in places]
    for _ in range(2):                                      # made, and read again
        batch, state = cache.start(model, [(image, False) for image in images])
        whole, expected = model.start([read_pixels(image, False) for image in images])
        assert batch.pixels.shape == whole.pixels.shape and batch[1:] == whole[1:] and len(state) == len(expected)
        for row, image in enumerate(images):
            alone = model.start([read_pixels(image, False)])[1][0][0]
            h, w = alone.shape[1:]
            assert_allclose(state[0][row, :, :h, :w], alone, rtol=1e-3, atol=1e-4)
            assert not state[0][row, :, h:].any() and not state[0][row, :, :, w:].any()
        assert state[0].shape == expected[0].shape and state[0].dtype == np.float32
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".json", ".npz", ".npz"]


def test_training_on_kept_features_is_nearly_the_same_and_repeats_itself(data, tmp_path):
    recipe = dataclasses.replace(RECIPE, trainable_backbone_layers=1)
    ends = []
    for _ in range(2):
        model, cache = cached(tmp_path / "cache", data)
        ends.append((train_detector(model, data, recipe, 0, cache=cache), arrays(model)))
    plain = network()
    losses = train_detector(plain, data, recipe, 0)
    assert ends[0][0] == ends[1][0] and same(ends[0][1], ends[1][1])
    assert_allclose(ends[0][0][-1]["loss"], losses[-1]["loss"], rtol=0.05)


def test_a_stale_cache_is_refused(data, tmp_path):
    cached(tmp_path / "cache", data)
    other = network()
    other.transform.min_size = 40
    changed = data.images[0]
    for make, expected in ((lambda: cached(tmp_path / "cache", data, network(1)), "another frozen network"),
                           (lambda: cached(tmp_path / "cache", data, other), "another size"),
                           (lambda: cached(tmp_path / "cache", data, trainable=2), "another frozen network"),
                           (lambda: cached(tmp_path / "cache", data, trainable=3), "expected a frozen stage")):
        with pytest.raises(InputError, match=expected):
            make()
    moved = tmp_path / "other.npy"
    np.save(moved, np.zeros((60, 44, 3), np.uint8))
    with pytest.raises(InputError, match="another image 0"):
        cached(tmp_path / "cache", AnnotatedImages(data.class_names, [dataclasses.replace(changed, path=moved)]))


def test_folders_that_are_no_cache(data, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        cached(tmp_path, data)
    for text in ("{", "[]", '{"network": 1, "pictures": {}}'):
        folder = tmp_path / "cache"
        folder.mkdir(exist_ok=True)
        (folder / "cache.json").write_text(text)
        with pytest.raises(InputError, match="cannot be read"):
            cached(folder, data)


def test_a_damaged_feature_file_and_a_missing_image(data, tmp_path):
    model, cache = cached(tmp_path / "cache", data)
    cache.start(model, [(data.images[0], False)])
    path = next((tmp_path / "cache").glob("*.npz"))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="Delete it"):
        cache.start(model, [(data.images[0], False)])
    with pytest.raises(InputError, match="cannot read"):
        cached(tmp_path / "other", AnnotatedImages(data.class_names, [dataclasses.replace(data.images[0], path=tmp_path / "none.npy")]))
    assert not (tmp_path / "other").exists()


def test_several_sizes_and_a_cache(data, tmp_path):
    model, cache = cached(tmp_path / "cache", data)
    recipe = dataclasses.replace(RECIPE, min_sizes=(40, 48), trainable_backbone_layers=1)
    with pytest.raises(InputError, match="2 min_sizes, expected one size"):
        train_detector(model, data, recipe, 0, cache=cache)


def test_the_checkpoint_says_how_far_it_is(data, tmp_path):
    losses = train_detector(network(), data, RECIPE, 0, tmp_path / "x.npz")
    assert read_archive(tmp_path / "x.npz")[1]["progress"] == {"losses": losses, "steps": 0, "sums": {}}

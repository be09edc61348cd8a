"""The training loop: what it computes, and that an interrupted training ends as one that was not interrupted."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minicnn import functional as F
from minicnn.archive import read_archive
from minicnn.errors import InputError
from minicnn.functional.dispatch import use
from minicnn.hyperparameters import Hyperparameters
from minicnn.layers import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, ReLU
from minicnn.models.classifier import Classifier
from minicnn.optim import SGD
from minicnn.progress import Progress
from minicnn.train_classifier import train_classifier

HOW = Hyperparameters(epochs=4, batch_size=16, lr=0.1, warmup_steps=5)


def toy_model(seed=0, width=4):
    """A network with every kind of state: momentum, running statistics, a generator for dropout."""
    rng = np.random.default_rng(seed)
    model = Classifier((1, 6, 6),
                  {"conv": Conv2d(1, width, 3, rng=rng), "norm": BatchNorm2d(width), "relu": ReLU(), "flatten": Flatten(),
                              "dropout": Dropout(0.2), "fc": Linear(width * 16, 3, rng=rng)})
    model.architecture, model.architecture_arguments, model.record = "toy", {}, {}
    return model


def toy_data(count=60):
    """A bright row, in the upper, middle or lower third. 60 images are four batches, the last of twelve."""
    rng = np.random.default_rng(1)
    labels = np.arange(count) % 3
    images = rng.normal(0, 0.3, (count, 1, 6, 6)).astype(np.float32)
    images[np.arange(count), 0, 2 * labels] += 1
    return images, labels


def arrays(model):
    return {path: array.copy() for path, array in model.named_arrays()}


def assert_same(got, expected):
    assert list(got) == list(expected)
    for path in expected:
        assert_array_equal(got[path], expected[path])


@pytest.fixture
def interrupt(monkeypatch):
    """interrupt(n): Ctrl-C at the n-th batch from now, once."""
    def arm(batch):
        counter = iter(range(batch))

        def update(self, count, note=""):
            if next(counter, None) == batch - 1:
                raise KeyboardInterrupt
        monkeypatch.setattr(Progress, "update", update)
    return arm


def test_the_loss_falls_and_the_model_learns(capsys):
    model, (images, labels) = toy_model(), toy_data()
    losses = train_classifier(model, images, labels, HOW, seed=0)
    assert len(losses) == 4 and losses == sorted(losses, reverse=True) and losses[-1] < 0.3 < losses[0]
    assert (model(images).argmax(axis=1) == labels).mean() > 0.95
    assert not any(layer.training for _, layer in model.named_layers())
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"(epoch \d/4  loss \d\.\d{4}  \d+ images/s  \d+\.\d s\n){4}", err)


def test_a_training_that_diverges_is_told_during_it_and_at_its_end(capsys):
    model, (images, labels) = toy_model(), toy_data()
    how = Hyperparameters(epochs=3, batch_size=16, lr=1e-3, momentum=8.0, warmup_steps=0)        # each step goes further
    losses = train_classifier(model, images, labels, how, seed=0)
    assert losses[0] < losses[1] < losses[2]
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert [re.sub("loss of .*: ", "", line) for line in warnings] == [
        "warning: the the training may diverge. Lower the learning rate, 0.001.",
        "warning: the the training did not converge. Lower the learning rate, 0.001, and train again."]


def test_every_image_is_used_once_an_epoch_in_another_order():
    seen = []

    class Spy(Flatten):
        def __call__(self, x):
            seen.append(x[:, 0, 0, 0])
            return super().__call__(x)

    model = Classifier((1, 1, 1), {"flatten": Spy(), "fc": Linear(1, 2, rng=np.random.default_rng(0))})
    model.architecture, model.architecture_arguments, model.record = "toy", {}, {}
    images = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1) / 10
    losses = train_classifier(model, images, np.arange(10) % 2, Hyperparameters(epochs=2, batch_size=4, lr=0), seed=0)
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2 and not model.training
    epochs = np.concatenate(seen).reshape(2, 10)
    assert_array_equal(np.sort(epochs), np.tile(images.ravel(), (2, 1)))
    assert not np.array_equal(*epochs)
    # lr 0: the mean over images of the loss, the small last batch weighted as what it is
    assert_allclose(losses, [F.cross_entropy(model(images), np.arange(10) % 2)] * 2, rtol=1e-6)


@pytest.mark.parametrize("seed", [3, [3, 1]])
def test_the_seed_decides(seed):
    results = []
    for one in (seed, seed, 4):
        model = toy_model()
        train_classifier(model, *toy_data(), HOW, seed=one)
        results.append(arrays(model))
    assert_same(results[0], results[1])
    assert not np.array_equal(results[0]["fc.weight"], results[2]["fc.weight"])


def rates(hyperparameters, monkeypatch, count=60):
    """The learning rate of every step of a training."""
    got, step = [], SGD.step
    monkeypatch.setattr(SGD, "step", lambda self: (got.append(self.lr), step(self))[1])
    losses = train_classifier(toy_model(), *toy_data(count), hyperparameters, seed=0)
    return np.array(got), losses


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine(monkeypatch):
    got, _ = rates(HOW, monkeypatch)
    steps = np.arange(16)                                       # 4 epochs of 4 batches
    expected = 0.1 * (1 + np.cos(np.pi * steps / 16)) / 2 * np.where(steps < 5, 0.001 + 0.999 * steps / 5, 1)
    assert_allclose(got, expected, rtol=1e-12)


def test_with_patience_the_rate_falls_to_a_tenth_and_training_ends_at_the_next_plateau(monkeypatch):
    losses = iter([1.0, 0.9, 0.95, 0.899, 0.5, 0.5, 0.5])       # plateaus of 2 end after epochs 4 and 7
    current, enter = [], Progress.__enter__
    monkeypatch.setattr(F, "cross_entropy", lambda logits, labels: current[-1])
    monkeypatch.setattr(Progress, "__enter__", lambda self: (current.append(next(losses)), enter(self))[1])     # once an epoch
    got, returned = rates(Hyperparameters(epochs=20, batch_size=16, lr=0.1, warmup_steps=0, patience=2), monkeypatch)
    assert_allclose(returned, [1.0, 0.9, 0.95, 0.899, 0.5, 0.5, 0.5])
    assert_allclose(got, np.repeat([0.1, 0.01], [4 * 4, 3 * 4]))


@pytest.mark.parametrize("hyperparameters", [
    HOW, Hyperparameters(epochs=4, batch_size=16, lr=0.02, nesterov=True, patience=1, warmup_steps=0)])
@pytest.mark.parametrize("batch", [1, 5, 8, 11, 16])
def test_a_resumed_run_ends_bit_identically(tmp_path, interrupt, hyperparameters, batch, capsys):
    """After an interrupt at any batch, also in the first epoch, weights and losses are those of a run without one."""
    whole, checkpoint = toy_model(), tmp_path / "c.npz"
    losses = train_classifier(whole, *toy_data(), hyperparameters, seed=5)
    stopped = toy_model()
    interrupt(batch)
    with pytest.raises(KeyboardInterrupt):
        train_classifier(stopped, *toy_data(), hyperparameters, seed=5, checkpoint=checkpoint)
    assert not stopped.training
    assert list(tmp_path.iterdir()) == [checkpoint]
    assert read_archive(checkpoint)[1]["progress"]["losses"] == losses[:(batch - 1) // 4]
    resumed = toy_model()
    capsys.readouterr()
    assert train_classifier(resumed, *toy_data(), hyperparameters, seed=5, checkpoint=checkpoint, resume=True) == losses
    assert_same(arrays(resumed), arrays(whole))
    assert capsys.readouterr().err.startswith(f"resuming after epoch {(batch - 1) // 4} from {checkpoint}\n")


def test_resume_without_a_checkpoint_begins_and_after_the_last_epoch_does_nothing(tmp_path, capsys):
    checkpoint, model, again = tmp_path / "c.npz", toy_model(), toy_model()
    losses = train_classifier(model, *toy_data(), HOW, seed=5, checkpoint=checkpoint, resume=True)
    assert capsys.readouterr().err.startswith(f"no checkpoint {checkpoint}: beginning anew\n")
    assert train_classifier(again, *toy_data(), HOW, seed=5, checkpoint=checkpoint, resume=True) == losses
    assert_same(arrays(again), arrays(model))


def test_an_old_checkpoint_is_replaced_only_when_that_is_said(tmp_path):
    checkpoint = tmp_path / "c.npz"
    train_classifier(toy_model(), *toy_data(), Hyperparameters(epochs=1), seed=1, checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(InputError, match="got no --resume, but .*c.npz is there"):
        train_classifier(toy_model(), *toy_data(), HOW, seed=5, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before
    train_classifier(toy_model(), *toy_data(), HOW, seed=5, checkpoint=checkpoint, resume=False)
    assert len(read_archive(checkpoint)[1]["progress"]["losses"]) == 4


def settled(model):
    """The model with another input shape, as an example of a setting."""
    model.input_shape = (1, 6, 7)
    return model


OTHERS = {      # for each entry of the checkpoint's identity: what differs, and its name in the message
    "recipe": ({"hyperparameters": Hyperparameters(epochs=5, batch_size=16, lr=0.1, warmup_steps=5)}, "hyperparameters epochs"),
    "seed": ({"seed": 6}, "seed"), "data": ({"data": toy_data(59)}, "data"), "layers": ({"model": toy_model(width=5)}, "layers; weights"),
    "weights": ({"model": toy_model(seed=9)}, "weights"), "settings": ({"model": settled(toy_model())}, "settings input_shape"),
    "backend": ({"backend": "numpy"}, "backend"),
}


@pytest.mark.parametrize("key", OTHERS)
def test_a_checkpoint_of_another_training_is_refused_whatever_decides_the_result(tmp_path, key):
    def run(model=None, data=None, hyperparameters=HOW, seed=5, backend="reference", **options):
        with use(backend):
            train_classifier(model or toy_model(), *(data or toy_data()), hyperparameters, seed, tmp_path / "c.npz", **options)
    run()
    before = (tmp_path / "c.npz").read_bytes()
    assert OTHERS.keys() == read_archive(tmp_path / "c.npz")[1]["training"].keys()
    other, named = OTHERS[key]
    with pytest.raises(InputError, match=rf"another training \(other {named}\)"):
        run(**other, resume=True)
    assert (tmp_path / "c.npz").read_bytes() == before


def test_a_loss_that_is_not_finite_is_an_input_error():
    with pytest.raises(InputError, match=r"loss became (nan|inf) in epoch 1.*learning rate, 1e\+30"):
        train_classifier(toy_model(), *toy_data(), Hyperparameters(epochs=2, batch_size=16, lr=1e30, warmup_steps=0), seed=0)


def test_nesterov_needs_momentum():
    with pytest.raises(InputError, match="momentum"):
        train_classifier(toy_model(), *toy_data(), Hyperparameters(nesterov=True, momentum=0.0), seed=0)


@pytest.mark.parametrize("error, raised",
                         [(OSError(28, "No space left on device"), InputError), (KeyboardInterrupt(), KeyboardInterrupt)])
def test_a_checkpoint_survives_when_the_next_cannot_be_written(tmp_path, monkeypatch, error, raised):
    checkpoint, whole = tmp_path / "c.npz", toy_model()
    losses = train_classifier(whole, *toy_data(), HOW, seed=5)
    write, calls = np.lib.format.write_array, []

    def fail(*args, **options):                                 # in the middle of the third: after the second epoch
        calls.append(1)
        if len(calls) == 8 + 14 + 5:                            # at first there are no momentum arrays
            raise error
        write(*args, **options)
    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "write_array", fail)
        with pytest.raises(raised):
            train_classifier(toy_model(), *toy_data(), HOW, seed=5, checkpoint=checkpoint)
    assert list(tmp_path.iterdir()) == [checkpoint]
    assert read_archive(checkpoint)[1]["progress"]["losses"] == losses[:1]
    resumed = toy_model()
    assert train_classifier(resumed, *toy_data(), HOW, seed=5, checkpoint=checkpoint, resume=True) == losses
    assert_same(arrays(resumed), arrays(whole))

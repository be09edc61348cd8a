"""SGD and its schedules by hand; torch is compared in parity/test_torch.py."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.errors import InputError
from minicnn.layers import Linear, ReLU, Sequential
from minicnn.optim import SGD, clip_grad_norm, cosine_schedule, step_schedule, warmup


def one(value=1.0):
    """A model with one parameter, p, in float64."""
    model = Linear(1, 1, bias=False)
    model.weight = np.full((1, 1), value)
    return model


@pytest.mark.parametrize("settings, expected", [
    # loss p^2, gradient 2p. Step 1: g = 2 + 0.01, p = 1 - 0.201. Step 2: g = 1.598 + 0.00799, buffer = 0.9 * 2.01 + g, ...
    ({"momentum": 0.9, "weight_decay": 0.01}, [0.799, 0.457501, 0.0581942]),
    ({}, [0.8, 0.64, 0.512]),
    ({"weight_decay": 0.5}, [0.75, 0.5625, 0.421875]),
    ({"momentum": 0.5}, [0.8, 0.54, 0.302]),
    # step 1: g = 2, step 2 + 0.5 * 2; step 2: g = 1.4, buffer 2.4, step 1.4 + 1.2; step 3: g = 0.88, buffer 2.08, step 1.92
    ({"momentum": 0.5, "nesterov": True}, [0.7, 0.44, 0.248]),
], ids=str)
def test_sgd_by_hand(settings, expected):
    model = one()
    optimizer = SGD(model, lr=0.1, **settings)
    for p in expected:
        model.add_gradients(weight=2 * model.weight)
        optimizer.step()
        assert_allclose(model.weight, p, rtol=1e-6)


def test_the_learning_rate_stays_outside_the_buffer():
    model = one()
    optimizer = SGD(model, lr=0.1, momentum=0.5)
    for lr, p in ((0.1, 0.9), (1.0, 0.9 - 1.5)):
        optimizer.lr = lr
        model.add_gradients(weight=np.ones((1, 1)))
        optimizer.step()
        assert_allclose(model.weight, p)


def network():
    rng = np.random.default_rng(0)
    return Sequential({"a": Linear(3, 4, rng=rng), "relu": ReLU(), "b": Sequential([Linear(4, 4, bias=False, rng=rng)])})


def test_parameters_are_changed_in_place_keep_their_dtype_and_gradients_are_forgotten():
    model = network()
    before, copies = dict(model.named_parameters()), {path: array.copy() for path, array in model.named_parameters()}
    y, pullback = model.vjp(np.ones((2, 3), np.float32))
    pullback(y)
    optimizer = SGD(model, lr=0.1, momentum=0.9, weight_decay=0.1)
    optimizer.step()
    for path, parameter in model.named_parameters():
        assert parameter is before[path] and parameter.dtype == optimizer.buffers[path].dtype == np.float32
        assert (parameter != copies[path]).any()
    assert not dict(model.named_gradients())


def test_state_is_keyed_by_path():
    """Two weights of the same shape and name have two buffers, and a layer that replaces another continues with its buffer."""
    model = network()
    optimizer = SGD(model, lr=1.0, momentum=0.5)
    model.get_layer("a").add_gradients(weight=np.ones((4, 3), np.float32), bias=np.ones(4, np.float32))
    model.get_layer("b.0").add_gradients(weight=np.full((4, 4), 2, np.float32))
    optimizer.step()
    assert list(optimizer.buffers) == ["a.weight", "a.bias", "b.0.weight"]
    assert optimizer.buffers["a.weight"].max() == 1 and optimizer.buffers["b.0.weight"].min() == 2


def test_the_buffer_is_not_the_gradient_that_was_handed_in():
    model, gradient = one(), np.ones((1, 1))
    optimizer = SGD(model, lr=0.1, momentum=0.9)
    for _ in range(2):
        model.add_gradients(weight=gradient)
        optimizer.step()
    assert_array_equal(gradient, [[1]])


def test_what_has_no_gradient_stays_without_decay_or_momentum():
    model = network()
    copies = {path: array.copy() for path, array in model.named_parameters()}
    optimizer = SGD(model, lr=1.0, momentum=0.9, weight_decay=0.5)
    model.get_layer("a").add_gradients(weight=np.ones((4, 3), np.float32))
    optimizer.step()
    for path, parameter in model.named_parameters():
        assert (parameter != copies[path]).any() == (path == "a.weight")


def test_nesterov_needs_momentum():
    with pytest.raises(ValueError, match="got nesterov without momentum, expected momentum > 0. Set momentum"):
        SGD(one(), lr=0.1, nesterov=True)


def test_warmup_rises_in_a_line():
    assert_allclose([warmup(k, 4, 0.2) for k in range(6)], [0.2, 0.4, 0.6, 0.8, 1, 1])
    assert warmup(0, 1000) == 1e-3 and warmup(0, 0) == 1


def test_step_schedule_falls_at_each_milestone():
    assert_allclose([step_schedule(k, [2, 4]) for k in range(6)], [1, 1, 0.1, 0.1, 0.01, 0.01])
    assert step_schedule(5, [2, 3], 0.5) == 0.25 and step_schedule(9, []) == 1


def test_cosine_schedule_falls_to_zero_and_stays():
    assert_allclose([cosine_schedule(k, 4) for k in range(6)],
                    [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0, 0], atol=1e-15)


def test_gradients_are_clipped_together():
    model = Sequential([Linear(1, 2, rng=np.random.default_rng(0)), Linear(2, 1, bias=False, rng=np.random.default_rng(0))])
    gradients = {"0.weight": [[3.0], [0.0]], "0.bias": [0.0, 4.0], "1.weight": [[12.0, 0.0]]}
    for path, layer in (("0", model.get_layer("0")), ("1", model.get_layer("1"))):
        layer.add_gradients(**{name: np.array(gradients[f"{path}.{name}"], np.float32) for name in layer.parameter_names
                               if f"{path}.{name}" in gradients})
    assert clip_grad_norm(model, 20) == 13
    assert {name: gradient.tolist() for name, gradient in model.named_gradients()} == gradients
    assert clip_grad_norm(model, 6.5) == 13
    for name, gradient in model.named_gradients():
        assert gradient.dtype == np.float32
        assert_allclose(gradient, np.array(gradients[name]) / 2, rtol=1e-6)


@pytest.mark.parametrize("settings", [{"lr": -1}, {"lr": 0.1, "momentum": -0.5}, {"lr": 0.1, "weight_decay": -1e-4}], ids=str)
def test_negative_settings_are_refused(settings):
    with pytest.raises(InputError, match="SGD: got lr=.*, expected at least 0 for each"):
        SGD(one(), **settings)
    SGD(one(), 0.0)


def test_gradients_of_another_shape_or_dtype_are_refused():
    for gradient, error, message in ((np.ones(1), ValueError, r"got gradient \(1,\), expected \(1, 1\)"),
                                     (np.ones((1, 1), np.float32), TypeError, "gradient of float32, expected one dtype")):
        model = one()
        model.add_gradients(weight=gradient)
        with pytest.raises(error, match=message):
            SGD(model, 0.1).step()


def test_schedules_refuse_what_is_out_of_range():
    for start in (0, -1, 2):
        with pytest.raises(InputError, match=f"warmup: got start={start}"):
            warmup(1, 4, start)
    with pytest.raises(InputError, match="cosine_schedule: got steps=0"):
        cosine_schedule(0, 0)

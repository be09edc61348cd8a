"""The table of kernels: each operation is in it, and what stands there is what runs."""

import inspect

import numpy as np
import pytest

from minicnn import functional as F
from minicnn import layers
from minicnn.functional.kernels import TABLE, kernel


@pytest.mark.parametrize("name", F.__all__)
def test_each_operation_is_in_the_table_and_keeps_its_documentation(name):
    function, reference = getattr(F, name), TABLE[name]
    assert (function.__name__, function.__doc__) == (name, reference.__doc__)
    assert inspect.signature(function) == inspect.signature(reference)
    assert len(function.__doc__) > 3


def test_the_table_holds_nothing_else_but_what_detection_adds():
    assert set(TABLE) - {"nms", "roi_align", "roi_pool"} == set(F.__all__)


def test_a_twin_takes_the_place_everywhere_and_gives_it_back(monkeypatch):
    x = np.array([[-1.0, 2]])
    layer = layers.ReLU()
    with monkeypatch.context() as patch:
        patch.setitem(TABLE, "relu", lambda x: x + 100)
        patch.setitem(TABLE, "relu_backward", lambda grad_y, x: grad_y + 1000)
        assert F.relu(x).tolist() == layer(x).tolist() == [[99, 102]]
        y, pullback = layer.vjp(x)
        assert y.tolist() == [[99, 102]] and pullback(x).tolist() == [[999, 1002]]
    assert F.relu(x).tolist() == layer(x).tolist() == [[0, 2]]


def test_operations_call_one_another_through_the_table(monkeypatch):
    monkeypatch.setitem(TABLE, "batch_norm", lambda *arguments: "twin")
    assert F.batch_norm_training(np.zeros((2, 1, 1, 1)), np.ones(1), np.zeros(1))[0] == "twin"


def test_arguments_pass_through(monkeypatch):
    monkeypatch.setattr("minicnn.functional.kernels.TABLE", {})

    @kernel
    def example(x, *, scale=1):
        """Documented."""
        return x * scale

    assert example(2, scale=3) == 6 and example.__doc__ == "Documented."

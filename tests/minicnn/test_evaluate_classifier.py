"""Accuracy and loss of a network whose outputs are known."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.evaluate_classifier import BATCH, evaluate_classifier, predict
from minicnn.layers import Flatten


def images(logits):
    """Images for which a network of Flatten alone returns these logits."""
    return np.array(logits, np.float32)[:, None, None, :]


def test_by_hand():
    logits = [[2, 0, 0], [0, 1, 0], [0, 3, 0], [0, 1, 0]]
    result = evaluate_classifier(Flatten(), images(logits), np.array([0, 1, 0, 1]))
    loss = -sum(math.log(math.exp(row[k]) / sum(map(math.exp, row))) for row, k in zip(logits, [0, 1, 0, 1])) / 4
    assert result.pop("loss") == pytest.approx(loss, rel=1e-6)
    assert result == {"accuracy": 0.75, "images": 4, "errors": 1, "per_class": [0.5, 1.0, None]}


@pytest.mark.parametrize("count", [1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 7])
def test_batches_are_put_together_in_order(count, monkeypatch):
    sizes = []

    class Spy(Flatten):
        def __call__(self, x):
            sizes.append(len(x))
            return super().__call__(x)
    x = np.random.default_rng(0).random((count, 1, 1, 10), np.float32)
    labels = np.arange(count) % 10
    assert_array_equal(predict(Spy(), x), x[:, 0, 0])
    assert sum(sizes) == count and max(sizes) <= BATCH
    result = evaluate_classifier(Flatten(), x, labels)
    right = x[:, 0, 0].argmax(axis=1) == labels
    assert result["errors"] == (~right).sum() and result["images"] == count
    assert_allclose(result["accuracy"], right.mean())


def test_all_are_plain_numbers_that_json_takes():
    import json
    result = evaluate_classifier(Flatten(), images([[1, 0], [0, 1]]), np.array([0, 1]))
    assert json.loads(json.dumps(result)) == result


def test_nothing_is_written_where_nobody_watches(capsys):
    predict(Flatten(), images([[1, 0]]))
    assert capsys.readouterr() == ("", "")

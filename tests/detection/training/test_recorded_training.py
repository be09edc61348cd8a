"""One training step of each detector against torchvision's losses and gradients, recorded by ``tests/recorded/record_training.py``.

In float64: ``test_parity_training`` says why.
"""

from pathlib import Path

import numpy as np
import pytest
from detector_cases import sample
from training_case import DETECTORS, in_float64, ours, training_case

from minicnn.functional.dispatch import use

RECORDED = np.load(Path(__file__).parents[2] / "recorded" / "training.npz")
LOSS, GRADIENT = 1e-4, 1e-3                 # relative to the loss, and to the largest number of a gradient


def under(key):
    """{name: array} of what is recorded under a key."""
    return {name.removeprefix(f"{key}/"): RECORDED[name] for name in RECORDED.files if name.startswith(f"{key}/")}


@pytest.mark.parametrize("architecture", DETECTORS)
def test_losses_and_every_gradient_equal_what_torchvision_computed(architecture):
    model, batch, targets = training_case(architecture, under(f"{architecture}/vectors"))
    in_float64(model)
    with use("reference"):
        losses, gradients = ours(model, batch, targets)
    expected = under(f"{architecture}/losses")
    assert list(losses) == list(expected)
    for name, loss in expected.items():
        assert abs(losses[name] - loss) <= LOSS * loss, name
    expected = under(f"{architecture}/gradients")
    assert gradients.keys() == expected.keys()
    for name, (largest, *some) in expected.items():
        assert np.abs(sample(gradients[name])[::3] - some).max() <= GRADIENT * largest, name
        assert abs(np.abs(gradients[name]).max() - largest) <= GRADIENT * largest, name

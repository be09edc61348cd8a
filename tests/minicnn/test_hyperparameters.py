"""When training has converged."""

import pytest

from minicnn.hyperparameters import converged, plateau_factor, plateaus


@pytest.mark.parametrize("losses, patience, expected", [
    ([], 2, 0), ([1, 1, 1, 1, 1], 0, 0), ([1, 0.5, 0.25], 1, 0),
    ([1, 1], 1, 1), ([1, 1, 1], 1, 2), ([1, 0.995], 1, 1), ([1, 0.98], 1, 0),
    ([1, 1, 0.9, 0.9, 0.9], 2, 1),                              # progress in between starts the count anew
    ([1, 0.995, 0.991, 0.98], 3, 0),                            # less than 1 % each, but more than 1 % below the best
    ([1, 2, 3, 2, 1.5], 2, 2), ([1, 1, 1, 1], 2, 1), ([1, 1, 1, 1, 1], 2, 2), ([1, 1, 1, 0.5, 0.5, 0.5], 2, 2),
    ([float("nan")] * 2, 1, 2),
])
def test_plateaus_by_hand(losses, patience, expected):
    assert plateaus(losses, patience) == expected
    assert plateau_factor(losses, patience) == pytest.approx(10.0 ** -expected)
    assert converged(losses, patience) == (expected >= 2)

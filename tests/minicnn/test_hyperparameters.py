"""When training has converged."""

import pytest

from minicnn.hyperparameters import converged, plateau_factor, plateaus, warn_of_divergence


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


@pytest.mark.parametrize("losses, last, expected", [
    ([], True, ""), ([2.0], True, ""), ([2.0, 1.9, 2.0], True, ""), ([2.0, 2.5, 1.9], False, ""), ([19.0], True, ""),
    ([2.0, 2.5], False, "warning: the loss of epoch 2, 2.5, is above that of the first, 2: the training may diverge. Lower the learning "
                        "rate, 0.5.\n"),
    ([2.0, 2.5, 3.0], False, ""),                               # said before
    ([2.0, 2.5, 1.0, 92535.123], False, "warning: the loss of epoch 4, 9.254e+04, is above that of the first, 2: the training may diverge. "
                                        "Lower the learning rate, 0.5.\n"),
    ([2.0, 2.5, 3.0], True, "warning: the loss of epoch 3, 3, is above that of the first, 2: the training did not converge. Lower the "
                            "learning rate, 0.5, and train again.\n"),
    ([21.0], True, "warning: the loss of epoch 1, 21, is above that of a guess, 2: the training did not converge. Lower the learning rate, "
                   "0.5, and train again.\n"),
    ([92.0, 50.0], True, "warning: the loss of epoch 2, 50, is above that of a guess, 2: the training did not converge. Lower the learning "
                         "rate, 0.5, and train again.\n")])
def test_a_loss_above_the_first_epochs_is_told_when_it_begins_and_at_the_end(losses, last, expected, capsys):
    warn_of_divergence(losses, "epoch", 2.0, 0.5, last)
    assert capsys.readouterr() == ("", expected)

"""The hyperparameters of training, and when training has converged; what classifiers and detectors have in common."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

PLATEAU = 0.01          # an epoch makes progress if its loss is 1 % below the lowest so far
DIVERGED = 10           # times a guess's loss
LAST_PLATEAU = 2        # with patience, training ends at this plateau


@dataclass(frozen=True)
class Hyperparameters:
    """How to train.

    Attributes:
        epochs: passes over the images; with ``patience`` an upper limit.
        batch_size: images per step.
        lr: highest learning rate. It decays to 0 along half a cosine over all steps, or with ``patience`` in steps.
        momentum, weight_decay, nesterov: see ``optim.SGD``.
        warmup_steps: steps in which the learning rate rises to ``lr``.
        patience: epochs without progress of the training loss that make a plateau. At the first plateau the learning rate is divided by
            ten; at the second the loss has converged and training ends (the paper fine-tunes to convergence). 0: train all ``epochs``.
    """

    epochs: int = 8
    batch_size: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    warmup_steps: int = 100
    patience: int = 0


def plateaus(losses: Sequence[float], patience: int) -> int:
    """Number of plateaus: runs of ``patience`` epochs whose loss is not 1 % below the lowest before them; 0 without patience.

    >>> plateaus([1.0, 0.5, 0.5, 0.499], patience=2)
    1
    """
    lowest, stalled, count = float("inf"), 0, 0
    for loss in losses if patience else ():
        if loss < lowest * (1 - PLATEAU):
            lowest, stalled = loss, 0
        else:
            stalled += 1
        if stalled == patience:
            stalled, count = 0, count + 1
    return count


def converged(losses: Sequence[float], patience: int) -> bool:
    """Whether training ends after these losses, one for each epoch."""
    return plateaus(losses, patience) >= LAST_PLATEAU


def plateau_factor(losses: Sequence[float], patience: int) -> float:
    """Factor of the learning rate after these losses: a tenth for each plateau."""
    return 0.1 ** plateaus(losses, patience)


def warn_of_divergence(losses: Sequence[float], label: str, guess: float, lr: float, last: bool = False) -> None:
    """Print a line on standard error if the loss shows that a training diverges.

    Args:
        losses: of the epochs so far.
        label: the word for an epoch.
        guess: the loss of a network that has learnt nothing; a training of a single epoch is measured by ten times this.
        lr: the highest learning rate.
        last: whether the training ends now; then the line is printed though one was printed before.
    """
    above = [loss > losses[0] or loss > DIVERGED * guess for loss in losses]
    if not losses or not above[-1] or above[-2:-1] == [True] and not last:
        return
    than = f"that of the first, {losses[0]:.4g}" if losses[-1] > losses[0] else f"that of a guess, {guess:.4g}"
    what = "the training did not converge" if last else "the training may diverge"
    print(f"warning: the loss of {label} {len(losses)}, {losses[-1]:.4g}, is above {than}: {what}. Lower the learning rate, {lr:g}"
          f"{', and train again' * last}.", file=sys.stderr)

"""Training a classifier: batches in random order, cross-entropy, SGD, a checkpoint after every epoch.

Every epoch has a generator of its own, made from (seed, epoch). So a checkpoint needs no generator's state, and a resumed training ends
with the same numbers as one that was not interrupted.
"""

import sys
import time
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np

from minicnn import functional as F
from minicnn.archive import describe
from minicnn.checkpoint import read_training_checkpoint, write_training_checkpoint
from minicnn.errors import InputError
from minicnn.fast.threads import one_blas_thread
from minicnn.hyperparameters import Hyperparameters, converged, plateau_factor
from minicnn.layers import Layer
from minicnn.optim import SGD, cosine_schedule, warmup
from minicnn.progress import Progress


def train_classifier(model: Layer, images: np.ndarray, labels: np.ndarray, hyperparameters: Hyperparameters, seed: int | list[int],
                     checkpoint: str | Path | None = None, resume: bool = False, label: str = "epoch") -> list[float]:
    """Train a classifier in place.

    Args:
        model: (N, C, H, W) -> logits (N, K); it is in evaluation mode afterwards.
        images: (N, C, H, W) float32.
        labels: (N,) int, the class of each image.
        hyperparameters: see ``Hyperparameters``.
        seed: every random choice comes from it and the epoch's number.
        checkpoint: file written before the first and after every epoch, or None.
        resume: continue from the checkpoint, if it exists.
        label: the word for an epoch in the progress lines.

    Returns:
        losses: mean training loss of each epoch.

    Raises:
        InputError: the checkpoint belongs to another training, or the loss is no longer finite.
    """
    how = hyperparameters
    optimizer = SGD(model, how.lr, how.momentum, how.weight_decay, how.nesterov)
    training, losses = {}, []
    if checkpoint:
        data = zlib.crc32(np.ascontiguousarray(labels).data, zlib.crc32(np.ascontiguousarray(images).data))
        training = {"recipe": asdict(how), "seed": seed, "data": data, "layers": describe(model)["layers"]}
    if checkpoint and resume and Path(checkpoint).exists():
        losses = read_training_checkpoint(checkpoint, model, optimizer, training)["losses"]
        print(f"resuming after epoch {len(losses)} from {checkpoint}", file=sys.stderr)
    elif checkpoint:
        write_training_checkpoint(checkpoint, model, optimizer, training, {"losses": losses})
    while len(losses) < how.epochs and not converged(losses, how.patience):
        start = time.perf_counter()
        losses.append(train_epoch(model, images, labels, how, optimizer, seed, losses, label))
        seconds = time.perf_counter() - start
        print(f"{label} {len(losses)}/{how.epochs}  loss {losses[-1]:.4f}  {len(images) / seconds:.0f} images/s  "
              f"{seconds:.1f} s", file=sys.stderr)
        if checkpoint:
            write_training_checkpoint(checkpoint, model, optimizer, training, {"losses": losses})
    return losses


def train_epoch(model, images, labels, hyperparameters, optimizer, seed, losses, label):
    """Train for one epoch, after those with the given losses; returns its mean loss."""
    how, epoch = hyperparameters, len(losses)
    rng = np.random.default_rng([*np.atleast_1d(seed), epoch])
    order = rng.permutation(len(images))
    batches = [order[start:start + how.batch_size] for start in range(0, len(order), how.batch_size)]
    factor = plateau_factor(losses, how.patience)
    total = 0.0
    model.train(rng)
    try:
        with (Progress(len(images), f"{label} {epoch + 1}/{how.epochs}") as progress, one_blas_thread(),
              np.errstate(over="ignore", invalid="ignore")):            # a training that diverges is noticed by its loss
            for number, batch in enumerate(batches):
                step = epoch * len(batches) + number
                decay = factor if how.patience else cosine_schedule(step, how.epochs * len(batches))
                optimizer.lr = how.lr * decay * warmup(step, how.warmup_steps)
                loss = train_step(model, images[batch], labels[batch], optimizer)
                if not np.isfinite(loss):
                    raise InputError(f"the loss became {loss} in epoch {epoch + 1}, expected a finite one. "
                                     f"Lower the learning rate, {how.lr}.")
                total += loss * len(batch)
                progress.update(len(batch), f"loss {loss:.3f}")
    finally:
        model.eval()
    return total / len(images)


def train_step(model: Layer, images: np.ndarray, labels: np.ndarray, optimizer: SGD) -> float:
    """One step of the optimizer on a batch: forward, loss, backward, update; returns the loss before the update."""
    logits, pullback = model.vjp(images, input_gradient=False)
    loss = F.cross_entropy(logits, labels)
    pullback(F.cross_entropy_backward(logits, labels))
    optimizer.step()
    return loss

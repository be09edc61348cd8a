"""Training a classifier: batches in random order, cross-entropy, SGD, a checkpoint after every epoch.

Every epoch has a generator of its own, made from (seed, epoch). So a checkpoint needs no generator's state, and a resumed training ends
with the same numbers as one that was not interrupted.
"""

import math
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from minicnn import functional as F
from minicnn.checkpoint import read_training_checkpoint, to_resume, write_training_checkpoint
from minicnn.errors import InputError
from minicnn.fast.threads import one_blas_thread
from minicnn.hyperparameters import Hyperparameters, converged, plateau_factor, warn_of_divergence
from minicnn.identity import arrays_crc, network_identity
from minicnn.layers import Layer
from minicnn.optim import SGD, cosine_schedule, warmup
from minicnn.progress import Progress


def train_classifier(model: Layer, images: np.ndarray, labels: np.ndarray, hyperparameters: Hyperparameters, seed: int | list[int],
                     checkpoint: str | Path | None = None, resume: bool | None = None, label: str = "epoch") -> list[float]:
    """Train a classifier in place.

    Args:
        model: (N, C, H, W) -> logits (N, K); it is in evaluation mode afterwards.
        images: (N, C, H, W) float32.
        labels: (N,) int, the class of each image.
        hyperparameters: see ``Hyperparameters``.
        seed: every random choice comes from it and the epoch's number.
        checkpoint: file written before the first and after every epoch, or None.
        resume: True: go on from the checkpoint, if it exists; False: begin anew; None: refuse an existing one.
        label: the word for an epoch in the progress lines.

    Returns:
        losses: mean training loss of each epoch.

    Raises:
        InputError: these are no images, or not as many as labels; the checkpoint belongs to another training, or exists and resume is
            None; or the loss is no longer finite.
    """
    check_images(images, labels)
    how = hyperparameters
    optimizer = SGD(model, how.lr, how.momentum, how.weight_decay, how.nesterov)
    training, losses, guess = {}, [], math.log(int(labels.max(initial=1)) + 1)
    if checkpoint:
        training = {"recipe": asdict(how), "seed": seed, "data": arrays_crc(images, labels), **network_identity(model)}
    if checkpoint and to_resume(checkpoint, resume):
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
        warn_of_divergence(losses, label, guess, how.lr)
        if checkpoint:
            write_training_checkpoint(checkpoint, model, optimizer, training, {"losses": losses})
    warn_of_divergence(losses, label, guess, how.lr, last=True)
    return losses


def check_images(images, labels):
    """Raise InputError unless these are images to train on, each with its label."""
    if not isinstance(images, np.ndarray) or images.ndim != 4 or images.dtype.kind != "f" or not len(images):
        got = f"an array {images.shape} of {images.dtype}" if isinstance(images, np.ndarray) else f"a {type(images).__name__}"
        raise InputError(f"got {got} to train on, expected images: an array (N, C, H, W) of floats, N at least 1. Convert it.")
    if np.shape(labels) != (len(images),):
        raise InputError(f"got labels of shape {np.shape(labels)} for {len(images)} images, expected ({len(images)},). Give one for each.")


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
        with (Progress(len(images), f"{label} {epoch + 1}/{how.epochs}", later=(how.epochs - epoch - 1) * len(images)) as progress,
              one_blas_thread(), np.errstate(over="ignore", invalid="ignore")):            # a training that diverges is noticed by its loss
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

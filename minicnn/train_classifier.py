"""The training loop: batches, schedule, progress, checkpoint, resume.

Every epoch draws its own generator from (seed, epoch). So a checkpoint needs no generator's state, and a resumed run makes the
very numbers of one that was never stopped.
"""

import json
import sys
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from minicnn import functional as F
from minicnn.archive import describe, read_archive, write_archive
from minicnn.errors import InputError
from minicnn.fast.threads import one_blas_thread
from minicnn.optim import SGD, cosine_schedule, warmup
from minicnn.progress import Progress

PLATEAU = 0.01          # an epoch whose loss is not 1 % below the best so far brings nothing
DROPS = 2               # with patience: plateaus until the end; after each but the last the rate falls to a tenth
BUFFER = "momentum:"    # prefix of the optimizer's arrays in a checkpoint


@dataclass(frozen=True)
class Hyperparameters:
    """How to train.

    epochs: passes over the images, an upper limit with ``patience``;
    batch_size: images a step;
    lr: highest learning rate; it falls to 0 along half a cosine over all steps, or with ``patience`` in steps;
    momentum, weight_decay, nesterov: of ``SGD``;
    warmup_steps: steps in which the rate rises to ``lr``;
    patience: epochs without progress that make a plateau of the training loss: at the first the rate falls to a tenth, at the
    second the loss has converged and training ends (the paper fine-tunes to convergence). 0: train all ``epochs``.
    """

    epochs: int = 8
    batch_size: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    warmup_steps: int = 100
    patience: int = 0


def train(model, images, labels, recipe, seed, checkpoint=None, resume=False, label="epoch"):
    """Train a classifier in place.

    Args:
        model: a Layer, (N, C, H, W) -> logits (N, K); it is in evaluation mode afterwards.
        images: (N, C, H, W) float32; labels: (N,) int.
        recipe: a ``Hyperparameters``.
        seed: int or list of ints; every random choice comes from it and the epoch's number.
        checkpoint: file written before the first and after every epoch, or None.
        resume: go on from the checkpoint, if it is there.
        label: what the progress lines call an epoch.

    Returns:
        losses: mean training loss of each epoch.

    Raises:
        InputError: the checkpoint is of another training, or the loss is no longer finite.
    """
    optimizer = SGD(model, recipe.lr, recipe.momentum, recipe.weight_decay, recipe.nesterov)
    settings, losses = {}, []
    if checkpoint:
        data = zlib.crc32(np.ascontiguousarray(labels), zlib.crc32(np.ascontiguousarray(images)))
        settings = {"recipe": asdict(recipe), "seed": seed, "data": data, "layers": describe(model)["layers"]}
    if checkpoint and resume and Path(checkpoint).exists():
        losses = read_checkpoint(checkpoint, model, optimizer, settings)["losses"]
        print(f"resuming after epoch {len(losses)} from {checkpoint}", file=sys.stderr)
    elif checkpoint:
        write_checkpoint(checkpoint, model, optimizer, settings, {"losses": losses})
    while len(losses) < recipe.epochs and plateaus(losses, recipe.patience) < DROPS:
        start = time.perf_counter()
        losses.append(train_epoch(model, images, labels, recipe, optimizer, seed, losses, label))
        seconds = time.perf_counter() - start
        print(f"{label} {len(losses)}/{recipe.epochs}  loss {losses[-1]:.4f}  {len(images) / seconds:.0f} images/s  "
              f"{seconds:.1f} s", file=sys.stderr)
        if checkpoint:
            write_checkpoint(checkpoint, model, optimizer, settings, {"losses": losses})
    return losses


def train_epoch(model, images, labels, recipe, optimizer, seed, losses, label):
    """One pass over the images in random order; returns the mean loss."""
    epoch = len(losses)
    rng = np.random.default_rng([*np.atleast_1d(seed), epoch])
    order = rng.permutation(len(images))
    batches = [order[start:start + recipe.batch_size] for start in range(0, len(order), recipe.batch_size)]
    drop = 0.1 ** plateaus(losses, recipe.patience)
    total = 0.0
    model.train(rng)
    try:
        with (Progress(len(images), f"{label} {epoch + 1}/{recipe.epochs}") as progress, one_blas_thread(),
              np.errstate(over="ignore", invalid="ignore")):            # a training that diverges is told by its loss
            for number, batch in enumerate(batches):
                step = epoch * len(batches) + number
                fall = drop if recipe.patience else cosine_schedule(step, recipe.epochs * len(batches))
                optimizer.lr = recipe.lr * fall * warmup(step, recipe.warmup_steps)
                loss = train_step(model, images[batch], labels[batch], optimizer)
                if not np.isfinite(loss):
                    raise InputError(f"the loss became {loss} in epoch {epoch + 1}, expected a finite one. "
                                     f"Lower the learning rate, {recipe.lr}.")
                total += loss * len(batch)
                progress.update(len(batch), f"loss {loss:.3f}")
    finally:
        model.eval()
    return total / len(images)


def train_step(model, images, labels, optimizer):
    """Forward, loss, backward, step; returns the loss before it."""
    logits, pullback = model.vjp(images, input_gradient=False)
    loss = F.cross_entropy(logits, labels)
    pullback(F.cross_entropy_backward(logits, labels))
    optimizer.step()
    return loss


def plateaus(losses, patience):
    """How often the loss failed ``patience`` epochs in a row to fall 1 % below the best so far; 0 without patience."""
    best, stalled, count = float("inf"), 0, 0
    for loss in losses if patience else ():
        if loss < best * (1 - PLATEAU):
            best, stalled = loss, 0
        else:
            stalled += 1
        if stalled == patience:
            stalled, count = 0, count + 1
    return count


def write_checkpoint(path, model, optimizer, settings, progress):
    """Write weights, momentum, and two dictionaries: what training this is, and how far it has come."""
    buffers = {BUFFER + name: buffer for name, buffer in optimizer.buffers.items()}
    write_archive(path, {**dict(model.named_arrays()), **buffers}, {"training": settings, "progress": progress})


def read_checkpoint(path, model, optimizer, settings):
    """Load weights and momentum of a training with the same settings; returns its progress."""
    arrays, description = read_archive(path)
    made = description.get("training")
    if made != jsonable(settings):
        different = [key for key in settings if not made or made.get(key) != jsonable(settings)[key]]
        raise InputError(f"got the checkpoint {path} of another training (other {', '.join(different)}), expected one with these "
                         "options. Give the same options, or leave out --resume to begin anew.")
    optimizer.buffers = {name.removeprefix(BUFFER): array for name, array in arrays.items() if name.startswith(BUFFER)}
    model.load_arrays({name: array for name, array in arrays.items() if not name.startswith(BUFFER)})
    return description["progress"]


def jsonable(value):
    """A value as it comes back from a file: tuples become lists."""
    return json.loads(json.dumps(value))

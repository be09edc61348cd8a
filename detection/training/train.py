"""Training a detector: images in random order, mirrored and resized at random, four losses, one step of SGD, again.

Every step draws its own generator from (seed, epoch, step). So a checkpoint needs no generator's state, and a resumed run makes the
very numbers of one that was never stopped.

Reference: Ren et al., Faster R-CNN (2015), section 3.2, approximate joint training.
"""

import hashlib
import json
import math
import sys
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from minicnn.archive import describe
from minicnn.checkpoint import read_training_checkpoint, write_training_checkpoint
from minicnn.data.annotated import read_annotated
from minicnn.data.images import as_input
from minicnn.detection.training.losses import Target
from minicnn.detection.transform import Transform
from minicnn.errors import InputError
from minicnn.files import interrupts_held
from minicnn.hyperparameters import Hyperparameters, converged, plateau_factor
from minicnn.optim import SGD, clip_grad_norm, cosine_schedule, step_schedule, warmup
from minicnn.prefetch import prefetch
from minicnn.progress import Progress

CHECKPOINT_SECONDS = 300        # between two checkpoints within an epoch: writing one takes seconds


@dataclass(frozen=True)
class DetectorHyperparameters(Hyperparameters):
    """How to train a detector; a ``training.Hyperparameters`` and:

    accumulate: batches whose gradients make one step together, as one batch so many times as large would;
    milestones: epochs at whose beginning the rate falls to ``gamma`` of itself, in place of the half cosine;
    clip_norm: largest norm of a step's gradient, 0: any;
    flip: mirror half of the images;
    min_sizes: short sides, pixels, of which each batch draws one; none: the detector's own;
    trainable_backbone_layers: so many of the backbone's stages, the last ones, are trained.
    """

    batch_size: int = 2
    lr: float = 0.0025
    accumulate: int = 1
    milestones: tuple = ()
    gamma: float = 0.1
    clip_norm: float = 10.0
    flip: bool = True
    min_sizes: tuple = ()
    trainable_backbone_layers: int = 3


def train_detector(model, data, recipe, seed, checkpoint=None, resume=False, cache=None, teacher=None):
    """Train a detector in place.

    Args:
        model: a ``FasterRCNN``; it is in evaluation mode afterwards.
        data: an ``AnnotatedImages``, with the model's classes. Objects that are difficult or crowds are left out.
        recipe: a ``DetectorHyperparameters``.
        seed: int; every random choice comes from it and the numbers of epoch and step.
        checkpoint: file written before the first step, after every epoch, when interrupted, and every few minutes; or None.
        resume: go on from the checkpoint, if it is there.
        cache: a ``FeatureCache``, or None.
        teacher: a ``distillation.Teacher``, or None.

    Returns:
        losses: for each epoch, {name of a loss: its mean over the images}, "loss" their sum.

    Raises:
        InputError: an image cannot be read, the checkpoint is of another training, or the loss is no longer finite.
    """
    check(model, data, recipe, cache, teacher)
    model.freeze(recipe.trainable_backbone_layers)
    optimizer = SGD(model, recipe.lr, recipe.momentum, recipe.weight_decay, recipe.nesterov)
    settings = {"recipe": asdict(recipe), "seed": seed, "data": fingerprint(data), "layers": describe(model)["layers"],
                "cache": cache is not None, "teacher": teacher and weights_digest(teacher.model)}
    progress = {"losses": [], "steps": 0, "sums": {}}
    if checkpoint and resume and Path(checkpoint).exists():
        progress = read_training_checkpoint(checkpoint, model, optimizer, settings)
        print(f"resuming after epoch {len(progress['losses'])}, step {progress['steps']} from {checkpoint}", file=sys.stderr)

    def save():
        if checkpoint:
            write_training_checkpoint(checkpoint, model, optimizer, settings, progress)
    if not progress["losses"] and not progress["steps"]:
        save()
    model.train()
    try:
        while len(progress["losses"]) < recipe.epochs and not converged(totals(progress), recipe.patience):
            train_epoch(model, data, recipe, optimizer, seed, progress, cache, teacher, save)
            save()
    finally:
        model.eval()
    return progress["losses"]


def check(model, data, recipe, cache, teacher):
    """Fail before the work: raises InputError."""
    if len(data.class_names) != model.num_classes:
        raise InputError(f"got data of {len(data.class_names) - 1} classes, expected {model.num_classes - 1} as the detector has. Give the "
                         "data that it was made for.")
    if not any((~image.difficult & ~image.crowd).any() for image in data.images):
        raise InputError(f"got {len(data.images)} images without an object to learn from, expected some. Choose another split.")
    if recipe.batch_size < 1 or recipe.accumulate < 1:
        raise InputError(f"got batch_size={recipe.batch_size}, accumulate={recipe.accumulate}, expected at least 1 of each. Raise them.")
    if cache and recipe.min_sizes:
        raise InputError(f"got a cache of features and {len(recipe.min_sizes)} min_sizes, expected one size, of which it is. "
                         "Leave out the one or the other.")
    if cache and teacher:
        raise InputError("got a cache of features and a teacher, expected one of them, since a teacher sees the images. Leave "
                         "out the one or the other.")
    with Progress(len(data.images), "checking images") as bar:
        for image in data.images:
            read_annotated(image)
            bar.update(1)


def train_epoch(model, data, recipe, optimizer, seed, progress, cache, teacher, save):
    """The rest of an epoch, from the step that ``progress`` says; it is kept up to date, and saved now and then."""
    epoch, images = len(progress["losses"]), data.images
    steps = plan_epoch(images, recipe, np.random.default_rng([seed, epoch]))
    drop = plateau_factor(totals(progress), recipe.patience)
    start = saved = time.perf_counter()
    done = count(steps[:progress["steps"]])

    def prepare(number):
        rng = np.random.default_rng([seed, epoch, number])
        return rng, [draw_batch([images[i] for i in batch], recipe, rng, cache) for batch in steps[number]]
    name = f"epoch {epoch + 1}/{recipe.epochs}"
    with Progress(len(images), name) as bar, np.errstate(over="ignore", invalid="ignore"):    # a loss that is not finite is told below
        bar.update(done)
        try:
            for number, prepared in prefetch(prepare, range(progress["steps"], len(steps))):
                optimizer.lr = recipe.lr * learning_rate(recipe, epoch, number, len(steps), drop)
                rng, batches = prepared()
                with interrupts_held():                                     # a step is taken whole or not at all
                    losses = train_step(model, batches, optimizer, rng.permutation, recipe.clip_norm, cache, teacher)
                    progress["steps"] = number + 1
                    for key, value in losses.items():
                        progress["sums"][key] = progress["sums"].get(key, 0.0) + value * len(batches)
                if not math.isfinite(losses["loss"]):
                    raise InputError(f"the loss became {losses['loss']} in epoch {epoch + 1}, expected a finite one. Lower the learning "
                                     f"rate, {recipe.lr}.")
                bar.update(count(steps[number:number + 1]), note(losses))
                if time.perf_counter() - saved > CHECKPOINT_SECONDS:
                    save()
                    saved = time.perf_counter()
        except KeyboardInterrupt:
            save()
            raise
    seconds = time.perf_counter() - start
    batches = sum(map(len, steps))
    means = {key: value / batches for key, value in progress["sums"].items()}
    progress.update(losses=[*progress["losses"], means], steps=0, sums={})
    print(f"{name}  {note(means)}", file=sys.stderr)
    if done < len(images):                                                # else it was interrupted just before its end
        rate = (len(images) - done) / seconds
        left = (recipe.epochs - epoch - 1) * len(images) / rate
        print(f"  {rate:.1f} images/s, {duration(left)} left", file=sys.stderr)


def plan_epoch(images, recipe, rng):
    """The epoch's steps: a list of lists of batches of places. High and wide images go into batches of their own, which then need
    less padding, as in torchvision's reference training."""
    batches, waiting = [], {True: [], False: []}
    for place in rng.permutation(len(images)).tolist():
        batch = waiting[images[place].height > images[place].width]
        batch.append(place)
        if len(batch) == recipe.batch_size:
            batches.append(batch.copy())
            batch.clear()
    rest = waiting[False] + waiting[True]
    batches += [rest[start:start + recipe.batch_size] for start in range(0, len(rest), recipe.batch_size)]
    return [batches[start:start + recipe.accumulate] for start in range(0, len(batches), recipe.accumulate)]


def count(steps):
    """The images in some steps."""
    return sum(len(batch) for step in steps for batch in step)


def learning_rate(recipe, epoch, step, steps, drop):
    """Share of the highest rate in a step of an epoch of so many; ``drop``: the share that plateaus have left."""
    if recipe.patience:
        fall = drop
    elif recipe.milestones:
        fall = step_schedule(epoch, recipe.milestones, recipe.gamma)
    else:
        fall = cosine_schedule(epoch * steps + step, recipe.epochs * steps)
    return fall * warmup(epoch * steps + step, recipe.warmup_steps)


def draw_batch(images, recipe, rng, cache=None):
    """The random choices for a batch, and its images read.

    Returns:
        pixels: (3, H, W) float32 in [0, 1] each; where there is a cache, the images and whether each is mirrored, instead.
        targets: a ``Target`` for each, in the pixels of the image.
        min_size: short side, or None for the detector's own.
    """
    flips = rng.random(len(images)) < 0.5 if recipe.flip else np.zeros(len(images), bool)
    min_size = int(rng.choice(recipe.min_sizes)) if recipe.min_sizes else None
    targets = [learnt(image, flipped) for image, flipped in zip(images, flips)]
    pixels = list(zip(images, flips)) if cache else [read_pixels(image, flipped) for image, flipped in zip(images, flips)]
    return pixels, targets, min_size


def read_pixels(image, flipped):
    """The pixels of an ``AnnotatedImage``, mirrored or not: (3, H, W) float32 in [0, 1]."""
    pixels = as_input(read_annotated(image))
    return np.ascontiguousarray(pixels[:, :, ::-1]) if flipped else pixels


def learnt(image, flipped):
    """The ``Target`` of an image, mirrored or not, without what is difficult or a crowd."""
    kept = ~image.difficult & ~image.crowd
    boxes = image.boxes[kept]
    if flipped:
        boxes = np.stack([image.width - boxes[:, 2], boxes[:, 1], image.width - boxes[:, 0], boxes[:, 3]], axis=1)
    return Target(boxes.astype(np.float32), image.labels[kept])


def train_step(model, batches, optimizer, permutation, clip_norm=0, cache=None, teacher=None):
    """One step of the optimizer on some batches of ``draw_batch``.

    Args:
        permutation: see ``losses.sample``.
        clip_norm, cache, teacher: see ``DetectorHyperparameters`` and ``train_detector``.

    Returns:
        losses: the mean of each over the batches, and "loss", their sum.
    """
    means = {}
    for images, targets, min_size in batches:
        batch, state = cache.start(model, images) if cache else model.start(images, min_size)
        targets = [Target(Transform.scale_boxes(boxes, original, size), labels)
                   for (boxes, labels), original, size in zip(targets, batch.original_sizes, batch.sizes)]
        losses, pullback = model.vjp(batch, state, targets, permutation, teacher.look(batch) if teacher else None)
        pullback(1 / len(batches))
        for name, loss in losses.items():
            means[name] = means.get(name, 0.0) + loss / len(batches)
    if clip_norm:
        clip_grad_norm(model, clip_norm)
    optimizer.step()
    return {"loss": sum(means.values()), **means}


def totals(progress):
    return [losses["loss"] for losses in progress["losses"]]


def note(losses):
    """One line: the sum, and each loss by a short name."""
    short = {"loss": "loss", "loss_classifier": "class", "loss_box_reg": "box", "loss_objectness": "object", "loss_rpn_box_reg": "rpn"}
    text = "  ".join(f"{name} {losses[key]:.3f}" for key, name in short.items())
    taught = sum(value for key, value in losses.items() if key.startswith("loss_teacher_"))
    return f"{text}  teacher {taught:.3f}" if taught else text


def duration(seconds):
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def weights_digest(layer):
    """A text that tells other layers, and other weights of the same layers."""
    digest = hashlib.sha256(repr([(path, one) for path, one in layer.named_layers() if path]).encode())
    for name, array in layer.named_arrays():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def fingerprint(data):
    """A number that tells other data: of the classes, the images' names and all objects."""
    text = json.dumps([data.class_names, *([p.name, p.boxes.tolist(), p.labels.tolist(), p.difficult.tolist(), p.crowd.tolist()]
                                           for p in data.images)])
    return zlib.crc32(text.encode())

"""The training loop of a detector: epochs, learning rate, checkpoints, resuming.

Every step draws its own generator from (seed, epoch, step). So a checkpoint needs no generator's state, and a resumed run gives exactly
the numbers of one that was never stopped.

Reference: Ren et al., Faster R-CNN (2015), section 3.2, approximate joint training.
"""

import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from minicnn.checkpoint import read_training_checkpoint, to_resume, write_training_checkpoint
from minicnn.data import AnnotatedImages, check_image_files
from minicnn.detection.faster_rcnn import FasterRCNN
from minicnn.detection.training.batches import count_images, draw_batch, plan_epoch
from minicnn.detection.training.distillation import Teacher
from minicnn.detection.training.feature_cache import FeatureCache
from minicnn.detection.training.fingerprint import data_crc, pictures_crc
from minicnn.detection.training.step import train_step
from minicnn.errors import InputError
from minicnn.files import interrupts_held
from minicnn.hyperparameters import Hyperparameters, converged, plateau_factor, warn_of_divergence
from minicnn.identity import network_identity, network_settings, weights_digest
from minicnn.optim import SGD, cosine_schedule, step_schedule, warmup
from minicnn.prefetch import prefetch
from minicnn.progress import Progress, duration

CHECKPOINT_SECONDS = 300        # between two checkpoints within an epoch: writing one takes seconds


@dataclass(frozen=True)
class DetectorHyperparameters(Hyperparameters):
    """Hyperparameters of a detector's training: those of ``Hyperparameters``, and

    accumulate: number of batches whose gradients are averaged in one optimizer step;
    milestones: epochs at whose beginning the learning rate is multiplied by ``gamma``, instead of the half cosine;
    clip_norm: largest norm of a step's gradient; 0: any;
    flip: mirror half of the images, chosen at random;
    min_sizes: short sides in pixels, of which each batch draws one; empty: the detector's own;
    trainable_backbone_layers: number of the backbone's stages that are trained, the last ones.
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


def train_detector(model: FasterRCNN, data: AnnotatedImages, hyperparameters: DetectorHyperparameters, seed: int,
                   checkpoint: str | Path | None = None, resume: bool | None = None, cache_features: str | Path | None = None,
                   teacher: FasterRCNN | None = None) -> list:
    """Train a detector in place, or train it further.

    Args:
        model: a ``FasterRCNN``; it is in evaluation mode afterwards. ``weight_init.new_detector`` makes one to train from scratch.
        data: images with the model's classes. Difficult objects and crowds are left out.
        hyperparameters: how to train.
        seed: determines every random choice, together with the numbers of epoch and step.
        checkpoint: file that is written before the first step, after every epoch, when interrupted, and every few minutes; or None.
        resume: True: go on from the checkpoint, if it exists; False: begin anew; None: refuse an existing one.
        cache_features: folder to keep the outputs of the frozen stages in, which makes later epochs faster; or None.
        teacher: a detector with the same classes and anchors, such as the one before compression, to distil from; or None.

    Returns:
        losses: for each epoch {name: mean over the images}, "loss" their sum.

    Raises:
        InputError: an image cannot be read, the data or the teacher does not fit the model, the checkpoint or the cache is of another
            training, the checkpoint exists and resume is None, or the loss is no longer finite.
    """
    model.freeze(hyperparameters.trainable_backbone_layers)
    check(model, data, hyperparameters, cache_features, teacher)
    data = readable(data)
    teaching = Teacher(teacher, model) if teacher else None
    cache = FeatureCache(cache_features, model, data.images) if cache_features else None
    training = Training(model, data, hyperparameters, seed, checkpoint, cache, teaching)
    training.begin(resume)
    model.train()
    try:
        while not training.is_finished():
            training.run_epoch()
            training.warn()
            training.save()
        training.warn(last=True)
    finally:
        model.eval()
    return training.progress["losses"]


def check(model, data, hyperparameters, cache, teacher):
    """Raise an InputError, before the work begins, for what cannot be trained."""
    h = hyperparameters
    if len(data.class_names) != model.num_classes:
        raise InputError(f"got data of {len(data.class_names) - 1} classes, expected {model.num_classes - 1} as the detector has. Give the "
                         "data that it was made for.")
    if not any((~image.difficult & ~image.crowd).any() for image in data.images):
        raise InputError(f"got {len(data.images)} images without an object to learn from, expected some. Choose another split.")
    if h.batch_size < 1 or h.accumulate < 1:
        raise InputError(f"got batch_size={h.batch_size}, accumulate={h.accumulate}, expected at least 1 of each. Raise them.")
    if cache and h.min_sizes:
        raise InputError(f"got a cache of features and {len(h.min_sizes)} min_sizes, expected one size, since features are kept at one. "
                         "Leave out the one or the other.")
    if cache and teacher:
        raise InputError("got a cache of features and a teacher, expected one of them, since a teacher needs the images. Leave out the "
                         "one or the other.")


def readable(data):
    """The data, its images checked if they were not before; raises InputError that names all that cannot be read."""
    if data.checked:
        return data
    checked = check_image_files(data)
    faults = checked.problems[len(data.problems):]
    if faults:
        raise InputError(f"got {len(faults)} of {len(data.images)} images that cannot be learnt from: {' '.join(faults)} Leave them out: "
                         "minicnn.data.check_image_files does.")
    return checked


class Training:
    """A training on its way. ``progress`` is what a checkpoint keeps besides weights and momentum.

    Args:
        model, data, hyperparameters, seed, checkpoint: as for ``train_detector``.
        cache: a ``FeatureCache``, or None. teacher: a ``Teacher``, or None.
    """

    def __init__(self, model, data, hyperparameters, seed, checkpoint, cache, teacher):
        h = hyperparameters
        self.model, self.data, self.hyperparameters, self.seed = model, data, h, seed
        self.checkpoint, self.cache, self.teacher = checkpoint, cache, teacher
        self.optimizer = SGD(model, h.lr, h.momentum, h.weight_decay, h.nesterov)
        self.identity = checkpoint and self.own_identity()
        self.progress = {"losses": [], "steps": 0, "sums": {}}

    def own_identity(self):
        """What decides the result, see ``minicnn.identity``."""
        teacher = self.teacher.model if self.teacher else None
        return {"recipe": asdict(self.hyperparameters), "seed": self.seed, "data": data_crc(self.data),
                "pictures": pictures_crc(self.data), **network_identity(self.model), "cache": self.cache is not None,
                "teacher": teacher and weights_digest(teacher), "teacher_settings": teacher and network_settings(teacher)}

    def begin(self, resume):
        """Take up the checkpoint's progress, if asked to and it exists; else write the first checkpoint."""
        if self.checkpoint and to_resume(self.checkpoint, resume):
            self.progress = read_training_checkpoint(self.checkpoint, self.model, self.optimizer, self.identity)
            print(f"resuming after epoch {len(self.progress['losses'])}, step {self.progress['steps']} from {self.checkpoint}",
                  file=sys.stderr)
        if not self.progress["losses"] and not self.progress["steps"]:
            self.save()

    def save(self):
        """Write the checkpoint, if there is a file for it."""
        if self.checkpoint:
            write_training_checkpoint(self.checkpoint, self.model, self.optimizer, self.identity, self.progress)

    def totals(self):
        """The sum of the losses of each epoch so far."""
        return [losses["loss"] for losses in self.progress["losses"]]

    def warn(self, last=False):
        """Print a line if the training diverges. A guess has the loss log 2 for an anchor and log K for a proposal."""
        guess = math.log(2) + math.log(self.model.num_classes)
        warn_of_divergence(self.totals(), "epoch", guess, self.hyperparameters.lr, last)

    def is_finished(self):
        """Whether all epochs are done, or with patience the loss has converged."""
        h = self.hyperparameters
        return len(self.progress["losses"]) >= h.epochs or converged(self.totals(), h.patience)

    def run_epoch(self):
        """Run the rest of an epoch, from step ``progress["steps"]`` on; print its mean losses and the time left."""
        h, epoch, images = self.hyperparameters, len(self.progress["losses"]), self.data.images
        steps = plan_epoch(images, h, np.random.default_rng([self.seed, epoch]))
        name = f"epoch {epoch + 1}/{h.epochs}"
        done, start = count_images(steps[:self.progress["steps"]]), time.perf_counter()
        bar = Progress(len(images), name, done=done, later=(h.epochs - epoch - 1) * len(images))
        with bar, np.errstate(over="ignore", invalid="ignore"):         # a loss that is not finite is an error
            try:
                self.run_steps(steps, epoch, bar)
            except KeyboardInterrupt:
                self.save()
                raise
        seconds = time.perf_counter() - start
        batches = sum(map(len, steps))
        means = {key: value / batches for key, value in self.progress["sums"].items()}
        self.progress.update(losses=[*self.progress["losses"], means], steps=0, sums={})
        print(f"{name}  {losses_line(means)}", file=sys.stderr)
        if done < len(images):                                                # else it was interrupted just before its end
            rate = (len(images) - done) / seconds
            left = (h.epochs - epoch - 1) * len(images) / rate
            print(f"  {rate:.1f} images/s, {duration(left)} left", file=sys.stderr)

    def run_steps(self, steps, epoch, bar):
        """The steps of an epoch; ``progress`` is updated after each, and saved every few minutes."""
        h, progress = self.hyperparameters, self.progress
        drop, saved = plateau_factor(self.totals(), h.patience), time.perf_counter()

        def prepare(number):
            rng = np.random.default_rng([self.seed, epoch, number])
            return rng, [draw_batch([self.data.images[i] for i in batch], h, rng, self.cache) for batch in steps[number]]
        for number, prepared in prefetch(prepare, range(progress["steps"], len(steps))):
            self.optimizer.lr = h.lr * learning_rate(h, epoch, number, len(steps), drop)
            rng, batches = prepared()
            with interrupts_held():                                     # a step is taken whole or not at all
                losses = train_step(self.model, batches, self.optimizer, rng.permutation, h.clip_norm, self.cache, self.teacher)
                progress["steps"] = number + 1
                for key, value in losses.items():
                    progress["sums"][key] = progress["sums"].get(key, 0.0) + value * len(batches)
            if not math.isfinite(losses["loss"]):
                raise InputError(f"the loss became {losses['loss']} in epoch {epoch + 1}, expected a finite one. Lower the learning "
                                 f"rate, {h.lr}.")
            bar.update(count_images(steps[number:number + 1]), losses_line(losses))
            if time.perf_counter() - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = time.perf_counter()


def learning_rate(hyperparameters, epoch, step, steps, drop):
    """The learning rate of a step, as a share of the highest.

    Args:
        hyperparameters: a ``DetectorHyperparameters``.
        epoch, step: their numbers, from 0 on; steps: number of steps of an epoch.
        drop: with patience, the share that the plateaus so far have left.
    """
    h = hyperparameters
    if h.patience:
        share = drop
    elif h.milestones:
        share = step_schedule(epoch, h.milestones, h.gamma)
    else:
        share = cosine_schedule(epoch * steps + step, h.epochs * steps)
    return share * warmup(epoch * steps + step, h.warmup_steps)


def losses_line(losses):
    """The losses on one line: their sum, and each by a short name."""
    short = {"loss": "loss", "loss_classifier": "class", "loss_box_reg": "box", "loss_objectness": "object", "loss_rpn_box_reg": "rpn"}
    text = "  ".join(f"{name} {losses[key]:.3f}" for key, name in short.items())
    distilled = sum(value for key, value in losses.items() if key.startswith("loss_teacher_"))
    return f"{text}  teacher {distilled:.3f}" if distilled else text

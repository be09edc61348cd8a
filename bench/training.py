"""Does training take the course that torchvision's does, and how fast is it?

The detector of ``../shared/weights`` with new heads, drawn from a seed; conv5 and what follows is trained on photographs of VOC2007's
trainval in one order, short side 400, in batches of two, by SGD with momentum; instead of random anchors and proposals, the first ones
are sampled. Two hundred steps in torchvision on one thread, on two, and in ours: float32 rounds differently in all three, so
torchvision's two runs show how far two correct trainings may be apart. Then the time of a step and the peak memory, each engine in a
process of its own, taking turns on the same images, all of them 400 x 533 when resized. Runs are kept in a folder, so that an interrupted
bench goes on:

    python bench/training.py --runs ../runs/training
"""

import argparse
import contextlib
import os
import resource
import statistics
import sys
import time
from pathlib import Path

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
from backward import SETTLE
from record import RESULTS, commit, kept, record, table
from spread import quartiles, ratios, text_with_quartiles
from turns import CORES, alone, ask_all, end_all, interleaved, start, use_all_cores

STEPS, WINDOW = 200, 50
SEED, LR, MOMENTUM, WEIGHT_DECAY, WARMUP, CLIP = 0, 0.0025, 0.9, 5e-4, 100, 10.0
SIZE = (375, 500)               # of the images whose steps are timed
CURVES = {"torchvision, 1 thread": ("torch", 1), "torchvision, 2 threads": ("torch", 2), "minicnn": ("numba", 2)}
OURS, TORCHS = ("numba", "numpy"), ("torch", "torch, channels last")
MUST_SHARE, MUST_TIME, GOAL_TIME, MUST_MEMORY = 0.01, 1.5, 1.0, 1.5


def detector():
    """The real detector's backbone with new heads."""
    from voc import WEIGHTS

    import minicnn
    from minicnn.detection.backbone import load_backbone
    from minicnn.weight_files.convert import convert
    real, _ = convert(WEIGHTS, config=WEIGHTS.with_suffix(".json"))
    model = minicnn.build(real.architecture, rng=np.random.default_rng(SEED), **real.architecture_arguments)
    load_backbone(model.backbone, {f"backbone.{name}": array for name, array in real.backbone.named_arrays()})
    model.record, model.transform.max_size = real.record, 533
    model.freeze(1)
    return model


def batches(model, size=None):
    """Batches of two photographs in a random order, as ``draw_batch`` returns them.

    Args:
        model: for its class names.
        size: (height, width) of all photographs, or None for all sizes.
    """
    from voc import SHARED

    from minicnn.data import load_annotated
    from minicnn.detection.training.batches import draw_batch, plan_epoch
    from minicnn.detection.training.train import DetectorHyperparameters
    data = load_annotated(SHARED / "data" / "voc", "trainval", model.record["class_names"])
    images = [image for image in data.images if size in (None, (image.height, image.width))]
    hyperparameters, rng = DetectorHyperparameters(flip=False), np.random.default_rng(SEED)
    for step in plan_epoch(images, hyperparameters, rng):
        yield draw_batch([images[index] for index in step[0]], hyperparameters, rng)


def rate(step):
    from minicnn.optim import warmup
    return LR * warmup(step, WARMUP)


def ours(model):
    """A function (step number, batch) that trains by one step and returns the loss before it."""
    from minicnn.detection.training.step import train_step
    from minicnn.optim import SGD
    model.train()
    optimizer = SGD(model, LR, MOMENTUM, WEIGHT_DECAY)

    def step(number, batch):
        optimizer.lr = rate(number)
        return train_step(model, [batch], optimizer, np.arange, CLIP)["loss"]
    return step


def torchs(model, channels_last=False):
    """The same with torchvision."""
    import torch
    from torch_twins import torch_twin
    twin = torch_twin(model).train()
    twin.transform.max_size = model.transform.max_size
    torch.randperm = lambda n, device=None: torch.arange(n)
    frozen = [name for name, _ in model.backbone.frozen().named_parameters()]
    for name, parameter in twin.backbone.named_parameters():
        parameter.requires_grad_(name not in frozen)
    if channels_last:
        twin.backbone.to(memory_format=torch.channels_last)
    parameters = [parameter for parameter in twin.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, LR, MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)       # its fastest

    def step(number, batch):
        images, targets, _ = batch
        for group in optimizer.param_groups:
            group["lr"] = rate(number)
        losses = twin([torch.from_numpy(image) for image in images],
                      [{"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels)} for boxes, labels in targets])
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        return loss.item()
    return step


def prepare(engine, threads):
    """An engine's step in this process, and its model."""
    if engine in OURS:
        os.environ["MINICNN_BACKEND"] = engine
    model = detector()
    if engine in OURS:
        return ours(model), model
    import torch
    torch.set_num_threads(threads)
    return torchs(model, engine == TORCHS[1]), model


def curve(engine, threads):
    """The losses of all steps."""
    step, model = prepare(engine, threads)
    losses = []
    for number, batch in zip(range(STEPS), batches(model)):
        losses.append(step(number, batch))
        if number % 20 == 19:
            print(f"{engine}, {threads} threads: step {number + 1}, loss {statistics.mean(losses[-20:]):.3f}", file=sys.stderr)
    return losses


@contextlib.contextmanager
def contestant(engine):
    """An engine that answers "show" with the loss of its second step, "time" with the seconds of a step, "memory" with its peak in MiB."""
    step, model = prepare(engine, CORES)
    pairs = batches(model, SIZE)
    losses = [step(number, batch) for number, batch in zip(range(2), pairs)]                # the first one compiles

    def seconds():
        batch = next(pairs)
        began = time.perf_counter()
        while time.perf_counter() - began < SETTLE:
            step(WARMUP, batch)
        began = time.perf_counter()
        step(WARMUP, batch)
        return time.perf_counter() - began
    yield {"show": lambda: losses[1], "time": seconds, "memory": lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def curves(folder):
    """{run: the losses of its steps}, and the commits they were made on."""
    folder.mkdir(parents=True, exist_ok=True)
    made_on = commit()              # now: the files may change while the program runs
    found, commits = {}, set()
    for name, (engine, threads) in CURVES.items():
        row = kept(folder, name, made_on, lambda engine=engine, threads=threads: {"losses": alone(curve, engine, threads)})
        found[name] = row["losses"]
        commits.add(row["commit"])
    return found, sorted(commits)


def smoothed(losses):
    """Means over ``WINDOW`` steps."""
    return np.convolve(losses, np.full(WINDOW, 1 / WINDOW), "valid")


def timed_steps(turns):
    """Seconds of a step by engine, and peak memory in MiB."""
    workers = start({engine: (contestant, engine) for engine in (*OURS, *TORCHS)})
    losses = ask_all(workers, "show")
    if max(abs(loss / losses["torch"] - 1) for loss in losses.values()) > 0.01:
        sys.exit(f"the losses of the second step differ: {losses}")
    seconds = interleaved(workers, turns, "a step")
    memory = ask_all(workers, "memory")
    end_all(workers)
    return seconds, memory


def drawing(found):
    """The smoothed losses as SVG."""
    from minicnn.report.svg import COLORS, Series, chart
    steps = list(range(WINDOW, STEPS + 1))
    series = [Series(name, steps, smoothed(losses).tolist(), color, [None] * len(steps), line=True)
              for (name, losses), color in zip(found.items(), COLORS)]
    return chart(series, "step", f"loss, mean of {WINDOW} steps", "the loss of training by torchvision and by minicnn", key=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", required=True, type=Path, help="folder to keep runs in")
    parser.add_argument("--turns", type=int, default=11, help="timed steps of each, at least 2 (default: 11)")
    args = parser.parse_args()
    if args.turns < 2:
        parser.error("--turns must be at least 2")
    use_all_cores()
    found, commits = curves(args.runs)
    one, two, mine = (smoothed(losses) for losses in found.values())
    own, difference = (float(np.abs(line / two - 1).max()) for line in (one, mine))
    figures = {"losses": found, "torchvisions_own_difference": own, "difference": difference, "at_most": max(2 * own, MUST_SHARE),
               **times(*timed_steps(args.turns))}
    RESULTS.joinpath("training.svg").write_text(drawing(found))
    record("training", {
        "question": "does the loss of training follow torchvision's, and what does a step take", "rows_made_on": commits,
        "steps": STEPS, "window": WINDOW, **figures,
    }, ("torch", "torchvision", "numba", "pillow"))
    if failures := misses(figures):
        sys.exit("\n".join(failures))


def times(seconds, memory):
    """What the document holds of the engines' seconds and memory."""
    best = min(TORCHS, key=lambda engine: statistics.median(seconds[engine]))
    to_best = {engine: ratios(seconds[engine], seconds[best]) for engine in OURS}
    return {
        "seconds": {engine: statistics.median(values) for engine, values in seconds.items()},
        "seconds_spread": {engine: quartiles(values) for engine, values in seconds.items()}, "best_torch": best,
        "ratio_to_best_torch": {engine: statistics.median(values) for engine, values in to_best.items()},
        "ratio_to_best_torch_spread": {engine: quartiles(values) for engine, values in to_best.items()},
        "peak_mib": memory, "memory_ratio": {engine: memory[engine] / memory[best] for engine in OURS}}


def misses(figures):
    """A line for each figure above its limit."""
    lines = []
    if figures["difference"] > figures["at_most"]:
        lines.append(f"the loss differs by {figures['difference']:.3%}, torchvision's own runs by "
                     f"{figures['torchvisions_own_difference']:.3%}")
    if (ratio := figures["ratio_to_best_torch"]["numba"]) > MUST_TIME:
        lines.append(f"a step takes {ratio:.2f} of torchvision's time, must be at most {MUST_TIME}")
    if (ratio := figures["memory_ratio"]["numba"]) > MUST_MEMORY:
        lines.append(f"a step takes {ratio:.2f} of torchvision's memory, must be at most {MUST_MEMORY}")
    return lines


def markdown(document):
    """The published table."""
    rows = []
    for engine in (*OURS, document["best_torch"]):
        is_ours = engine in OURS
        ratio = text_with_quartiles(document["ratio_to_best_torch"][engine],
                                    document["ratio_to_best_torch_spread"][engine]) if is_ours else "1"
        rows.append((engine if is_ours else engine.replace("torch", "torchvision"), f"{document['seconds'][engine]:.2f} s", ratio,
                     f"{document['peak_mib'][engine]:,.0f} MiB"))
    headers = ("a training step, two photographs of 400 × 533", "median", "of torchvision's (quartiles)", "peak memory")
    return "\n".join([
        f"![The loss of training by torchvision and by minicnn, mean of {document['window']} steps](bench/results/training.svg)", "",
        f"{document['steps']} steps from the same weights: the smoothed loss is at most {document['difference']:.2%} from that of "
        f"torchvision on two threads; torchvision on one thread is up to {document['torchvisions_own_difference']:.2%} from it.", "",
        table(headers, rows)])


if __name__ == "__main__":
    main()

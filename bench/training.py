"""Does training go the way that torchvision's does, and how fast is it?

The detector of ``../shared/weights`` with new heads, drawn from a seed; conv5 and what follows is trained on photographs of VOC2007's
trainval in one order, short side 400, in batches of two, by SGD with momentum; the first anchors and proposals are learnt from in place of
random ones. Two hundred steps in torchvision on one thread, on two, and in ours: float32 rounds differently in all three, so torchvision's
two runs tell how far two right trainings may be apart. Then the time of a step and the peak memory, each engine in a process of its own,
taking turns on the same images, all of them 400 x 533 when resized. Runs are kept in a folder, so that an interrupted bench goes on:

    python bench/training.py --runs ../runs/training
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from pathlib import Path

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
from backward import SETTLE
from peers import CORES, PAUSE, spread, with_quartiles  # it also clears the environment that the engines' processes inherit
from record import RESULTS, commit, record, table

STEPS, WINDOW = 200, 50
SEED, LR, MOMENTUM, WEIGHT_DECAY, WARMUP, CLIP = 0, 0.0025, 0.9, 5e-4, 100, 10.0
SIZE = (375, 500)               # of the images whose steps are timed
CURVES = {"torchvision, 1 thread": ("torch", 1), "torchvision, 2 threads": ("torch", 2), "minicnn": ("numba", 2)}
OURS, TORCHS = ("numba", "numpy"), ("torch", "torch, channels last")
MUST_SHARE, MUST_TIME, GOAL_TIME, MUST_MEMORY = 0.01, 1.5, 1.0, 1.5
COMMIT = commit()               # of the code that runs: at the start, since the files may change while it does


def detector():
    """The real detector's backbone, new heads."""
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
    """What ``draw_batch`` makes of pairs of photographs in a random order; all of one size, if that is given."""
    from voc import SHARED

    from minicnn.data import load_annotated
    from minicnn.detection.training.train import DetectorHyperparameters, draw_batch, plan_epoch
    data = load_annotated(SHARED / "data" / "voc", "trainval", model.record["class_names"])
    images = [image for image in data.images if size in (None, (image.height, image.width))]
    recipe, rng = DetectorHyperparameters(flip=False), np.random.default_rng(SEED)
    for step in plan_epoch(images, recipe, rng):
        yield draw_batch([images[place] for place in step[0]], recipe, rng)


def rate(step):
    from minicnn.optim import warmup
    return LR * warmup(step, WARMUP)


def ours(model):
    """(step number, batch) -> the loss before it."""
    from minicnn.detection.training.train import train_step
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
    """The step of an engine in this process, and its model."""
    if engine in OURS:
        os.environ["MINICNN_BACKEND"] = engine
    model = detector()
    if engine in OURS:
        return ours(model), model
    import torch
    torch.set_num_threads(threads)
    return torchs(model, engine == TORCHS[1]), model


def curve(engine, threads, orders):
    """A process: the losses of all steps."""
    step, model = prepare(engine, threads)
    losses = []
    for number, batch in zip(range(STEPS), batches(model)):
        losses.append(step(number, batch))
        if number % 20 == 19:
            print(f"{engine}, {threads} threads: step {number + 1}, loss {statistics.mean(losses[-20:]):.3f}", file=sys.stderr)
    orders.send(losses)


def work(engine, orders):
    """A process: the loss of the second step; for every order the seconds of a step; then the most memory it held, MiB."""
    step, model = prepare(engine, CORES)
    pairs = batches(model, SIZE)
    losses = [step(number, batch) for number, batch in zip(range(2), pairs)]                # the first one compiles
    orders.send(losses[1])
    for batch in pairs:
        if not orders.recv():
            break
        start = time.perf_counter()
        while time.perf_counter() - start < SETTLE:
            step(WARMUP, batch)
        start = time.perf_counter()
        step(WARMUP, batch)
        orders.send(time.perf_counter() - start)
    orders.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def started(target, *args):
    """The near end of a pipe to a process."""
    context = multiprocessing.get_context("spawn")
    pipe, far = context.Pipe()
    context.Process(target=target, args=(*args, far), daemon=True).start()
    far.close()                                                             # so that the end of the process is noticed
    return pipe


def curves(folder):
    """{run: the losses of its steps}."""
    folder.mkdir(parents=True, exist_ok=True)
    found, commits = {}, set()
    for name, (engine, threads) in CURVES.items():
        path = folder / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps({"commit": COMMIT, "losses": started(curve, engine, threads).recv()}))
        row = json.loads(path.read_text())
        found[name] = row["losses"]
        commits.add(row["commit"])
    return found, sorted(commits)


def smoothed(losses):
    """Means over ``WINDOW`` steps."""
    return np.convolve(losses, np.full(WINDOW, 1 / WINDOW), "valid")


def timed(turns):
    """Seconds of a step by engine, and peak memory in MiB."""
    pipes = {engine: started(work, engine) for engine in (*OURS, *TORCHS)}
    first = {engine: pipe.recv() for engine, pipe in pipes.items()}
    if max(abs(loss / first["torch"] - 1) for loss in first.values()) > 0.01:
        sys.exit(f"the losses of the second step differ: {first}")
    seconds = {engine: [] for engine in pipes}
    for _ in range(turns):
        for engine, pipe in pipes.items():
            time.sleep(PAUSE)
            pipe.send(True)
            seconds[engine].append(pipe.recv())
    memory = {}
    for engine, pipe in pipes.items():
        pipe.send(False)
        memory[engine] = pipe.recv()
    return seconds, memory


def image(found):
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
    found, commits = curves(args.runs)
    lines = {name: smoothed(losses) for name, losses in found.items()}
    one, two, mine = lines.values()
    own, difference = (float(np.abs(line / two - 1).max()) for line in (one, mine))
    seconds, memory = timed(args.turns)
    best = min(TORCHS, key=lambda engine: statistics.median(seconds[engine]))
    ratios = {engine: [a / b for a, b in zip(seconds[engine], seconds[best])] for engine in OURS}
    RESULTS.joinpath("training.svg").write_text(image(found))
    record("training", {
        "question": "does the loss of training follow torchvision's, and what does a step take", "rows_made_on": commits,
        "steps": STEPS, "window": WINDOW, "losses": found, "torchvisions_own_difference": own, "difference": difference,
        "at_most": max(2 * own, MUST_SHARE), "seconds": {engine: statistics.median(some) for engine, some in seconds.items()},
        "seconds_spread": {engine: spread(some) for engine, some in seconds.items()}, "best_torch": best,
        "ratio_to_best_torch": {engine: statistics.median(some) for engine, some in ratios.items()},
        "ratio_to_best_torch_spread": {engine: spread(some) for engine, some in ratios.items()},
        "peak_mib": memory, "memory_ratio": {engine: memory[engine] / memory[best] for engine in OURS},
    }, ("torch", "torchvision", "numba", "pillow"))
    failures = []
    if difference > max(2 * own, MUST_SHARE):
        failures.append(f"the loss differs by {difference:.3%}, torchvision's own runs by {own:.3%}")
    if statistics.median(ratios["numba"]) > MUST_TIME:
        failures.append(f"a step takes {statistics.median(ratios['numba']):.2f} of torchvision's time, must be at most {MUST_TIME}")
    if memory["numba"] > MUST_MEMORY * memory[best]:
        failures.append(f"a step takes {memory['numba'] / memory[best]:.2f} of torchvision's memory, must be at most {MUST_MEMORY}")
    if failures:
        sys.exit("\n".join(failures))


def markdown(document):
    """The README's table."""
    rows = []
    for engine in (*OURS, document["best_torch"]):
        ours_ = engine in OURS
        ratio = with_quartiles(document["ratio_to_best_torch"][engine], document["ratio_to_best_torch_spread"][engine],
                               "{:.2f}".format) if ours_ else "1"
        rows.append((engine if ours_ else engine.replace("torch", "torchvision"), f"{document['seconds'][engine]:.2f} s", ratio,
                     f"{document['peak_mib'][engine]:,.0f} MiB"))
    headers = ("a training step, two photographs of 400 × 533", "median", "of torchvision's (quartiles)", "peak memory")
    return "\n".join([
        f"![The loss of training by torchvision and by minicnn, mean of {document['window']} steps](bench/results/training.svg)", "",
        f"{document['steps']} steps from the same weights: the smoothed loss is at most {document['difference']:.2%} from that of "
        f"torchvision on two threads; torchvision on one thread is up to {document['torchvisions_own_difference']:.2%} from it.", "",
        table(headers, rows)])


if __name__ == "__main__":
    main()

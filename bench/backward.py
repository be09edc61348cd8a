"""How fast training computes: ours on its three backends, against torch in both memory formats.

Same arrays, same weights, float32. Each engine runs in a process of its own, on as many threads as there are cores. Every gradient is
held against torch's before anything is timed; then they take turns while the others sleep. Ratios are to the faster format of torch,
turn by turn.

    python bench/backward.py
"""

import argparse
import contextlib
import multiprocessing
import statistics
import sys
import time

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
from peers import CORES, PAUSE, spread, with_quartiles  # it also clears the environment that the engines' processes inherit
from record import record, table

REFERENCE, OURS = "torch", ("reference", "numpy", "numba")
TORCHS = ("torch", "torch, channels last")
SETTLE = 1.0                    # seconds that a turn begins with, not timed: a virtual machine spreads its cores only when both have work
TURN = 0.5                      # seconds; what is faster runs several times in a turn
LAYERS, CHANNELS, SHAPE = 4, 512, (4, 512, 26, 34)
BATCH, LR, MOMENTUM, WEIGHT_DECAY, CHECKED = 64, 0.05, 0.9, 5e-4, 5
TASKS = {                       # title, {engine: (what it may take of torch's time, the goal)}, largest relative difference
    "convolutions": ("conv5's three layers and the RPN's convolution, 512 → 512, batch 4 at 26 × 34, forward and backward",
                     {"numba": (1.3, 0.9), "numpy": (1.6, None)}, 1e-4),
    "step": (f"a training step of `lenet5_caffe`, batch {BATCH}", {"numba": (0.7, None)}, 1e-4),
}


def convolutions():
    """The network, its input, and the gradient of its output."""
    from minicnn.layers import Conv2d, Sequential
    rng = np.random.default_rng(0)
    network = Sequential([Conv2d(CHANNELS, CHANNELS, 3, padding=1, rng=rng) for _ in range(LAYERS)])
    return network, *(rng.standard_normal(SHAPE, np.float32) for _ in range(2))


def lenet():
    """The network, a batch of images and their labels."""
    import minicnn
    rng = np.random.default_rng(0)
    network = minicnn.build("lenet5_caffe", rng=rng).train()
    return network, rng.standard_normal((BATCH, 1, 28, 28), np.float32), rng.integers(0, 10, BATCH)


def ours(task):
    """A function that computes once, and one that shows what comes of it."""
    if task == "convolutions":
        network, x, grad_y = convolutions()

        def run():
            y, pullback = network.vjp(x)
            results = [y, pullback(grad_y), *dict(network.named_gradients()).values()]
            network.zero_grad()
            return results
        return run, run
    from minicnn.optim import SGD
    from minicnn.train_classifier import train_step
    network, images, labels = lenet()
    optimizer = SGD(network, LR, MOMENTUM, WEIGHT_DECAY)
    return steps(lambda: train_step(network, images, labels, optimizer), [array for _, array in network.named_parameters()])


def torchs(task, channels_last):
    """The same with torch."""
    import torch
    from torch import nn
    torch.set_num_threads(CORES)
    memory = torch.channels_last if channels_last else torch.contiguous_format

    def loaded(layers, network):
        model = nn.Sequential(*layers)
        arrays = [torch.from_numpy(array.copy()) for _, array in network.named_parameters()]
        model.load_state_dict(dict(zip(model.state_dict(), arrays)))
        return model.to(memory_format=memory)

    if task == "convolutions":
        network, *arrays = convolutions()
        model = loaded([nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(LAYERS)], network)
        x, grad_y = (torch.from_numpy(array).to(memory_format=memory) for array in arrays)

        def run():
            model.zero_grad()
            leaf = x.detach().requires_grad_()
            y = model(leaf)
            y.backward(grad_y)
            return [one.detach().numpy() for one in (y, leaf.grad, *(parameter.grad for parameter in model.parameters()))]
        return run, run
    network, images, labels = lenet()
    model = loaded([nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(800, 500),
                    nn.ReLU(), nn.Linear(500, 10)], network)
    images, labels = torch.from_numpy(images).to(memory_format=memory), torch.from_numpy(labels)
    optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)    # its fastest

    def step():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()
    return steps(step, [parameter.detach().numpy() for parameter in model.parameters()])


def steps(step, parameters):
    """The step, and a function that shows the losses of some steps and what these changed of the parameters."""
    def show():
        before = [array.copy() for array in parameters]
        losses = np.array([step() for _ in range(CHECKED)])
        return [losses, *(array - old for array, old in zip(parameters, before))]
    return step, show


def work(engine, task, orders):
    """A process: the results of a task first, then, for every order, the seconds of one run."""
    if engine in OURS:
        from minicnn.fast.threads import one_blas_thread
        from minicnn.functional.dispatch import use
        backend, threads = use(engine), one_blas_thread() if task == "step" else contextlib.nullcontext()     # as ``minicnn train`` does
    else:
        backend, threads = contextlib.nullcontext(), contextlib.nullcontext()
    with backend, threads:
        run, show = ours(task) if engine in OURS else torchs(task, engine == TORCHS[1])
        orders.send([np.ascontiguousarray(result) for result in show()])            # the first run compiles
        run()
        start = time.perf_counter()
        run()
        times = max(1, round(TURN / (time.perf_counter() - start)))
        while orders.recv():
            start = time.perf_counter()
            while time.perf_counter() - start < SETTLE:
                run()
            start = time.perf_counter()
            for _ in range(times):
                run()
            orders.send((time.perf_counter() - start) / times)


def measure(task, turns):
    """The row of one task."""
    title, limits, tolerance = TASKS[task]
    context = multiprocessing.get_context("spawn")
    pipes, results = {}, {}
    for engine in (*OURS, *TORCHS):
        pipes[engine], far = context.Pipe()
        context.Process(target=work, args=(engine, task, far), daemon=True).start()
        far.close()                                                 # so that the end of the process is noticed
        results[engine] = pipes[engine].recv()
    differences = {engine: difference(results[engine], results[REFERENCE]) for engine in pipes}
    wrong = {engine: value for engine, value in differences.items() if not value <= tolerance}
    if wrong:
        sys.exit(f"{task}: the results differ: {wrong}")
    ms = {engine: [] for engine in pipes}
    for _ in range(turns):
        for engine in pipes:
            time.sleep(PAUSE)
            pipes[engine].send(True)
            ms[engine].append(1000 * pipes[engine].recv())
    for pipe in pipes.values():
        pipe.send(False)
    medians = {engine: statistics.median(values) for engine, values in ms.items()}
    best = min(TORCHS, key=medians.get)
    ratios = {engine: [a / b for a, b in zip(ms[engine], ms[best])] for engine in OURS}
    print(f"{task}: {', '.join(f'{engine} {value:.1f}' for engine, value in medians.items())} ms", file=sys.stderr)
    return {"task": task, "title": title, "median_ms": medians, "best_torch": best,
            "ratio_to_best_torch": {engine: statistics.median(values) for engine, values in ratios.items()},
            "ratio_to_best_torch_spread": {engine: spread(values) for engine, values in ratios.items()},
            "limits": {engine: {"at_most": most, "goal": goal} for engine, (most, goal) in limits.items()}, "difference": differences,
            "ms": ms}


def difference(results, expected):
    """The largest over the arrays of max |result - expected| / max |expected|; infinite for another shape."""
    if [one.shape for one in results] != [one.shape for one in expected]:
        return float("inf")
    return max(float(np.abs(one.astype(np.float64) - other).max() / np.abs(other).max()) for one, other in zip(results, expected))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=11, help="timed turns of each (default: 11)")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, help="these, and the figures are only printed (default: all)")
    args = parser.parse_args()
    rows = [measure(task, args.turns) for task in args.tasks or TASKS]
    if args.tasks is None:
        record("backward", {"question": f"milliseconds of forward and backward, float32, {CORES} threads", "rows": rows},
               ("numba", "torch", "threadpoolctl"))
    slow = [f"{row['task']}, {engine}: {ratio:.2f} of torch's time, must be at most {limit['at_most']}"
            for row in rows for engine, limit in row["limits"].items()
            if (ratio := row["ratio_to_best_torch"][engine]) > limit["at_most"]]
    if slow:
        sys.exit("\n".join(["slower than it must be", *slow]))


def markdown(document):
    """The README's table."""
    rows = []
    for row in document["rows"]:
        ratios = (with_quartiles(row["ratio_to_best_torch"][engine], row["ratio_to_best_torch_spread"][engine], "{:.2f}".format)
                  for engine in OURS)
        limits = (f"{name} {one['at_most']}" + (f" ({one['goal']})" if one["goal"] else "") for name, one in row["limits"].items())
        rows.append((row["title"], *(f"{row['median_ms'][engine]:.1f}" for engine in (*OURS, row["best_torch"])), *ratios,
                     ", ".join(limits)))
    return table(("median milliseconds", *OURS, "torch", *(f"{engine} / torch (quartiles)" for engine in OURS), "at most (goal)"), rows)


if __name__ == "__main__":
    main()

"""How fast training computes: ours on its three backends, against torch in both memory formats.

Same arrays, same weights, float32. Each engine runs in a process of its own, on as many threads as there are cores. Every gradient is
compared with torch's before anything is timed; then the engines take turns. Ratios are to the faster format of torch, turn by turn.

    python bench/backward.py
"""

import argparse
import contextlib
import statistics
import sys

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
from record import record, table
from spread import quartiles, ratios, text_with_quartiles
from turns import CORES, ask_all, end_all, interleaved, start, timed, use_all_cores

REFERENCE, OURS = "torch", ("reference", "numpy", "numba")
TORCHS = ("torch", "torch, channels last")
SETTLE = 1.0                    # untimed seconds at the start of a turn: a virtual machine spreads its cores only when both have work
TURN = 0.5                      # seconds; what is faster runs several times in a turn
LAYERS, CHANNELS, SHAPE = 4, 512, (4, 512, 26, 34)
BATCH, LR, MOMENTUM, WEIGHT_DECAY, CHECKED = 64, 0.05, 0.9, 5e-4, 5
TASKS = {                       # title, {engine: (the most it may take of torch's time, the goal)}, largest relative difference
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
    """A function that computes once, and one that returns results to compare."""
    return our_convolutions() if task == "convolutions" else our_step()


def our_convolutions():
    network, x, grad_y = convolutions()

    def run():
        y, pullback = network.vjp(x)
        results = [y, pullback(grad_y), *dict(network.named_gradients()).values()]
        network.zero_grad()
        return results
    return run, run


def our_step():
    from minicnn.optim import SGD
    from minicnn.train_classifier import train_step
    network, images, labels = lenet()
    optimizer = SGD(network, LR, MOMENTUM, WEIGHT_DECAY)
    return steps(lambda: train_step(network, images, labels, optimizer), [array for _, array in network.named_parameters()])


def torchs(task, channels_last):
    """The same with torch."""
    import torch
    torch.set_num_threads(CORES)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return (torch_convolutions if task == "convolutions" else torch_step)(memory_format)


def torch_model(layers, network, memory_format):
    """torch's layers with the weights of ours."""
    import torch
    model = torch.nn.Sequential(*layers)
    arrays = [torch.from_numpy(array.copy()) for _, array in network.named_parameters()]
    model.load_state_dict(dict(zip(model.state_dict(), arrays)))
    return model.to(memory_format=memory_format)


def torch_convolutions(memory_format):
    import torch
    network, *arrays = convolutions()
    model = torch_model([torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(LAYERS)], network, memory_format)
    x, grad_y = (torch.from_numpy(array).to(memory_format=memory_format) for array in arrays)

    def run():
        model.zero_grad()
        leaf = x.detach().requires_grad_()
        y = model(leaf)
        y.backward(grad_y)
        return [tensor.detach().numpy() for tensor in (y, leaf.grad, *(parameter.grad for parameter in model.parameters()))]
    return run, run


def torch_step(memory_format):
    import torch
    from torch import nn
    network, images, labels = lenet()
    model = torch_model([nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(800, 500),
                         nn.ReLU(), nn.Linear(500, 10)], network, memory_format)
    images, labels = torch.from_numpy(images).to(memory_format=memory_format), torch.from_numpy(labels)
    optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)    # its fastest

    def step():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()
    return steps(step, [parameter.detach().numpy() for parameter in model.parameters()])


def steps(step, parameters):
    """The step, and a function that returns the losses of ``CHECKED`` steps and how these change the parameters."""
    def show():
        before = [array.copy() for array in parameters]
        losses = np.array([step() for _ in range(CHECKED)])
        return [losses, *(array - old for array, old in zip(parameters, before))]
    return step, show


@contextlib.contextmanager
def contestant(engine, task):
    """An engine that answers "show" with the results of the first runs of a task, and "time" with the seconds of one run."""
    backend = threads = contextlib.nullcontext()
    if engine in OURS:
        from minicnn.fast.threads import one_blas_thread
        from minicnn.functional.dispatch import use
        backend = use(engine)
        if task == "step":
            threads = one_blas_thread()                             # as ``minicnn train`` does
    with backend, threads:
        run, show = ours(task) if engine in OURS else torchs(task, engine == TORCHS[1])
        results = [np.ascontiguousarray(result) for result in show()]
        yield {"show": lambda: results, "time": timed(run, TURN, SETTLE)}


def measure(task, turns):
    """The row of one task."""
    title, limits, tolerance = TASKS[task]
    workers = start({engine: (contestant, engine, task) for engine in (*OURS, *TORCHS)})
    results = ask_all(workers, "show")
    differences = {engine: difference(results[engine], results[REFERENCE]) for engine in workers}
    wrong = {engine: value for engine, value in differences.items() if not value <= tolerance}
    if wrong:
        sys.exit(f"{task}: the results differ: {wrong}")
    ms = {engine: [1000 * seconds for seconds in found] for engine, found in interleaved(workers, turns, task).items()}
    end_all(workers)
    medians = {engine: statistics.median(values) for engine, values in ms.items()}
    best = min(TORCHS, key=medians.get)
    to_best = {engine: ratios(ms[engine], ms[best]) for engine in OURS}
    print(f"{task}: {', '.join(f'{engine} {value:.1f}' for engine, value in medians.items())} ms", file=sys.stderr)
    return {"task": task, "title": title, "median_ms": medians, "best_torch": best,
            "ratio_to_best_torch": {engine: statistics.median(values) for engine, values in to_best.items()},
            "ratio_to_best_torch_spread": {engine: quartiles(values) for engine, values in to_best.items()},
            "limits": {engine: {"at_most": most, "goal": goal} for engine, (most, goal) in limits.items()}, "difference": differences,
            "ms": ms}


def difference(results, expected):
    """The largest max |result - expected| / max |expected| of the arrays; infinite for another shape."""
    if [array.shape for array in results] != [array.shape for array in expected]:
        return float("inf")
    return max(float(np.abs(a.astype(np.float64) - b).max() / np.abs(b).max()) for a, b in zip(results, expected))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=11, help="timed turns of each (default: 11)")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, help="these, and the figures are only printed (default: all)")
    args = parser.parse_args()
    use_all_cores()
    rows = [measure(task, args.turns) for task in args.tasks or TASKS]
    if args.tasks is None:
        record("backward", {"question": f"milliseconds of forward and backward, float32, {CORES} threads", "rows": rows},
               ("numba", "torch", "threadpoolctl"))
    slow = [f"{row['task']}, {engine}: {ratio:.2f} of torch's time, must be at most {limit['at_most']}"
            for row in rows for engine, limit in row["limits"].items()
            if (ratio := row["ratio_to_best_torch"][engine]) > limit["at_most"]]
    if slow:
        sys.exit("\n".join(["slower than allowed", *slow]))


def markdown(document):
    """The published table."""
    rows = []
    for row in document["rows"]:
        shown = (text_with_quartiles(row["ratio_to_best_torch"][engine], row["ratio_to_best_torch_spread"][engine]) for engine in OURS)
        limits = (f"{engine} {limit['at_most']}" + (f" ({limit['goal']})" if limit["goal"] else "")
                  for engine, limit in row["limits"].items())
        rows.append((row["title"], *(f"{row['median_ms'][engine]:.1f}" for engine in (*OURS, row["best_torch"])), *shown,
                     ", ".join(limits)))
    return table(("median milliseconds", *OURS, "torch", *(f"{engine} / torch (quartiles)" for engine in OURS), "at most (goal)"), rows)


if __name__ == "__main__":
    main()

"""How long an epoch of LeNet-5 takes, against torch on the same processor.

Same network (``lenet5_caffe``), same first weights, same batches of 64 images in the same order, float32, SGD with momentum and
weight decay. Each library runs in a process of its own, with its default threads: torch on all cores, minicnn with one BLAS thread as in
``minicnn train``, and once more with BLAS's own number of threads, as where threadpoolctl is missing. The losses of the first batches
are compared before anything is timed; then the libraries take turns, a whole epoch each.

    python bench/lenet.py --data ../shared/data/mnist
"""

import argparse
import contextlib
import statistics
import sys
import time
from collections import OrderedDict

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
from record import record, table
from spread import median_range, ratios
from turns import ask_all, end_all, interleaved, start

import minicnn
from minicnn.data import load_data
from minicnn.fast.threads import one_blas_thread
from minicnn.optim import SGD
from minicnn.train_classifier import train_step

OURS, UNLIMITED, TORCH = "minicnn", "minicnn, BLAS threads not limited", "torch"
BATCH, LR, MOMENTUM, WEIGHT_DECAY = 64, 0.05, 0.9, 5e-4
CHECKED = 10        # batches; later ones differ more, since training amplifies rounding errors, by then tenfold every three steps


def minicnn_step():
    """A function of a batch's images and labels that trains by one step and returns the loss before it."""
    model = minicnn.build("lenet5_caffe", rng=np.random.default_rng(0)).train()
    optimizer = SGD(model, LR, MOMENTUM, WEIGHT_DECAY)
    return lambda images, labels: train_step(model, images, labels, optimizer)


def torch_step():
    """The same with torch, from the same weights."""
    import torch
    from torch import nn

    names = ("conv1", "pool1", "conv2", "pool2", "flatten", "fc1", "relu", "fc2")
    layers = (nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(800, 500),
              nn.ReLU(), nn.Linear(500, 10))
    model = nn.Sequential(OrderedDict(zip(names, layers)))
    weights = minicnn.build("lenet5_caffe", rng=np.random.default_rng(0)).named_arrays()
    model.load_state_dict({path: torch.from_numpy(array) for path, array in weights})
    optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY)

    def step(images, labels):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        return loss.item()
    return step


@contextlib.contextmanager
def contestant(library, data):
    """A library that trains on the first batches of an epoch: "losses" returns theirs, "time" the seconds they take."""
    images, labels = load_data(data, "train")
    step = torch_step() if library == TORCH else minicnn_step()
    batches = [slice(first, first + BATCH) for first in range(0, len(images), BATCH)]

    def losses(count=None):
        with one_blas_thread() if library == OURS else contextlib.nullcontext():
            return [step(images[batch], labels[batch]) for batch in batches[:count]]

    def seconds():
        began = time.perf_counter()
        losses()
        return time.perf_counter() - began
    yield {"losses": losses, "time": seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the MNIST files")
    parser.add_argument("--epochs", type=int, default=5, help="timed epochs of each (default: 5)")
    args = parser.parse_args()
    images = len(load_data(args.data, "train")[1])
    workers = start({library: (contestant, library, args.data) for library in (OURS, UNLIMITED, TORCH)})
    difference = largest_difference(ask_all(workers, "losses", CHECKED))
    if difference > 1e-6:
        sys.exit(f"the losses of the first {CHECKED} batches differ by {difference:.1e}")
    seconds = interleaved(workers, args.epochs, "lenet5_caffe")
    end_all(workers)
    record("lenet", {
        "question": f"seconds for an epoch of lenet5_caffe over {images} MNIST images, batch {BATCH}, float32",
        "largest_difference_of_losses": difference,
        "seconds": seconds, "median": {library: statistics.median(values) for library, values in seconds.items()},
        "ratio_to_torch": {library: median_range(ratios(seconds[library], seconds[TORCH])) for library in (OURS, UNLIMITED)},
    }, ("torch", "threadpoolctl"))


def largest_difference(losses):
    """Of our losses from torch's, relative."""
    return max(abs(a - b) / b for library in (OURS, UNLIMITED) for a, b in zip(losses[library], losses[TORCH]))


def markdown(document):
    """The published table."""
    rows = [(name, f"{document['median'][name]:.1f} s", f"{min(values):.1f} to {max(values):.1f} s")
            for name, values in document["seconds"].items()]
    rows += [(f"{name} / torch", f"{ratio['median']:.2f}", f"{ratio['least']:.2f} to {ratio['most']:.2f}")
             for name, ratio in document["ratio_to_torch"].items()]
    return table(("an epoch of `lenet5_caffe`, 55 000 images", "median", "least to most"), rows)


if __name__ == "__main__":
    main()

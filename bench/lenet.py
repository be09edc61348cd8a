"""How long an epoch of LeNet-5 takes, against torch on the same processor.

Same network (``lenet5_caffe``), same first weights, same batches of 64 pictures in the same order, float32, SGD with momentum and weight
decay, every library with its default threads. The losses of the first batches are held against each other before anything is
timed; then the two take turns, a whole epoch each.

    python bench/lenet.py --data ../shared/data/mnist
"""

import argparse
import statistics
import sys
import time
from collections import OrderedDict

import numpy as np
import torch
from record import record, table

import minicnn
from minicnn.data import load_data
from minicnn.optim import SGD
from minicnn.training import train_step

BATCH, LR, MOMENTUM, WEIGHT_DECAY = 64, 0.05, 0.9, 5e-4
CHECKED = 10         # batches; each step of training enlarges what rounding made different, tenfold every three by then


def ours():
    model = minicnn.build("lenet5_caffe", rng=np.random.default_rng(0)).train()
    optimizer = SGD(model, LR, MOMENTUM, WEIGHT_DECAY)
    return model, lambda x, t: train_step(model, x, t, optimizer)


def theirs(weights):
    nn = torch.nn
    names = ("conv1", "pool1", "conv2", "pool2", "flatten", "fc1", "relu", "fc2")
    parts = (nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(800, 500), nn.ReLU(),
             nn.Linear(500, 10))
    model = nn.Sequential(OrderedDict(zip(names, parts)))
    model.load_state_dict({path: torch.from_numpy(array.copy()) for path, array in weights.items()})
    optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY)

    def step(x, t):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), t)
        loss.backward()
        optimizer.step()
        return loss.item()
    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the MNIST files")
    parser.add_argument("--epochs", type=int, default=5, help="timed epochs of each (default: 5)")
    args = parser.parse_args()
    images, labels = load_data(args.data, "train")
    tensors = torch.from_numpy(images), torch.from_numpy(labels)
    model, our_step = ours()
    their_step = theirs(dict(model.named_arrays()))
    order = [slice(start, start + BATCH) for start in range(0, len(images), BATCH)]

    losses = [(our_step(images[b], labels[b]), their_step(tensors[0][b], tensors[1][b])) for b in order[:CHECKED]]
    difference = max(abs(a - b) / b for a, b in losses)
    if difference > 1e-6:
        sys.exit(f"the losses of the first {CHECKED} batches differ by {difference:.1e}")

    seconds = {"minicnn": [], "torch": []}
    for _ in range(args.epochs):
        for name, step, x, t in (("minicnn", our_step, images, labels), ("torch", their_step, *tensors)):
            start = time.perf_counter()
            for b in order:
                step(x[b], t[b])
            seconds[name].append(time.perf_counter() - start)
            print(f"{name}: {seconds[name][-1]:.1f} s", file=sys.stderr)
    ratios = [a / b for a, b in zip(seconds["minicnn"], seconds["torch"])]
    record("lenet", {
        "question": f"seconds for an epoch of lenet5_caffe over {len(images)} MNIST pictures, batch {BATCH}, float32",
        "largest_difference_of_losses": difference, "torch_threads": torch.get_num_threads(),
        "seconds": seconds, "median": {name: statistics.median(values) for name, values in seconds.items()},
        "ratio": {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)},
    }, ("torch",))


def markdown(document):
    """The README's table."""
    rows = [(name, f"{document['median'][name]:.1f} s", f"{min(values):.1f} to {max(values):.1f} s")
            for name, values in document["seconds"].items()]
    ratio = document["ratio"]
    rows.append(("minicnn / torch", f"{ratio['median']:.2f}", f"{ratio['least']:.2f} to {ratio['most']:.2f}"))
    return table(("an epoch of `lenet5_caffe`, 55 000 pictures", "median", "least to most"), rows)


if __name__ == "__main__":
    main()

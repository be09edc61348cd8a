"""Run a network where only NumPy is installed: ``make FOLDER`` in a full environment, then ``check FOLDER`` in the bare one."""

import importlib.metadata
import sys
from pathlib import Path

import numpy as np

import minicnn


def make(folder):
    """A pruned network, pictures, and its logits."""
    from minicnn.compression.recipe import Options, Target, compress

    model = minicnn.build("lenet5_caffe", rng=np.random.default_rng(0))
    compress(model, Target("parameters", 43108), Options(), seed=0)
    minicnn.save(folder / "small.npz", model)
    x = np.random.default_rng(1).random((4, 1, 28, 28), np.float32)
    np.save(folder / "x.npy", x)
    np.save(folder / "logits.npy", model(x))


def check(folder):
    """The same logits from the file alone."""
    installed = {distribution.metadata["Name"].lower() for distribution in importlib.metadata.distributions()}
    if installed - {"minicnn", "numpy", "pip", "setuptools"}:
        sys.exit(f"expected NumPy alone, got {', '.join(sorted(installed))}")
    model = minicnn.load(folder / "small.npz")
    expected = np.load(folder / "logits.npy")
    error = np.abs(model(np.load(folder / "x.npy")) - expected).max() / np.abs(expected).max()
    if not error <= 1e-5:
        sys.exit(f"the logits differ by {error:.1e} of the largest")
    print(f"logits equal to {error:.1e} of the largest, with {', '.join(sorted(installed))} installed")


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](Path(sys.argv[2]))

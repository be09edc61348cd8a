"""How much memory one detection takes: the peak of a whole process, less the size of the weights.

Each detector runs in a process of its own for each backend, from ``import minicnn`` and the loading of its file to the boxes, on an
image of 384 x 512 pixels in an ``.npy`` file, so that NumPy (and Numba, for its backend) is all that is imported. The reference takes
the least: the engine also holds transformed weights, and the whole batch's results of a step.

    python bench/memory.py
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
from record import record, table
from timed_detectors import MODELS, photograph, tuned_detector

import minicnn

MIB = 2**20
MUST = {("fasterrcnn_vgg16", "reference"): 512, ("fasterrcnn_resnet50_fpn", "reference"): 768}      # MiB above the weights
BACKENDS = "reference", "numpy", "numba"
CHILD = """
import sys, minicnn
found = minicnn.load(sys.argv[1]).detect(sys.argv[2])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(1024 * int(peak.split()[1]), len(found), "PIL" in sys.modules)
"""


def measure(name, folder):
    """The rows of one detector."""
    weights, saved = Path(folder, "weights.npz"), Path(folder, "picture.npy")
    np.save(saved, photograph())
    model = tuned_detector(name)
    minicnn.save(weights, model)
    size = sum(array.nbytes for _, array in model.named_arrays())
    height, width = model.transform.size(*photograph().shape[:2])
    del model
    rows = []
    for backend in BACKENDS:
        result = subprocess.run([sys.executable, "-c", CHILD, weights, saved], capture_output=True, text=True, check=True,
                                env={**os.environ, "MINICNN_BACKEND": backend})
        peak, found, pillow = result.stdout.split()
        assert pillow == "False"
        row = {"model": name, "backend": backend, "size": [height, width], "detections": int(found), "weights_bytes": size,
               "peak_bytes": int(peak), "above_weights_MiB": (int(peak) - size) / MIB, "must_MiB": MUST.get((name, backend))}
        print(f"{name}, {backend}: {row['above_weights_MiB']:.0f} MiB above {size / MIB:.0f} MiB of weights", file=sys.stderr)
        rows.append(row)
    return rows


def main():
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for name in MODELS for row in measure(name, folder)]
    record("memory", {"question": "peak memory of a process that loads a detector and detects once, above its weights", "rows": rows},
           ("pillow", "numba"))
    if any(row["must_MiB"] is not None and row["above_weights_MiB"] > row["must_MiB"] for row in rows):
        sys.exit("more memory than allowed")


def markdown(document):
    """The published table."""
    peaks = {(row["model"], row["backend"]): row for row in document["rows"]}
    rows = [(f"`{row['model']}`", "{} × {}".format(*row["size"]), f"{row['weights_bytes'] / MIB:.0f} MiB",
             *(f"{peaks[row['model'], backend]['above_weights_MiB']:.0f} MiB" for backend in BACKENDS),
             f"{row['must_MiB']} MiB" if row["must_MiB"] else "") for row in document["rows"] if row["backend"] == "reference"]
    headers = "one detection, whole process", "image becomes", "weights", *(f"peak above them, {backend}" for backend in BACKENDS)
    return table((*headers, "reference at most"), rows)


if __name__ == "__main__":
    main()

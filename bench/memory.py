"""How much memory one detection takes: the most that a whole process ever held, less the size of the weights.

Each detector runs in a process of its own, from ``import minicnn`` over the loading of its file to the boxes, on a picture of 384 x 512
pixels in an ``.npy`` file, so that NumPy is all that is imported.

    python bench/memory.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from detect import MODELS, picture
from record import record, table
from sane import sane_detector

import minicnn
from minicnn.data.pictures import as_input

MIB = 2**20
MUST = {"fasterrcnn_vgg16": 512, "fasterrcnn_resnet50_fpn": 768}            # MiB above the weights
CHILD = """
import sys, minicnn
found = minicnn.load(sys.argv[1]).detect(sys.argv[2])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(1024 * int(peak.split()[1]), len(found), "PIL" in sys.modules)
"""


def measure(name, folder):
    """One detector's row."""
    weights, image = Path(folder, "weights.npz"), Path(folder, "picture.npy")
    np.save(image, picture())
    model = sane_detector(name, as_input(picture()), **MODELS[name])
    minicnn.save(weights, model)
    size = sum(array.nbytes for _, array in model.named_arrays())
    height, width = model.transform.size(*picture().shape[:2])
    del model
    result = subprocess.run([sys.executable, "-c", CHILD, weights, image], capture_output=True, text=True, check=True)
    peak, found, pillow = result.stdout.split()
    assert pillow == "False"
    row = {"model": name, "size": [height, width], "detections": int(found), "weights_bytes": size, "peak_bytes": int(peak),
           "above_weights_MiB": (int(peak) - size) / MIB, "must_MiB": MUST.get(name)}
    print(f"{name}: {row['above_weights_MiB']:.0f} MiB above {size / MIB:.0f} MiB of weights", file=sys.stderr)
    return row


def main():
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(name, folder) for name in MODELS]
    record("memory", {"question": "peak memory of a process that loads a detector and detects once, above its weights", "rows": rows},
           ("pillow",))
    if any(row["must_MiB"] is not None and row["above_weights_MiB"] > row["must_MiB"] for row in rows):
        sys.exit("more than it must be")


def markdown(document):
    """The README's table."""
    rows = [(f"`{row['model']}`", "{} × {}".format(*row["size"]), f"{row['weights_bytes'] / MIB:.0f} MiB",
             f"{row['above_weights_MiB']:.0f} MiB", f"{row['must_MiB']} MiB" if row["must_MiB"] else "") for row in document["rows"]]
    return table(("one detection, whole process", "picture becomes", "weights", "peak above them", "at most"), rows)


if __name__ == "__main__":
    main()

"""Run a network where only NumPy is installed: ``make FOLDER`` in a full environment, then ``check FOLDER`` in the bare one.

``detect FOLDER`` is for an environment with Pillow as well.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np

import minicnn

TESTS = Path(__file__).resolve().parents[1] / "tests"


def make(folder):
    """A pruned network, images, and its logits; a detector, a photograph, and what it finds there."""
    from minicnn.compression.rounds import PruningOptions, PruningTarget, prune_in_rounds
    from minicnn.data.images import as_input, read_image
    sys.path.insert(0, str(TESTS.parent / "bench" / "harness"))
    from sane import sane_detector

    model = minicnn.build("lenet5_caffe", rng=np.random.default_rng(0))
    prune_in_rounds(model, PruningTarget("parameters", 43108), PruningOptions(), seed=0)
    minicnn.save(folder / "small.npz", model)
    x = np.random.default_rng(1).random((4, 1, 28, 28), np.float32)
    np.save(folder / "x.npy", x)
    np.save(folder / "logits.npy", model(x))

    photograph = read_image(TESTS / "pictures" / "chelsea.jpg")
    detector = sane_detector("fasterrcnn_mobilenet_v3_large_320_fpn", as_input(photograph))
    minicnn.save(folder / "detector.npz", detector)
    np.save(folder / "photograph.npy", photograph)
    np.save(folder / "boxes.npy", detector.detect(photograph).boxes)


def check(folder):
    """The same logits and boxes from the files alone."""
    installed = {distribution.metadata["Name"].lower() for distribution in importlib.metadata.distributions()}
    if installed - {"minicnn", "numpy", "pip", "setuptools"}:
        sys.exit(f"expected NumPy alone, got {', '.join(sorted(installed))}")
    model = minicnn.load(folder / "small.npz")
    expected = np.load(folder / "logits.npy")
    error = np.abs(model(np.load(folder / "x.npy")) - expected).max() / np.abs(expected).max()
    if not error <= 1e-5:
        sys.exit(f"the logits differ by {error:.1e} of the largest")
    boxes, expected = minicnn.load(folder / "detector.npz").detect(folder / "photograph.npy").boxes, np.load(folder / "boxes.npy")
    if boxes.shape != expected.shape or not np.abs(boxes - expected).max() <= 0.05:
        sys.exit(f"found {len(boxes)} boxes, expected the same {len(expected)}")
    print(f"logits equal to {error:.1e} of the largest, {len(boxes)} boxes found, with {', '.join(sorted(installed))} installed")


def detect(folder):
    """``minicnn detect`` finds in the photographs' files what was found before, and draws it; an old Pillow draws no digits."""
    import PIL

    from minicnn.cli.main import main
    from minicnn.data.images import read_image
    pictures, out = TESTS / "pictures", folder / "drawn"
    status = main(["detect", str(pictures), "--weights", str(folder / "detector.npz"), "--json", str(folder / "found.json"),
                   "--out", str(out)])
    rows = {Path(row["image"]).name: row for row in json.loads((folder / "found.json").read_text())}
    boxes = np.array([one["box"] for one in rows["chelsea.jpg"]["detections"]])
    expected = np.load(folder / "boxes.npy")
    if status or boxes.shape != expected.shape or not np.abs(boxes - expected).max() <= 0.05:
        sys.exit(f"status {status}, {len(boxes)} boxes, expected the same {len(expected)}")
    if np.array_equal(read_image(out / "chelsea.jpg"), read_image(pictures / "chelsea.jpg")) or len(rows) != len(list(out.iterdir())):
        sys.exit(f"the {len(rows)} photographs were not drawn on")
    if PIL.__version__ < "9.9" and main(["train", "lenet5", "--out", str(folder / "none.npz")]) != 2:
        sys.exit("expected that digits need a newer Pillow")
    print(f"{len(rows)} photographs, {len(boxes)} boxes in one, with Python {sys.version.split()[0]}, NumPy {np.__version__} and Pillow "
          f"{PIL.__version__}, from {Path(minicnn.__file__).parent}")


if __name__ == "__main__":
    {"make": make, "check": check, "detect": detect}[sys.argv[1]](Path(sys.argv[2]))

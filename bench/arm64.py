"""The steps of bench/arm64.sh: the same work on this machine and in an emulated 64-bit Arm Python with NumPy and Pillow alone.

LeNet's forward pass, the conversion of a torch checkpoint and a detection with each of two detectors: MobileNetV3 320 with random
weights tuned to an image, and the trained VGG16 one at a short side of 160 pixels. Converted arrays must be equal to the bit, logits
to 1e-5 of the largest, detections in number and label, boxes to 0.05 pixels and scores to 1e-3. Times are not compared: an emulator's
mean nothing.

With Numba, the engine's heaviest steps are compiled for Arm and compared with the same steps in NumPy, to 1e-5 of the largest number.
"""

import argparse
import importlib.metadata
import json
import platform
import runpy
import shutil
import sys
from functools import partial
from pathlib import Path

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np

import minicnn

ROOT = Path(__file__).resolve().parents[1]
LENETS = "lenet5", "lenet5_caffe"
MOBILENET = "fasterrcnn_mobilenet_v3_large_320_fpn"
VOC = "fasterrcnn_vgg16_voc"
CONVERT = {MOBILENET: ("--arch", MOBILENET), VOC: ("--config", f"{VOC}.json")}      # options, files in the folder of the inputs
DETECT = {MOBILENET: (), VOC: ("--min-size", "160")}
LOGITS, PIXELS, SCORE = 1e-5, 0.05, 1e-3        # tolerances: of the largest logit, and those of the parity tests
STEP = 1e-5                                     # of the largest number in a step's output
ENOUGH = 10                                     # detections that a comparison needs


def prepare(folder, args):
    """Write the inputs, and compute the expected results on this machine."""
    inputs = empty(folder / "inputs")
    (folder / "differences.json").unlink(missing_ok=True)
    for seed, name in enumerate(LENETS):
        minicnn.save(inputs / f"{name}.npz", minicnn.build(name, rng=np.random.default_rng(seed)))
    np.save(inputs / "digits.npy", np.random.default_rng(9).random((4, 1, 28, 28), np.float32))
    shutil.copy(args.picture, inputs / "picture.jpg")
    write_mobilenet(inputs / f"{MOBILENET}.pth", inputs / "picture.jpg")
    if not args.short:
        for suffix in ".pth", ".json":
            shutil.copy(args.weights.with_suffix(suffix), inputs / f"{VOC}{suffix}")
    compute(inputs, empty(folder / "expected"))


def write_mobilenet(path, image):
    """Write a checkpoint with torch, of a detector that finds dozens of objects in the image."""
    import torch
    from sane import sane_detector

    from minicnn.data.images import as_input

    model = sane_detector(MOBILENET, as_input(image), seed=1)
    torch.save({name: torch.from_numpy(array) for name, array in model.named_arrays()}, path)


def check(folder, args):
    """Compute the same from the inputs in the emulated Python, and compare it with what is expected."""
    installed = {distribution.metadata["Name"].lower() for distribution in importlib.metadata.distributions()}
    if platform.machine() != "aarch64" or installed != {"numpy", "pillow"}:
        sys.exit(f"expected an aarch64 Python with NumPy and Pillow alone, got {platform.machine()} with {', '.join(sorted(installed))}")
    inputs, expected, found = folder / "inputs", folder / "expected", empty(folder / "found")
    compute(inputs, found)
    differences = {}
    for name in LENETS:
        differences[name] = compare_logits(expected / f"{name}.npy", found / f"{name}.npy")
    for name in detectors(inputs):
        differences[name] = {"arrays": compare_archives(expected / f"{name}.npz", found / f"{name}.npz"),
                             **compare_detections(expected / f"{name}.json", found / f"{name}.json")}
    machine = {"machine": platform.machine(), "python": platform.python_version(),
               "versions": {package: importlib.metadata.version(package) for package in ("numpy", "pillow")}}
    text = json.dumps({"arm64": machine, "differences": differences}, indent=1)
    (folder / "differences.json").write_text(text)
    print(text)


def compiled(folder, args):
    """Compare the engine's steps by Numba with those by NumPy, in the emulated Python."""
    import numba

    from minicnn.fast import numba_kernels as kernels
    from minicnn.fast import numpy_kernels

    rng = np.random.default_rng(0)

    def random(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    x, bias = random(2, 7, 9, 16), random(24)
    taps, filters = random(3 * 3 * 16, 24), random(24, 16, 3, 3)
    flat, weight, each = random(13, 40), random(40, 24), random(5, 5, 16)

    def linear(steps, y):
        steps.linear(flat, steps.pack(weight), bias, y, activation="hardswish")

    def convolve(steps, y):
        steps.convolve(x, steps.pack(taps), bias, y, (3, 3), (2, 1), (1, 1), activation="relu")

    def winograd(steps, y):
        scratch = np.empty(steps.winograd_scratch(x.shape, 24, (1, 1), 6, False), np.float32)
        steps.winograd(x, steps.filters(filters), bias, y, (1, 1), "relu", False, 6, False, scratch)

    def depthwise(steps, y):
        steps.depthwise(x, each, bias[:16], y, (2, 2), (2, 2), (1, 1))

    differences = {}
    for step, shape in (linear, (13, 24)), (convolve, (2, 3, 7, 24)), (winograd, (2, 7, 9, 24)), (depthwise, (2, 4, 5, 16)):
        expected, found = np.empty(shape, np.float32), np.empty(shape, np.float32)
        step(numpy_kernels, expected)
        step(kernels, found)
        differences[step.__name__] = float(np.abs(found - expected).max() / np.abs(expected).max())
        require(differences[step.__name__] <= STEP, f"{step.__name__} by Numba differs by {differences[step.__name__]:.1e} of the largest")
    path = folder / "differences.json"
    document = {**json.loads(path.read_text()), "numba": {"version": numba.__version__, "differences": differences}}
    path.write_text(json.dumps(document, indent=1))
    print(json.dumps(document["numba"], indent=1))


def publish(folder, args):
    """Write bench/results/arm64.json, back on this machine."""
    from record import circumstances, record

    if not (folder / "expected" / f"{VOC}.json").exists():
        sys.exit("the short form has no result to publish")
    record("arm64", {
        "made": {**circumstances(("pillow", "torch")), "command": "bash bench/arm64.sh"},
        "question": "does 64-bit Arm, emulated, with NumPy and Pillow alone, give this machine's logits, arrays and detections",
        "emulator": args.emulator, "tolerances": {"logits": LOGITS, "pixels": PIXELS, "score": SCORE},
        **json.loads((folder / "differences.json").read_text()),
    })


def compute(inputs, out):
    """Logits, converted checkpoints and detections; the detectors by the commands that a user types."""
    digits = np.load(inputs / "digits.npy")
    for name in LENETS:
        np.save(out / f"{name}.npy", minicnn.load(inputs / f"{name}.npz")(digits))
    for name in detectors(inputs):
        options = [inputs / option if option.endswith(".json") else option for option in CONVERT[name]]
        run("convert", inputs / f"{name}.pth", "-o", out / f"{name}.npz", *options)
        run("detect", inputs / "picture.jpg", "--weights", out / f"{name}.npz", "--json", out / f"{name}.json", *DETECT[name])


def detectors(inputs):
    """The detectors whose checkpoints are there."""
    return [name for name in CONVERT if (inputs / f"{name}.pth").exists()]


def run(*argv):
    """``python -m minicnn`` with these arguments, in this process: user-mode emulation cannot start another one."""
    print("minicnn", *argv, flush=True)
    before = sys.argv
    sys.argv = ["minicnn", *map(str, argv)]
    try:
        runpy.run_module("minicnn", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.argv = before


def compare_logits(expected, found):
    """The largest difference, relative to the largest logit."""
    expected, found = np.load(expected), np.load(found)
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    require(difference <= LOGITS, f"the logits differ by {difference:.1e} of the largest")
    return {"logits": float(difference)}


def compare_archives(expected, found):
    """The number of arrays; they must be equal to the bit."""
    with np.load(expected) as expected, np.load(found) as found:
        names = [name for name in expected.files if name != "minicnn.json"]
        require(expected.files == found.files, "the archives hold other arrays")
        for name in names:
            require(np.array_equal(expected[name], found[name]), f"{name} differs")
    return len(names)


def compare_detections(expected, found):
    """The number of detections and their largest differences; those of one label are matched by position."""
    [expected], [found] = (json.loads(path.read_text()) for path in (expected, found))
    expected, found = expected["detections"], found["detections"]
    require(len(expected) >= ENOUGH, f"only {len(expected)} detections are expected")
    require(len(found) == len(expected), f"{len(found)} detections, expected {len(expected)}")
    pixels, scores, left = 0, 0, list(found)
    for detection in expected:
        same = [other for other in left if other["label"] == detection["label"]]
        require(same, f"one detection too few of {detection['name']}")
        best = min(same, key=partial(distance, detection))
        left.remove(best)
        pixels, scores = max(pixels, distance(detection, best)), max(scores, abs(best["score"] - detection["score"]))
    require(pixels <= PIXELS, f"a box differs by {pixels:.3f} pixels")
    require(scores <= SCORE, f"a score differs by {scores:.1e}")
    return {"detections": len(expected), "pixels": pixels, "score": scores}


def distance(detection, other):
    """The largest difference of the boxes' coordinates."""
    return max(abs(a - b) for a, b in zip(detection["box"], other["box"]))


def require(condition, message):
    """End with a message unless a condition holds."""
    if not condition:
        sys.exit(f"differs from the machine that emulates: {message}")


def empty(folder):
    """Make a folder empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("prepare", "check", "compiled", "publish"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--short", action="store_true", help="prepare: LeNet and MobileNet only")
    parser.add_argument("--picture", type=Path, default=ROOT / "tests" / "pictures" / "astronaut.jpg")
    parser.add_argument("--weights", type=Path, default=ROOT.parent / "shared" / "weights" / f"{VOC}.pth")
    parser.add_argument("--emulator", default="", help="publish: its name and version")
    args = parser.parse_args()
    {"prepare": prepare, "check": check, "compiled": compiled, "publish": publish}[args.step](args.folder, args)


if __name__ == "__main__":
    main()

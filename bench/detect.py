"""How long one detection takes, against torchvision on the same processor.

Same image, same weights (random ones that behave like trained ones, see ``tests/detection/sane.py``), float32, from an array of bytes
to boxes. Each library runs in a process of its own with its default threads: minicnn on the backend that it chooses by itself, Numba's;
torch in both memory layouts it documents for processors, of which the faster counts. The detections are held against each other before
anything is timed; then they take turns, one detection each, while the others wait.

    python bench/detect.py
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import time

for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):         # what a machine says about kernels; gone before anything loads a BLAS
    os.environ.pop(_name, None)

import harness  # noqa: E402, F401  puts bench/harness on the path
from ladder import IMAGES, match  # noqa: E402
from record import record, table  # noqa: E402
from sane import sane_detector  # noqa: E402

from minicnn.data.images import as_input, read_image  # noqa: E402

PAUSE = 0.2                     # seconds before a turn; what computed last keeps its threads awake for a while
OURS, TORCH, CHANNELS_LAST = "minicnn", "torchvision", "torchvision, channels last"
MODELS = {
    "fasterrcnn_vgg16": {"min_size": 600, "max_size": 1000}, "fasterrcnn_resnet50_fpn": {}, "fasterrcnn_resnet50_fpn_v2": {},
    "fasterrcnn_mobilenet_v3_large_fpn": {}, "fasterrcnn_mobilenet_v3_large_320_fpn": {},
}


def photograph():
    """384 x 512 pixels, which become 600 x 800, 800 x 1066 or 320 x 426."""
    return read_image(IMAGES / "astronaut.jpg")[64:448].copy()


def our_detector(model):
    def detect(image):
        found = model.detect(image)
        return found.boxes, found.scores, found.labels
    return detect


def torch_detector(model, channels_last):
    import torch
    from torch_twins import torch_twin
    twin = torch_twin(model)
    if channels_last:
        twin.backbone.to(memory_format=torch.channels_last)

    def detect(image):
        with torch.inference_mode():
            found = twin([torch.from_numpy(image).permute(2, 0, 1).float() / 255])[0]
        return tuple(found[name].numpy() for name in ("boxes", "scores", "labels"))
    return detect


def work(library, name, orders):
    """A process: a detection for every order; answer seconds and detections."""
    image = photograph()
    model = sane_detector(name, as_input(image), **MODELS[name])
    detect = our_detector(model) if library == OURS else torch_detector(model, library == CHANNELS_LAST)
    orders.send("ready")
    while orders.recv():
        start = time.perf_counter()
        found = detect(image)
        orders.send((time.perf_counter() - start, found))


def measure(name, runs):
    """Seconds of each library for one model."""
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for library in (OURS, TORCH, CHANNELS_LAST):
        pipes[library], far = context.Pipe()
        context.Process(target=work, args=(library, name, far), daemon=True).start()
        pipes[library].recv()

    def run(library):
        pipes[library].send(True)
        return pipes[library].recv()

    found = {library: run(library)[1] for library in pipes}             # also warms up
    for library in (TORCH, CHANNELS_LAST):
        pixels, score, alone = match(found[OURS], found[library])
        if alone or not len(found[OURS][0]):
            sys.exit(f"{name}: {alone} detections of {OURS} and {library} differ")
    seconds = {library: [] for library in pipes}
    for _ in range(runs):
        for library in pipes:
            time.sleep(PAUSE)
            seconds[library].append(run(library)[0])
    for pipe in pipes.values():
        pipe.send(False)
    medians = {library: statistics.median(values) for library, values in seconds.items()}
    peer = min((TORCH, CHANNELS_LAST), key=medians.get)
    ratios = [a / b for a, b in zip(seconds[OURS], seconds[peer])]
    row = {"model": name, **MODELS[name], "detections": len(found[OURS][0]), "seconds": seconds, "median": medians, "faster_peer": peer,
           "ratio": {"of_medians": medians[OURS] / medians[peer], "least": min(ratios), "most": max(ratios)}}
    print(f"{name}: {medians}, ratio {row['ratio']['of_medians']:.2f}", file=sys.stderr)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="timed detections of each (default: 7)")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS, help="which (default: all)")
    args = parser.parse_args()
    record("detect", {
        "question": "seconds for one detection in an image of 384 x 512 pixels, from bytes to boxes, float32",
        "rows": [measure(name, args.runs) for name in args.models],
    }, ("torch", "torchvision", "numba", "pillow"))


def markdown(document):
    """The README's table."""
    rows = [(f"`{row['model']}`" + (f" at {row['min_size']} × 800" if "min_size" in row else ""),
             *(f"{row['median'][library]:.2f} s ({min(values):.2f} to {max(values):.2f})"
               for library, values in ((OURS, row["seconds"][OURS]), (row["faster_peer"], row["seconds"][row["faster_peer"]]))),
             f"{row['ratio']['of_medians']:.2f}") for row in document["rows"]]
    return table(("one detection, median (least to most)", OURS, TORCH, "ratio of medians"), rows)


if __name__ == "__main__":
    main()

"""How long one detection takes, against torchvision on the same processor.

Same image, same weights (random ones that behave like trained ones, see ``harness/sane.py``), float32, from an array of bytes to boxes.
Each library runs in a process of its own with its default threads: minicnn on its default backend, Numba's; torch in both memory formats
that it documents for processors, of which the faster counts. The detections are compared before anything is timed; then the libraries
take turns, one detection each.

    python bench/detect.py
"""

import argparse
import contextlib
import statistics
import sys
import time

import harness  # noqa: F401  puts bench/harness on the path
from ladder import match
from record import record, table
from spread import ratio_range
from timed_detectors import MODELS, photograph, tuned_detector
from turns import ask_all, end_all, interleaved, start

OURS, TORCH, CHANNELS_LAST = "minicnn", "torchvision", "torchvision, channels last"


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


@contextlib.contextmanager
def contestant(library, name):
    """A library that answers "show" with (boxes, scores, labels) and "time" with the seconds of a detection."""
    image, model = photograph(), tuned_detector(name)
    detect = our_detector(model) if library == OURS else torch_detector(model, library == CHANNELS_LAST)

    def seconds():
        began = time.perf_counter()
        detect(image)
        return time.perf_counter() - began
    yield {"show": lambda: detect(image), "time": seconds}


def measure(name, runs):
    """The row of one model."""
    workers = start({library: (contestant, library, name) for library in (OURS, TORCH, CHANNELS_LAST)})
    found = ask_all(workers, "show")                                    # also warms up
    for library in (TORCH, CHANNELS_LAST):
        _, _, alone = match(found[OURS], found[library])
        if alone or not len(found[OURS][0]):
            sys.exit(f"{name}: {alone} detections of {OURS} and {library} differ")
    seconds = interleaved(workers, runs, name)
    end_all(workers)
    medians = {library: statistics.median(values) for library, values in seconds.items()}
    peer = min((TORCH, CHANNELS_LAST), key=medians.get)
    row = {"model": name, **MODELS[name], "detections": len(found[OURS][0]), "seconds": seconds, "median": medians, "faster_peer": peer,
           "ratio": ratio_range(seconds[OURS], seconds[peer])}
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
    """The published table."""
    rows = [(f"`{row['model']}`" + (f" at {row['min_size']} × 800" if "min_size" in row else ""),
             *(f"{row['median'][library]:.2f} s ({min(values):.2f} to {max(values):.2f})"
               for library, values in ((OURS, row["seconds"][OURS]), (row["faster_peer"], row["seconds"][row["faster_peer"]]))),
             f"{row['ratio']['of_medians']:.2f}") for row in document["rows"]]
    return table(("one detection, median (least to most)", OURS, TORCH, "ratio of medians"), rows)


if __name__ == "__main__":
    main()

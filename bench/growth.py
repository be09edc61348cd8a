"""How time and memory grow: with pixels, proposals, boxes, images in a batch, threads, and images of many shapes.

Time: the steps of VGG16's convolutions on squares of 200 to 2000 pixels, the box head and RoIAlign on 10 to 2000 proposals,
non-maximum suppression of 250 to 16 000 boxes, batches of 1 to 8 images; each on one thread and on two, by both backends of the
engine, in a process each. Medians of interleaved rounds; the exponent b of time = a * work^b is fitted to the upper part of each
series, where a step takes longer than its start. Memory: the peak of a process beyond weights and arena, for each size; and the
engine's memory after twenty images of twenty shapes.

    python bench/growth.py
"""

import argparse
import contextlib
import itertools
import statistics
import sys
import time
from collections import defaultdict

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
from record import peak_bytes, record, table
from turns import alone

SIDES = (200, 300, 450, 700, 1000, 1400, 2000)
ROIS = (10, 30, 100, 300, 1000, 2000)
BOXES = (250, 1000, 4000, 16000)
BATCHES = (1, 2, 4, 8)
SHAPES = [(600, 600 + 20 * i) if i % 2 else (600 + 20 * i, 600) for i in range(20)]         # as resized: 600 x 600 to 600 x 980
LIMIT = 1.1             # of the exponent: the arithmetic's 1, and a margin for noise
MIB = 2**20
MUST_MIB, MUST_SHARE = 700, 1.1


class Stopwatch:
    """Seconds of calls and of plans' steps, by series and size."""

    def __init__(self):
        self.seconds = defaultdict(lambda: defaultdict(list))

    def call(self, series, size, function, *args):
        """Time one call."""
        began = time.perf_counter()
        function(*args)
        self.seconds[series][size].append(time.perf_counter() - began)

    def steps(self, size):
        """For ``fast.run.observed``: time every step of a plan, in a series of its own."""
        @contextlib.contextmanager
        def observer(network, plan, n):
            last = time.perf_counter()

            def after(step):
                nonlocal last
                self.seconds[f"backbone.{step.name}"][size].append(time.perf_counter() - last)
                last = time.perf_counter()
            yield after
        return observer

    def medians(self):
        """{series: {size: seconds}}."""
        return {series: {size: statistics.median(values) for size, values in sizes.items()} for series, sizes in self.seconds.items()}


def timed_series(rounds):
    """{series: {size: seconds}} in this process, medians of interleaved rounds."""
    import minicnn

    rng = np.random.default_rng(0)
    model = minicnn.build("fasterrcnn_vgg16", rng=rng)
    arrays = draw_inputs(rng)
    one_round(Stopwatch(), model, arrays)           # compiles and plans
    watch = Stopwatch()
    for _ in range(rounds):
        one_round(watch, model, arrays)
    return watch.medians()


def draw_inputs(rng):
    """{series: {size: arguments}}."""
    images = {side: rng.random((1, 3, side, side), np.float32) for side in SIDES}
    batches = {n: rng.random((n, 3, 400, 400), np.float32) for n in BATCHES}
    pooled = {n: rng.random((n, 7, 7, 512), np.float32).transpose(0, 3, 1, 2) for n in ROIS}
    proposals = {n: random_boxes(rng, n, 800) for n in ROIS}
    boxes = {n: (random_boxes(rng, n, 4000), rng.random(n, np.float32)) for n in BOXES}
    features = rng.random((50, 50, 512), np.float32).transpose(2, 0, 1)
    return {"backbone": images, "batch": batches, "box head": pooled, "nms": {n: (*pair, 0.7) for n, pair in boxes.items()},
            "roi_align": {n: (features, proposals[n], 7, 1 / 16, 2) for n in ROIS}}


def one_round(watch, model, arrays):
    """Time every size of every series once."""
    from minicnn.detection.boxes import nms
    from minicnn.detection.roi_align import roi_align
    from minicnn.fast.run import observed
    from minicnn.functional.dispatch import run

    for side, x in arrays["backbone"].items():
        with observed(watch.steps(side * side)):
            watch.call("backbone", side * side, run, model.backbone, x)
    for n, x in arrays["batch"].items():
        watch.call("batch", n, run, model.backbone, x)
    for n, x in arrays["box head"].items():
        watch.call("box head", n, run, model.roi_heads.box_head, x)
        watch.call("roi_align", n, roi_align, *arrays["roi_align"][n])
    for n, arguments in arrays["nms"].items():
        watch.call("nms", n, nms, *arguments)


def random_boxes(rng, n, side):
    """(n, 4) float32 boxes with corners anywhere in a square, and sides of 16 to 200 pixels."""
    corner = rng.random((n, 2)) * side
    return np.concatenate([corner, corner + 16 + 184 * rng.random((n, 2))], axis=1).astype(np.float32)


def memory_of(side):
    """Peak bytes of this process after one image's convolutions, and the bytes of its plan, weights and image."""
    import minicnn
    from minicnn.fast.plan import compile
    from minicnn.functional.dispatch import run

    model = minicnn.build("fasterrcnn_vgg16", rng=np.random.default_rng(0))
    x = np.zeros((1, 3, side, side), np.float32)
    plan = compile(model.backbone, x.shape)
    accounted = plan.weight_bytes + 4 * plan.arena_size + x.nbytes + sum(array.nbytes for _, array in model.named_arrays())
    del plan
    run(model.backbone, x)
    return {"peak": peak_bytes(), "plan_and_weights": accounted}


def memory_of_shapes():
    """The engine's bytes for the whole detector at 600 x 800, and after twenty images of other shapes."""
    import minicnn
    from minicnn.fast import run as engine

    model = minicnn.build("fasterrcnn_vgg16", rng=np.random.default_rng(0), min_size=600, max_size=1000, rpn_post_nms_top_n_test=300)

    def held():
        return sum(finished.nbytes for finished in engine.finished())
    model([np.zeros((3, 600, 800), np.float32)])
    first, peak_first = held(), peak_bytes()
    for h, w in SHAPES:
        model([np.zeros((3, h, w), np.float32)])
    return {"at_600x800": first, "after_twenty_shapes": held(), "peak_first": peak_first, "peak_after": peak_bytes()}


def in_process(backend, threads, function, *arguments):
    """What a function returns in a new process, on a backend and a number of threads."""
    return alone(function, *arguments, MINICNN_BACKEND=backend, MINICNN_NUM_THREADS=str(threads))


def exponent(sizes):
    """b of time = a * size^b, by least squares of the upper half of a series."""
    points = sorted((float(size), seconds) for size, seconds in sizes.items())
    points = points[len(points) // 2 - (len(points) % 2 == 0):]
    return float(np.polyfit(*np.log(np.array(points)).T, 1)[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default: 5)")
    args = parser.parse_args()
    rows, memory = [], []
    for backend, threads in itertools.product(("numpy", "numba"), (1, 2)):
        for series, sizes in in_process(backend, threads, timed_series, args.rounds).items():
            rows.append({"backend": backend, "threads": threads, "series": series, "seconds": sizes, "exponent": exponent(sizes)})
            print(f"{backend}, {threads} threads, {series}: exponent {rows[-1]['exponent']:.2f}", file=sys.stderr)
    for backend in ("numpy", "numba"):
        sides = {side: in_process(backend, 2, memory_of, side) for side in (400, 1000, 2000)}
        memory.append({"backend": backend, "sides": sides, "shapes": in_process(backend, 2, memory_of_shapes)})
    record("growth", {"question": "how time and memory grow", "limit": LIMIT, "rows": rows,
                      "faster_than_arithmetic": [row for row in rows if row["exponent"] > allowed(row)],
                      "memory": memory, "must": {"plan_mib": MUST_MIB, "after_twenty_shapes": MUST_SHARE}}, ("numba", "scipy"))


def allowed(row):
    """The largest exponent of a row; in suppression every pair of boxes may have to be compared."""
    return 2 if row["series"] == "nms" else LIMIT


def markdown(document):
    """The published tables."""
    series = ["backbone", "batch", "box head", "roi_align", "nms"]
    cases = sorted({(row["backend"], row["threads"]) for row in document["rows"]})
    found = {(row["backend"], row["threads"], row["series"]): row for row in document["rows"]}
    names = {"backbone": "pixels, VGG16's convolutions", "batch": "images in a batch", "box head": "proposals, box head",
             "roi_align": "proposals, RoIAlign", "nms": "boxes, suppression"}
    rows = [(names[name], *(f"{found[(*case, name)]['exponent']:.2f}" for case in cases)) for name in series]
    steps = [row for row in document["rows"] if row["series"].startswith("backbone.")]
    worst = max(steps, key=lambda row: row["exponent"])
    lines = [table(("time grows with", *(f"{backend}, {threads} thread{'s' * (threads > 1)}" for backend, threads in cases)), rows), ""]
    lines.append(f"as the power of their number. The steepest single step of {len(steps)} has {worst['exponent']:.2f}; "
                 f"{len(document['faster_than_arithmetic'])} series grow faster than their arithmetic (1, and {document['limit']} with "
                 "room for noise; boxes are compared in pairs: 2).")
    for backend in document["memory"]:
        shapes = backend["shapes"]
        rest = [(figures["peak"] - figures["plan_and_weights"]) / MIB for figures in backend["sides"].values()]
        lines.append(f"Memory, {backend['backend']}: transformed weights and arena of `fasterrcnn_vgg16` at 600 × 800 take "
                     f"{shapes['at_600x800'] / MIB:.0f} MiB (at most {MUST_MIB}), {shapes['after_twenty_shapes'] / MIB:.0f} MiB after 20 "
                     f"images of twenty shapes (at most {MUST_SHARE:.1f} times as much); beside weights, plan and image the process "
                     f"holds {', '.join(f'{mib:.0f}' for mib in rest)} MiB at 400², 1000² and 2000² pixels.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

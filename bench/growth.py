"""How time and memory grow: with pixels, proposals, boxes, images in a batch, threads, and images of many shapes.

Time: the steps of VGG16's convolutions on squares of 200 to 2000 pixels, the box head and RoIAlign on 10 to 2000 proposals,
non-maximum suppression of 250 to 16 000 boxes, batches of 1 to 8 images; each on one thread and on two, by both backends of the
engine, in a process each. Medians of interleaved rounds; the exponent b of time = a * work^b is fitted over the upper part of each
series, where a step takes longer than its start. Memory: what a process holds at most beside weights and arena, for each size; and the
engine's memory after twenty images of twenty shapes.

    python bench/growth.py
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
from record import record, table

SIDES = (200, 300, 450, 700, 1000, 1400, 2000)
ROIS = (10, 30, 100, 300, 1000, 2000)
BOXES = (250, 1000, 4000, 16000)
BATCHES = (1, 2, 4, 8)
SHAPES = [(600, 600 + 20 * i) if i % 2 else (600 + 20 * i, 600) for i in range(20)]         # as resized: 600 x 600 to 600 x 980
LIMIT = 1.1             # exponent: the arithmetic's 1, and room for noise
MIB = 2**20
MUST_MIB, MUST_SHARE = 700, 1.1


def timed_series(rounds):
    """{series: {size: seconds}} in this process, medians of interleaved rounds."""
    import minicnn
    from minicnn.detection.boxes import nms
    from minicnn.detection.roi_align import roi_align
    from minicnn.fast.run import observed
    from minicnn.functional.dispatch import run

    rng = np.random.default_rng(0)
    model = minicnn.build("fasterrcnn_vgg16", rng=rng)
    seconds = defaultdict(lambda: defaultdict(list))
    now = time.perf_counter

    def watch(size):
        class Watch:
            def __init__(self, network, plan, n):
                pass

            def __enter__(self):
                self.last = now()
                return self.observe

            def observe(self, step):
                seconds[f"backbone.{step.name}"][size].append(now() - self.last)
                self.last = now()

            def __exit__(self, *exception):
                pass
        return Watch

    def clock(series, size, function, *args):
        start = now()
        function(*args)
        seconds[series][size].append(now() - start)

    images = {side: rng.random((1, 3, side, side), np.float32) for side in SIDES}
    batches = {n: rng.random((n, 3, 400, 400), np.float32) for n in BATCHES}
    pooled = {n: rng.random((n, 7, 7, 512), np.float32).transpose(0, 3, 1, 2) for n in ROIS}
    proposals = {n: random_boxes(rng, n, 800) for n in ROIS}
    many = {n: (random_boxes(rng, n, 4000), rng.random(n, np.float32)) for n in BOXES}
    features = rng.random((50, 50, 512), np.float32).transpose(2, 0, 1)
    for number in range(rounds + 1):
        if number == 1:
            seconds.clear()             # the first round compiled and planned
        for side in SIDES:
            with observed(watch(side * side)):
                clock("backbone", side * side, run, model.backbone, images[side])
        for n in BATCHES:
            clock("batch", n, run, model.backbone, batches[n])
        for n in ROIS:
            clock("box head", n, run, model.roi_heads.box_head, pooled[n])
            clock("roi_align", n, roi_align, features, proposals[n], 7, 1 / 16, 2)
        for n in BOXES:
            clock("nms", n, nms, *many[n], 0.7)
    return {series: {size: statistics.median(values) for size, values in sizes.items()} for series, sizes in seconds.items()}


def random_boxes(rng, n, side):
    """(n, 4) float32: places anywhere in a square, sides of 16 to 200 pixels."""
    corner = rng.random((n, 2)) * side
    return np.concatenate([corner, corner + 16 + 184 * rng.random((n, 2))], axis=1).astype(np.float32)


def memory_of(side):
    """Bytes that this process holds at most beside the plan, for one image's convolutions."""
    import minicnn
    from minicnn.fast.plan import compile
    from minicnn.functional.dispatch import run

    model = minicnn.build("fasterrcnn_vgg16", rng=np.random.default_rng(0))
    x = np.zeros((1, 3, side, side), np.float32)
    plan = compile(model.backbone, x.shape)
    accounted = plan.weight_bytes + 4 * plan.arena_size + x.nbytes + sum(array.nbytes for _, array in model.named_arrays())
    del plan
    run(model.backbone, x)
    return {"peak": peak(), "plan_and_weights": accounted}


def memory_of_shapes():
    """The engine's bytes for the whole detector at 600 x 800, and after twenty images of other shapes."""
    import minicnn
    from minicnn.fast import run as engine

    model = minicnn.build("fasterrcnn_vgg16", rng=np.random.default_rng(0), min_size=600, max_size=1000, rpn_post_nms_top_n_test=300)

    def held():
        return sum(finished.nbytes for finished in engine.finished())
    model([np.zeros((3, 600, 800), np.float32)])
    first, peak_first = held(), peak()
    for h, w in SHAPES:
        model([np.zeros((3, h, w), np.float32)])
    return {"at_600x800": first, "after_twenty_shapes": held(), "peak_first": peak_first, "peak_after": peak()}


def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def child(backend, threads, *what):
    """What a process of its own answers."""
    environment = {name: value for name, value in os.environ.items() if name not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    environment.update(MINICNN_BACKEND=backend, MINICNN_NUM_THREADS=str(threads))
    answer = subprocess.run([sys.executable, __file__, "--child", *map(str, what)], env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(answer.stdout)


def exponent(sizes):
    """b of time = a * size^b, by least squares over the upper half of a series."""
    points = sorted((float(size), seconds) for size, seconds in sizes.items())
    points = points[len(points) // 2 - (len(points) % 2 == 0):]
    return float(np.polyfit(*np.log(np.array(points)).T, 1)[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        what, *numbers = args.child
        print(json.dumps({"times": timed_series, "memory": memory_of, "shapes": memory_of_shapes}[what](*map(int, numbers))))
        return
    rows, memory, faster = [], [], []
    for backend, threads in itertools.product(("numpy", "numba"), (1, 2)):
        for series, sizes in child(backend, threads, "times", args.rounds).items():
            row = {"backend": backend, "threads": threads, "series": series, "seconds": sizes, "exponent": exponent(sizes)}
            rows.append(row)
            allowed = 2 if series == "nms" else LIMIT           # every pair of boxes may have to be compared
            if row["exponent"] > allowed:
                faster.append(row)
            print(f"{backend}, {threads} threads, {series}: exponent {row['exponent']:.2f}", file=sys.stderr)
    for backend in ("numpy", "numba"):
        sides = {side: child(backend, 2, "memory", side) for side in (400, 1000, 2000)}
        memory.append({"backend": backend, "sides": sides, "shapes": child(backend, 2, "shapes")})
    record("growth", {"question": "how time and memory grow", "limit": LIMIT, "rows": rows, "faster_than_arithmetic": faster,
                      "memory": memory, "must": {"plan_mib": MUST_MIB, "after_twenty_shapes": MUST_SHARE}}, ("numba", "scipy"))


def markdown(document):
    """The README's tables."""
    series = ["backbone", "batch", "box head", "roi_align", "nms"]
    cases = sorted({(row["backend"], row["threads"]) for row in document["rows"]})
    found = {(row["backend"], row["threads"], row["series"]): row for row in document["rows"]}
    names = {"backbone": "pixels, VGG16's convolutions", "batch": "images in a batch", "box head": "proposals, box head",
             "roi_align": "proposals, RoIAlign", "nms": "boxes, suppression"}
    rows = [(names[one], *(f"{found[*case, one]['exponent']:.2f}" for case in cases)) for one in series]
    steps = [row for row in document["rows"] if row["series"].startswith("backbone.")]
    worst = max(steps, key=lambda row: row["exponent"])
    lines = [table(("time grows with", *(f"{backend}, {threads} thread{'s' * (threads > 1)}" for backend, threads in cases)), rows), ""]
    lines.append(f"as the power of their number. The steepest single step of {len(steps)} has {worst['exponent']:.2f}; "
                 f"{len(document['faster_than_arithmetic'])} series grow faster than their arithmetic (1, and {document['limit']} with "
                 "room for noise; boxes are compared in pairs: 2).")
    for one in document["memory"]:
        shapes = one["shapes"]
        rest = [(figures["peak"] - figures["plan_and_weights"]) / MIB for figures in one["sides"].values()]
        lines.append(f"Memory, {one['backend']}: transformed weights and arena of `fasterrcnn_vgg16` at 600 × 800 take "
                     f"{shapes['at_600x800'] / MIB:.0f} MiB (at most {MUST_MIB}), {shapes['after_twenty_shapes'] / MIB:.0f} MiB after 20 "
                     f"images of twenty shapes (at most {MUST_SHARE:.1f} times as much); beside weights, plan and image the process "
                     f"holds {', '.join(f'{mib:.0f}' for mib in rest)} MiB at 400², 1000² and 2000² pixels.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

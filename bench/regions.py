"""How fast the operations around the convolutions run: ours on its three backends, against torchvision, torch and SciPy.

Same arrays, float32. Each engine runs in a process of its own, on as many threads as there are cores; torch once more on its own choice
of threads. Every output is compared with the reference's before anything is timed; then the engines take turns. Ratios are to the faster
of the peers.

    python bench/regions.py
"""

import argparse
import contextlib
import statistics
import sys

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
from record import record, table
from spread import ratio_range
from turns import CORES, ask_all, end_all, interleaved, start, timed, use_all_cores

REFERENCE, OURS = "reference", ("reference", "numpy", "numba")
PEERS = ("torch", "torch, its own threads", "scipy")
TURN = 0.02                     # seconds; what is faster runs several times in a turn
CLUSTERS, ITERATIONS = 8, 10
TASKS = {                       # title, the most that Numba's time may be of the faster peer's, largest relative difference of outputs
    "nms": ("NMS of 10 000 boxes at 0.5, about 1000 stay", 1.0, 0),
    "nms_many_stay": ("NMS of 10 000 boxes at 0.7, about 8000 stay", None, 0),
    "roi_align": ("RoIAlign 1000 × 256 × 7 × 7, 2 × 2 points", 1.0, 1e-5),
    "roi_align_contiguous": ("the same from a map in N C H W memory", None, 1e-5),
    "kmeans": (f"k-means of 100 000 × 2, {CLUSTERS} clusters, {ITERATIONS} iterations", 1.0, 1e-9),
    "top": ("the best 1000 of 163 200 scores", None, 0),
    "decode": ("decoding 1000 boxes of 91 classes", None, 1e-5),
    "softmax": ("softmax of 1000 × 91", None, 1e-5),
    "resize": ("bilinear, 384 × 512 to 600 × 800", None, 1e-5),
}


def inputs(task):
    """The arrays of a task; boxes lie in an image of 800 x 1066 pixels, their centres and sides drawn uniformly."""
    rng = np.random.default_rng(0)

    def draw_boxes(count, least, most):
        centre, half = rng.uniform(0, (1066, 800), (count, 2)), rng.uniform(least, most, (count, 2)) / 2
        return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)

    def distinct(count):
        return ((rng.permutation(count) + 1) / count).astype(np.float32)

    if task == "nms":
        return draw_boxes(10_000, 88, 320), distinct(10_000), 0.5
    if task == "nms_many_stay":
        return draw_boxes(10_000, 32, 128), distinct(10_000), 0.7
    if task.startswith("roi_align"):
        x = rng.standard_normal((200, 268, 256), np.float32).transpose(2, 0, 1)                  # stride 4, channels last
        return np.ascontiguousarray(x) if task == "roi_align_contiguous" else x, draw_boxes(1000, 32, 256)
    if task == "kmeans":
        points = rng.random((100_000, 2))
        return points, points[rng.choice(len(points), CLUSTERS, replace=False)]
    if task == "top":
        return distinct(163_200), 1000
    if task == "decode":
        return rng.standard_normal((1000, 364), np.float32), draw_boxes(1000, 32, 256)
    if task == "softmax":
        return (3 * rng.standard_normal((1000, 91), np.float32),)
    return (rng.standard_normal((1, 3, 384, 512), np.float32),)


def ours():
    from minicnn import functional as F
    from minicnn.compression.kmeans import lloyd
    from minicnn.detection import boxes as B
    from minicnn.detection.roi_align import roi_align

    def align(x, boxes):
        return roi_align(x, boxes, 7, 0.25, 2)
    return {"nms": B.nms, "nms_many_stay": B.nms, "roi_align": align, "roi_align_contiguous": align, "top": B.top, "softmax": F.softmax,
            "kmeans": lambda points, first: lloyd(points, first, ITERATIONS).centers,
            "decode": lambda deltas, boxes: B.decode(deltas, boxes, (10, 10, 5, 5)),
            "resize": lambda x: F.interpolate(x, (600, 800), "bilinear")}


def torchs(threads):
    import torch
    from torchvision import ops
    from torchvision.models.detection._utils import BoxCoder
    if threads:
        torch.set_num_threads(threads)
    to, coder = torch.from_numpy, BoxCoder((10.0, 10.0, 5.0, 5.0))

    def nms(boxes, scores, threshold):
        return ops.nms(to(boxes), to(scores), threshold)

    def align(x, boxes):                        # the memory format of a task is that of its input
        return ops.roi_align(to(x)[None], [to(boxes)], 7, 0.25, 2)
    return {"nms": nms, "nms_many_stay": nms, "roi_align": align, "roi_align_contiguous": align,
            "top": lambda scores, k: torch.topk(to(scores), k).indices, "softmax": lambda logits: torch.softmax(to(logits), dim=1),
            "decode": lambda deltas, boxes: coder.decode(to(deltas), [to(boxes)]),
            "resize": lambda x: torch.nn.functional.interpolate(to(x), (600, 800), mode="bilinear")}


def scipys():
    from scipy.cluster.vq import kmeans2
    return {"kmeans": lambda points, first: kmeans2(points, first, ITERATIONS, minit="matrix")[0]}


@contextlib.contextmanager
def contestant(engine, task):
    """An engine that answers "show" with the output of a task and "time" with the seconds of one run."""
    if engine in OURS:
        from minicnn.functional.dispatch import use
        functions, backend = ours(), use(engine)
    else:
        functions = scipys() if engine == "scipy" else torchs(CORES if engine == "torch" else None)
        backend = contextlib.nullcontext()
    arguments, function = inputs(task), functions[task]

    def run():
        return function(*arguments)
    with backend:
        yield {"show": lambda: np.asarray(run()), "time": timed(run, TURN)}


def measure(task, turns):
    """The row of one task, in new processes, so that no task runs in memory that another one left behind."""
    title, limit, tolerance = TASKS[task]
    engines = (*OURS, *(("scipy",) if task == "kmeans" else PEERS[:2]))
    workers = start({engine: (contestant, engine, task) for engine in engines})
    outputs = ask_all(workers, "show")
    differences = {engine: difference(output, outputs[REFERENCE]) for engine, output in outputs.items()}
    wrong = {engine: value for engine, value in differences.items() if not value <= tolerance}
    if wrong:
        sys.exit(f"{task}: the outputs differ: {wrong}")
    ms = {engine: [1000 * seconds for seconds in found] for engine, found in interleaved(workers, turns, task).items()}
    end_all(workers)
    medians = {engine: statistics.median(values) for engine, values in ms.items()}
    peer = min((engine for engine in engines if engine in PEERS), key=medians.get)
    print(f"{task}: {', '.join(f'{engine} {value:.2f}' for engine, value in medians.items())} ms", file=sys.stderr)
    return {"task": task, "title": title, "size": len(outputs[REFERENCE]), "median_ms": medians, "faster_peer": peer,
            "ratio": {engine: ratio_range(ms[engine], ms[peer]) for engine in OURS}, "limit": limit, "difference": differences, "ms": ms}


def difference(output, expected):
    """max |output - expected| / max |expected|; infinite for another shape."""
    if output.shape != expected.shape:
        return float("inf")
    return float(np.abs(output.astype(np.float64) - expected).max() / np.abs(expected).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=11, help="timed turns of each (default: 11)")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, help="these, and the figures are only printed (default: all)")
    args = parser.parse_args()
    use_all_cores()
    rows = [measure(task, args.turns) for task in args.tasks or TASKS]
    if args.tasks is None:
        record("regions", {"question": f"milliseconds of what surrounds the convolutions, float32, {CORES} threads", "rows": rows},
               ("numba", "torch", "torchvision", "scipy"))
    slow = [f"{row['task']}: {row['ratio']['numba']['of_medians']:.2f}, must be at most {row['limit']}"
            for row in rows if row["limit"] and row["ratio"]["numba"]["of_medians"] > row["limit"]]
    if slow:
        sys.exit("\n".join(["slower than allowed", *slow]))


def markdown(document):
    """The published table."""
    def text(ms):
        return f"{ms:.1f}" if ms >= 1 else f"{ms:.2f}"
    rows = [(row["title"], *(text(row["median_ms"][engine]) for engine in OURS),
             f"{text(row['median_ms'][row['faster_peer']])} ({'SciPy' if row['faster_peer'] == 'scipy' else 'torchvision'})",
             f"{row['ratio']['numba']['of_medians']:.2f}", f"{row['ratio']['numba']['least']:.2f} to {row['ratio']['numba']['most']:.2f}")
            for row in document["rows"]]
    return table(("median milliseconds", *OURS, "the faster peer", "numba / peer", "least to most"), rows)


if __name__ == "__main__":
    main()

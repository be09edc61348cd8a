"""How fast VGG16's features and whole detectors run: ours on its three backends, and the engines that people use.

Same input, same weights, float32, batch 1. Each engine runs in a process of its own (``engines.py``) from files that are made first
(``networks.py``), with as many threads as there are cores, set the way it documents. Every output is held against torch's before anything
is timed; then they take turns, a run each, while the others sleep. Ratios are to the faster of torch's two memory formats, run by run.

    python bench/peers.py --work ../runs/peers
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CORES = len(os.sched_getaffinity(0))
# what a machine or a shell says about kernels and threads would not be the same for all; gone before anything loads a BLAS
for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.pop(_name, None)
os.environ["MINICNN_NUM_THREADS"] = str(CORES)

# light modules only: every engine's process imports this file again, and its memory is measured
import harness  # noqa: E402, F401  puts bench/harness on the path
from engines import ENGINES, OURS, TASKS, TORCH, missing, versions, work  # noqa: E402
from record import RESULTS, ROOT, commit, processor, record, table  # noqa: E402

PAUSE = 0.2                             # seconds before a turn; OpenBLAS keeps the threads of the last one awake for 0.1
LIMITS = {                              # of a row's ratios: at most, and the goal
    ("vgg16_features", "numba"): {"ratio_to_best_torch": (0.8, 0.55), "ratio_to_ncnn": (1.5, 1.0)},
    ("vgg16_features", "numpy"): {"ratio_to_best_torch": (1.5, 1.0)},
    ("fasterrcnn_vgg16", "numba"): {"ratio_to_best_torch": (0.9, 0.6)},
    ("fasterrcnn_vgg16", "numpy"): {"ratio_to_best_torch": (1.5, 1.0)},
    ("fasterrcnn_resnet50_fpn", "numba"): {"ratio_to_best_torch": (1.0, 0.75)},
    ("fasterrcnn_resnet50_fpn", "numpy"): {"ratio_to_best_torch": (1.8, 1.2)},
    ("fasterrcnn_mobilenet_v3_large_320_fpn", "numba"): {"ratio_to_best_torch": (1.5, 1.0)},
    ("fasterrcnn_mobilenet_v3_large_320_fpn", "numpy"): {"ratio_to_best_torch": (3.0, 2.0)},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS, help="which; the rows of others are kept (default: all)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES,
                        help="these and torch alone; the figures are then printed, not recorded (default: all that are installed)")
    parser.add_argument("--runs", type=int, default=11, help="timed runs of each, at least 2 (default: 11)")
    parser.add_argument("--work", help="folder to keep the networks' files in, and to find them there again (default: a temporary one)")
    args = parser.parse_args()
    if args.runs < 2:
        parser.error("--runs must be at least 2")
    wanted = [engine for engine in ENGINES if engine in TORCH or args.engines is None or engine in args.engines]
    left_out = {engine: f"{', '.join(missing(engine))} not installed" for engine in wanted if missing(engine)}
    for engine, reason in left_out.items():
        print(f"{engine} is left out: {reason}", file=sys.stderr)
    if left_out.keys() & TORCH:
        sys.exit("torch is what the others are held against. Run pip install 'minicnn[bench]'.")
    document, slow = previous(), []
    made_on = commit()                  # of the code that runs: now, since the files may change while it does
    with tempfile.TemporaryDirectory() as temporary:
        for task in args.tasks:
            folder = Path(args.work or temporary).resolve() / task
            if not folder.exists():
                make_files(task, folder)
            rows = measure(task, folder, [engine for engine in wanted if engine not in left_out], args.runs)
            rows = [{**row, "commit": made_on} for row in rows]
            slow += [f"{task}, {row['engine']}: {name} {row[name]:.2f}, must be at most {must}"
                     for row in rows for name, (must, _) in row["limits"].items() if row[name] > must]
            if args.engines is None:
                save(document, task, rows, left_out)
    if slow:
        sys.exit("\n".join(["slower than it must be", *slow]))


def make_files(task, folder):
    """Run ``networks.py``; torch's exporters say much, which is of interest only when they fail."""
    print(f"{task}: makes the networks' files", file=sys.stderr)
    result = subprocess.run([sys.executable, ROOT / "bench" / "networks.py", task, folder], capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)


def previous():
    """The document so far, so that tasks not run now keep their rows; figures of another machine do not go with ours."""
    machine = {"processor": processor(), "cores": CORES}
    path = RESULTS / "peers.json"
    if not path.exists():
        return {"machine": machine, "left_out": {}, "rows": []}
    document = json.loads(path.read_text())
    if document["machine"] != machine:
        sys.exit(f"{path} is of {document['machine']}, this is {machine}. Move it away first.")
    return document


def save(document, task, rows, left_out):
    """Put a finished task into the document, and write it and its image."""
    kept = [row for row in document["rows"] if row["task"] != task] + rows
    document["rows"] = sorted(kept, key=lambda row: list(TASKS).index(row["task"]))
    document["left_out"][task] = left_out
    packages = {package for row in document["rows"] for package in ENGINES[row["engine"]].packages} - {"minicnn"}
    record("peers", {"question": "milliseconds of one run, float32, batch 1, from the input to NumPy arrays, equal threads",
                     "rows_made_on": sorted({row["commit"] for row in document["rows"]}),
                     **{key: document[key] for key in ("machine", "left_out", "rows")}}, sorted(packages & versions(packages).keys()))
    (RESULTS / "peers.svg").write_text(image(document["rows"]))


def measure(task, folder, engines, runs):
    """The rows of one task, in one tree of processes."""
    engines = [engine for engine in engines if ENGINES[engine].detectors or TASKS[task].features]
    if "numba" in engines:
        first = Process("numba", task, folder)      # compiles what is not yet compiled, which takes memory that no later process needs
        first.ask("show")
        first.end()
    processes = {engine: Process(engine, task, folder) for engine in engines}
    outputs = {engine: process.ask("show") for engine, process in processes.items()}        # warms up, too
    differences = {engine: check(task, engine, output, outputs["torch"]) for engine, output in outputs.items()}
    ms = {engine: [] for engine in engines}
    for _ in range(runs):
        for engine, process in processes.items():
            time.sleep(PAUSE)
            ms[engine].append(round(1000 * process.ask("time"), 3))
    best = min(TORCH, key=lambda engine: statistics.median(ms[engine]))
    rows = []
    for engine, process in processes.items():
        row = {"task": task, "engine": engine, "version": version(engine), "median_ms": statistics.median(ms[engine]),
               "spread": spread(ms[engine]), **ratio("best_torch", ms[engine], ms[best]), "best_torch": best}
        if "ncnn" in ms:
            row |= ratio("ncnn", ms[engine], ms["ncnn"])
        limits = {name: limit for name, limit in LIMITS.get((task, engine), {}).items() if name in row}
        rows.append({**row, **process.end(), "limits": limits, "difference": differences[engine], "ms": ms[engine]})
        print(f"{task}: {engine} {row['median_ms']:.0f} ms, {row['ratio_to_best_torch']:.2f} of {best}, {rows[-1]['peak_mib']:.0f} MiB",
              file=sys.stderr)
    return rows


class Process:
    """An engine's process, and the way to order from it."""

    def __init__(self, engine, task, folder):
        context = multiprocessing.get_context("spawn")
        self.name = f"{engine}, {task}"
        self.orders, far = context.Pipe()
        self.process = context.Process(target=work, args=(engine, task, folder, CORES, far), daemon=True)
        self.process.start()
        far.close()                         # so that the end of the process is noticed
        self.receive()

    def ask(self, order):
        with contextlib.suppress(OSError):  # receive tells of it
            self.orders.send(order)
        return self.receive()

    def end(self):
        facts = self.ask("end")
        self.process.join()
        return facts

    def receive(self):
        try:
            return self.orders.recv()
        except (EOFError, OSError):
            sys.exit(f"{self.name}: its process has ended; its message is above")


def check(task, engine, output, expected):
    """How far an output is from torch's; the end if it is not the same."""
    from ladder import RELATIVE, match, relative
    if TASKS[task].features:
        if output.shape != expected.shape:
            sys.exit(f"{task}: {engine} gives {output.shape}, torch {expected.shape}")
        worst = relative(output, expected)
        if not worst <= RELATIVE:
            sys.exit(f"{task}: {engine} differs from torch by {worst:.1e} of the largest value, more than {RELATIVE}")
        return {"relative": worst}
    pixels, score, alone = match(output, expected)
    if alone or not len(expected[0]):
        sys.exit(f"{task}: of {len(output[0])} detections of {engine} and {len(expected[0])} of torch {alone} have no partner")
    return {"detections": len(expected[0]), "pixels": pixels, "score": score}


def version(engine):
    return ", ".join(f"{package} {number}" for package, number in versions(ENGINES[engine].packages).items())


def ratio(name, ms, others):
    """The ratios run by run: their median and spread."""
    ratios = [a / b for a, b in zip(ms, others)]
    return {f"ratio_to_{name}": statistics.median(ratios), f"ratio_to_{name}_spread": spread(ratios)}


def spread(values):
    low, _, high = statistics.quantiles(values, method="inclusive")
    return {"least": min(values), "lower_quartile": low, "upper_quartile": high, "most": max(values)}


def image(rows):
    """Bars of the ratios, the fastest first."""
    from svg_bars import Bar, bars

    from minicnn.report.svg import COLORS
    ours, torch, others = COLORS[0], COLORS[4], "#bbb"
    groups = {}
    for row in sorted(rows, key=lambda row: row["ratio_to_best_torch"]):
        color = ours if row["engine"] in OURS else torch if row["engine"] in TORCH else others
        ends = row["ratio_to_best_torch_spread"]
        groups.setdefault(row["task"], []).append(Bar(
            ENGINES[row["engine"]].title, row["ratio_to_best_torch"], ends["least"], ends["most"],
            f"{row['ratio_to_best_torch']:.2f} · {seconds(row['median_ms'])}", color))
    return bars({TASKS[task].title.replace("`", ""): groups[task] for task in TASKS if task in groups},
                "time / torch's, faster memory format", "Time of VGG16's features and of whole detectors by engine, over torch's", mark=1)


def seconds(ms):
    return f"{ms / 1000:.2f} s" if ms >= 1000 else f"{ms:.0f} ms"


def markdown(document):
    """The README's tables."""
    parts = []
    for task in TASKS:
        rows = sorted((row for row in document["rows"] if row["task"] == task), key=lambda row: row["median_ms"])
        if not rows:
            continue
        parts.append(table(
            (TASKS[task].title, "median (quartiles)", "over best torch (quartiles)", "at most (goal)", "peak memory"),
            [(ENGINES[row["engine"]].title, with_quartiles(row["median_ms"], row["spread"], seconds),
              with_quartiles(row["ratio_to_best_torch"], row["ratio_to_best_torch_spread"], "{:.2f}".format),
              limit(row, "ratio_to_best_torch"), f"{row['peak_mib']:.0f} MiB") for row in rows]))
        for row in rows:
            if "ratio_to_ncnn" in row["limits"]:
                figure = with_quartiles(row["ratio_to_ncnn"], row["ratio_to_ncnn_spread"], "{:.2f}".format)
                parts.append(f"{ENGINES[row['engine']].title}, over ncnn: {figure}, at most {limit(row, 'ratio_to_ncnn')}.")
    return "\n\n".join(parts)


def with_quartiles(value, ends, text):
    return f"{text(value)} ({text(ends['lower_quartile'])} to {text(ends['upper_quartile'])})"


def limit(row, name):
    """What a ratio must be, and ought to be."""
    return "{} ({})".format(*row["limits"][name]) if name in row["limits"] else ""


if __name__ == "__main__":
    main()

"""How fast VGG16's features and whole detectors run: ours on its three backends, and the engines that people use.

Same input, same weights, float32, batch 1. Each engine runs in a process of its own (``engines.py``) from files that are made first
(``networks.py``), with as many threads as there are cores, set as it documents. Every output is compared with torch's before anything is
timed; then the engines take turns, a run each. Ratios are to the faster of torch's two memory formats, run by run.

    python bench/peers.py --work ../runs/peers
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

# light modules only: every engine's process imports this file again, and its memory is measured
import harness  # noqa: F401  puts bench/harness on the path
from engines import ENGINES, OURS, TASKS, TORCH, contestant, missing, versions
from record import RESULTS, ROOT, commit, processor, record, table
from spread import ratios, text_with_quartiles, with_quartiles
from turns import CORES, Worker, ask_all, end_all, interleaved, start, use_all_cores

LIMITS = {                              # of a row's ratios: (at most, the goal)
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
    args = parsed()
    use_all_cores()
    engines, left_out = installed(args.engines)
    document, slow = previous(), []
    made_on = commit()                  # now: the files may change while the program runs
    with tempfile.TemporaryDirectory() as temporary:
        for task in args.tasks:
            folder = Path(args.work or temporary).resolve() / task
            if not folder.exists():
                make_files(task, folder)
            rows = [{**row, "commit": made_on} for row in measure(task, folder, engines, args.runs)]
            slow += misses(rows)
            if args.engines is None:
                save(document, task, rows, left_out)
    if slow:
        sys.exit("\n".join(["slower than allowed", *slow]))


def installed(names):
    """The engines that can run, and {engine: reason} of those that cannot.

    Args:
        names: of the engines wanted besides torch; None: all.
    """
    wanted = [engine for engine in ENGINES if engine in TORCH or names is None or engine in names]
    left_out = {engine: f"{', '.join(missing(engine))} not installed" for engine in wanted if missing(engine)}
    for engine, reason in left_out.items():
        print(f"{engine} is left out: {reason}", file=sys.stderr)
    if left_out.keys() & TORCH:
        sys.exit("torch is what the others are compared with. Run pip install 'minicnn[bench]'.")
    return [engine for engine in wanted if engine not in left_out], left_out


def parsed():
    """The command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS, help="which; the rows of others are kept (default: all)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES,
                        help="these and torch alone; the figures are then printed, not recorded (default: all that are installed)")
    parser.add_argument("--runs", type=int, default=11, help="timed runs of each, at least 2 (default: 11)")
    parser.add_argument("--work", help="folder that keeps the networks' files for the next time (default: a temporary one)")
    args = parser.parse_args()
    if args.runs < 2:
        parser.error("--runs must be at least 2")
    return args


def misses(rows):
    """A line for each ratio above its limit."""
    return [f"{row['task']}, {row['engine']}: {name} {row[name]:.2f}, must be at most {must}"
            for row in rows for name, (must, _) in row["limits"].items() if row[name] > must]


def make_files(task, folder):
    """Run ``networks.py``; what torch's exporters print is shown only when they fail."""
    print(f"{task}: writing the networks' files", file=sys.stderr)
    result = subprocess.run([sys.executable, ROOT / "bench" / "networks.py", task, folder], capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)


def previous():
    """The document so far, so that tasks not run now keep their rows; it must be of this machine."""
    machine = {"processor": processor(), "cores": CORES}
    path = RESULTS / "peers.json"
    if not path.exists():
        return {"machine": machine, "left_out": {}, "rows": []}
    document = json.loads(path.read_text())
    if document["machine"] != machine:
        sys.exit(f"{path} is of {document['machine']}, this is {machine}. Move it away first.")
    return document


def save(document, task, rows, left_out):
    """Put a finished task into the document, and write it and its drawing."""
    kept = [row for row in document["rows"] if row["task"] != task] + rows
    document["rows"] = sorted(kept, key=lambda row: list(TASKS).index(row["task"]))
    document["left_out"][task] = left_out
    packages = {package for row in document["rows"] for package in ENGINES[row["engine"]].packages} - {"minicnn"}
    record("peers", {"question": "milliseconds of one run, float32, batch 1, from the input to NumPy arrays, equal threads",
                     "rows_made_on": sorted({row["commit"] for row in document["rows"]}),
                     **{key: document[key] for key in ("machine", "left_out", "rows")}}, sorted(packages & versions(packages).keys()))
    (RESULTS / "peers.svg").write_text(drawing(document["rows"]))


def measure(task, folder, engines, runs):
    """The rows of one task."""
    engines = [engine for engine in engines if ENGINES[engine].detectors or TASKS[task].features]
    contestants = {engine: (contestant, engine, task, folder, CORES) for engine in engines}
    if "numba" in engines:
        first = Worker("numba", *contestants["numba"])          # compiles and caches, whose memory no timed process should show
        first.ask("show")
        first.end()
    workers = start(contestants)
    outputs = ask_all(workers, "show")                          # also warms up
    differences = {engine: check(task, engine, output, outputs["torch"]) for engine, output in outputs.items()}
    ms = {engine: [round(1000 * seconds, 3) for seconds in found] for engine, found in interleaved(workers, runs, task).items()}
    facts = ask_all(workers, "facts")
    end_all(workers)
    best = min(TORCH, key=lambda engine: statistics.median(ms[engine]))
    rows = []
    for engine in engines:
        row = times(task, engine, ms, best)
        limits = {name: limit for name, limit in LIMITS.get((task, engine), {}).items() if name in row}
        rows.append({**row, **facts[engine], "limits": limits, "difference": differences[engine], "ms": ms[engine]})
        print(f"{task}: {engine} {row['median_ms']:.0f} ms, {row['ratio_to_best_torch']:.2f} of {best}, "
              f"{facts[engine]['peak_mib']:.0f} MiB", file=sys.stderr)
    return rows


def times(task, engine, ms, best):
    """What a row holds of an engine's times.

    Args:
        task, engine: of the row.
        ms: {engine: milliseconds of each run}.
        best: torch's faster memory format.
    """
    found = with_quartiles("median_ms", ms[engine])
    row = {"task": task, "engine": engine, "version": version(engine), "median_ms": found["median_ms"], "spread": found["median_ms_spread"],
           **with_quartiles("ratio_to_best_torch", ratios(ms[engine], ms[best])), "best_torch": best}
    if "ncnn" in ms:
        row |= with_quartiles("ratio_to_ncnn", ratios(ms[engine], ms["ncnn"]))
    return row


def check(task, engine, output, expected):
    """How far an output is from torch's; exits if it is further than allowed."""
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


def drawing(rows):
    """Bars of the ratios as SVG, the fastest first."""
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
    """The published tables."""
    parts = []
    for task in TASKS:
        rows = sorted((row for row in document["rows"] if row["task"] == task), key=lambda row: row["median_ms"])
        if not rows:
            continue
        parts.append(table(
            (TASKS[task].title, "median (quartiles)", "over best torch (quartiles)", "at most (goal)", "peak memory"),
            [(ENGINES[row["engine"]].title, text_with_quartiles(row["median_ms"], row["spread"], seconds),
              text_with_quartiles(row["ratio_to_best_torch"], row["ratio_to_best_torch_spread"]),
              limit(row, "ratio_to_best_torch"), f"{row['peak_mib']:.0f} MiB") for row in rows]))
        for row in rows:
            if "ratio_to_ncnn" in row["limits"]:
                figure = text_with_quartiles(row["ratio_to_ncnn"], row["ratio_to_ncnn_spread"])
                parts.append(f"{ENGINES[row['engine']].title}, over ncnn: {figure}, at most {limit(row, 'ratio_to_ncnn')}.")
    return "\n\n".join(parts)


def limit(row, name):
    """The most that a ratio may be, and the goal: "0.8 (0.55)"."""
    return "{} ({})".format(*row["limits"][name]) if name in row["limits"] else ""


if __name__ == "__main__":
    main()

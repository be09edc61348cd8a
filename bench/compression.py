"""How much of its accuracy does a detector lose when it is compressed without training, and how much faster does it get?

The detector in ``../shared/weights`` is compressed by five methods to 46 % and to 25 % of its file, and evaluated on the 250 images of
VOC's val list right after the cut and after repair with 300 unlabelled images of trainval; ``tucker`` also after a cut with errors
of the weights alone. All choices of the methods were made on val; test is not touched. Each network is timed on one image in turn with
the original, on both backends. The README's command is run as a whole, for its time and memory, and HOSVD is timed beside
TensorLy's. Every row is written to ``bench/results/compression.json`` the moment it is done, and rows that are there are skipped; networks
and the observation of the images, which all rows share, are kept in a folder:

    python bench/compression.py --runs ../runs/compression
"""

import argparse
import json
import os
import pickle
import pkgutil
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

__path__ = pkgutil.extend_path([], "compression")       # this folder stands first on its programs' path: Python 3.14's own package

for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):         # overrides of BLAS kernels; removed before anything loads a BLAS
    os.environ.pop(_name, None)

import harness  # noqa: E402, F401  puts bench/harness on the path
import numpy as np  # noqa: E402
from record import RESULTS, ROOT, circumstances, commit, table  # noqa: E402

import minicnn  # noqa: E402
from minicnn.compression import DetectorOptions, RankRule, draw_images, reconstruct, tucker2  # noqa: E402
from minicnn.compression.cost_table import cost_table  # noqa: E402
from minicnn.compression.cut import cut  # noqa: E402
from minicnn.compression.observe import observe  # noqa: E402
from minicnn.compression.repair import repair  # noqa: E402
from minicnn.compression.reports import cut_record, totals  # noqa: E402
from minicnn.data import load_annotated  # noqa: E402
from minicnn.data.images import as_image, as_input  # noqa: E402
from minicnn.detection.evaluation.evaluate import evaluate_detector  # noqa: E402
from minicnn.fast.timing.profile import REST, STAGES, measure_steps  # noqa: E402
from minicnn.files import atomic_write  # noqa: E402
from minicnn.functional.dispatch import use  # noqa: E402
from minicnn.weight_files.convert import convert  # noqa: E402

SHARED = ROOT.parent / "shared"
WEIGHTS, DATA = SHARED / "weights" / "fasterrcnn_vgg16_voc.pth", SHARED / "data" / "voc"
RESULT, PACKAGES = RESULTS / "compression.json", ("numba", "scipy", "pillow", "tensorly")
METHODS, SHARES = ("hybrid", "tucker", "statistics", "l1", "random"), (0.46, 0.25)
BY_WEIGHTS = "tucker, errors of the weights"
IMAGES, SEED = 300, 0
MUST_POINTS = 3.0
MUST_WHOLE, MUST_CONVOLUTIONS = 1.4, 1.25
MUST_MINUTES, MUST_MIB = 15, 3072
MUST_TENSORLY = 5
COMMIT = commit()       # of the code that runs: at the start, since the files may change while it does


def read_result():
    """The result file's document; a new one if there is no file."""
    if RESULT.exists():
        return json.loads(RESULT.read_text())
    return {"question": "mean AP on VOC's val and milliseconds of a detector made smaller without training", "pictures": IMAGES, "rows": []}


def complete(document, place, name, make):
    """Make ``place[name]``, unless it is there, and write the document at once.

    Args:
        document: the whole result. place: the document, or one of its rows. name: key. make: function that returns a dict.
    """
    if name not in place:
        place[name] = {**make(), "commit": COMMIT}
        write_result(document)


def write_result(document):
    """Write the result file, with lists of numbers on one line."""
    parts = [document.get(name, {}) for name in ("original", "hosvd", "command", "by_weights")]
    parts += [part for row in document["rows"] for part in (row, row.get("repair", {}), row.get("times", {}))]
    rows_made_on = sorted({part["commit"] for part in parts if part})
    document = {**document, "made": circumstances(PACKAGES), "rows_made_on": rows_made_on}
    text = json.dumps({"made": None, **document}, indent=1, ensure_ascii=False)
    text = re.sub(r"\[[^\[\]{}\"]*\]", lambda numbers: " ".join(numbers[0].split()).replace("[ ", "[").replace(" ]", "]"), text)
    with atomic_write(RESULT) as file:
        file.write(f"{text}\n".encode())
    print(f"{RESULT.relative_to(ROOT)} written", file=sys.stderr)


def original(folder):
    """The original detector, converted once."""
    path = folder / "voc.npz"
    if not path.exists():
        minicnn.save(path, convert(WEIGHTS, config=WEIGHTS.with_suffix(".json"))[0])
    return minicnn.load(path)


def observation(folder):
    """The ``Observation`` of the original on calibration images, made once; all rows share it."""
    path = folder / "observation.pickle"
    if not path.exists():
        model, rng = original(folder), np.random.default_rng(SEED)
        images = draw_images([image.path for image in load_annotated(DATA, "trainval").images], model.transform, rng, IMAGES)
        path.write_bytes(pickle.dumps(observe(model, images, rng)))
    return pickle.loads(path.read_bytes())


def mean_ap(model):
    """Mean AP on val by every rule."""
    data = load_annotated(DATA, "val", model.record["class_names"])
    evaluation = evaluate_detector(model, data)
    if evaluation.problems:
        sys.exit("\n".join(evaluation.problems))
    return {**evaluation.document["mAP"], "pictures": evaluation.document["pictures"]}


def ledger(model):
    """The cost table without layers."""
    return totals(cost_table(model, model.input_shape))


def cut_row(folder, method, share):
    """Measure a network right after the cut; it is saved with the record that repair needs."""
    model, name = original(folder), "tucker" if method == BY_WEIGHTS else method
    options = DetectorOptions(RankRule("storage", share), name, errors="weights" if method == BY_WEIGHTS else "output", seed=SEED)
    observed = observation(folder) if options.errors == "output" else None
    start = time.perf_counter()
    done = cut(model, options, rng=np.random.default_rng(SEED), observation=observed)
    seconds = time.perf_counter() - start
    model.record["surgery"].append(cut_record(done, name, 0))
    minicnn.save(folder / f"{method} {share} cut.npz", model)
    return {"method": method, "share": share, "seconds": seconds, "ledger": ledger(model), "mAP": mean_ap(model)}


def repair_row(folder, row):
    """Measure the same network after repair."""
    model = minicnn.load(folder / f"{row['method']} {row['share']} cut.npz")
    observed, before = observation(folder), original(folder)
    start = time.perf_counter()
    repair(model, before, observed, model.record["surgery"][-1])
    seconds = time.perf_counter() - start
    minicnn.save(folder / f"{row['method']} {row['share']}.npz", model)
    return {"seconds": seconds, "mAP": mean_ap(model)}


def whole_command(folder):
    """Run the README's command: minutes, peak memory, shares that are left."""
    original(folder)
    command = ["compress", "voc.npz", "--method", "hybrid", "--target-storage", "0.46", "--data", DATA, "--split", "trainval", "--repair",
               str(IMAGES), "--out", "small.npz", "--report", "report", "--json", "small.json"]
    start = time.perf_counter()
    process = subprocess.Popen([Path(sys.executable).with_name("minicnn"), *map(str, command)], cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"minicnn compress ended with {os.waitstatus_to_exitcode(status)}")
    document = json.loads((folder / "small.json").read_text())
    return {"minutes": (time.perf_counter() - start) / 60, "peak_mib": usage.ru_maxrss / 1024, "seconds": document["seconds"],
            "left": {name: document["after"][name] / document["before"][name] for name in ("bytes", "convolution_parameters")}}


def stages(model, image):
    """Milliseconds of one detection: in all, of the convolutions' steps, of the box head's, and of the stages between them."""
    _, (total,), steps, between = measure_steps(model, lambda: model([image]), 1, list(STAGES))
    found = {"all": total, "convolutions": 0.0, "box head": 0.0}
    for step in steps:
        found["box head" if step["path"].startswith("roi_heads") else "convolutions"] += step["ms"]
    return {**found, **{{**STAGES, "": REST}[path]: milliseconds for path, milliseconds in between.items()}}


def times_row(folder, row, runs):
    """Time both networks in turn: {backend: {"before" and "after": {stage: milliseconds of each run}}}."""
    image, found = as_input(as_image(load_annotated(DATA, "val").images[0].path)), {}
    for backend in ("numba", "numpy"):
        with use(backend):
            networks = {"before": original(folder), "after": minicnn.load(folder / f"{row['method']} {row['share']}.npz")}
            found[backend] = {name: {} for name in networks}
            for turn in range(runs + 1):
                for name, model in networks.items():
                    for stage, milliseconds in stages(model, image).items():
                        if turn:                                        # the first turn warms up
                            found[backend][name].setdefault(stage, []).append(round(milliseconds, 3))
    return {"milliseconds": found, "picture": list(image.shape[1:])}


def hosvd(runs):
    """Seconds of HOSVD of 512 x 512 x 3 x 3 at half the ranks, ours and TensorLy's in turn, after comparing their results."""
    import tensorly
    from tensorly.decomposition import partial_tucker
    weight = np.random.default_rng(SEED).standard_normal((512, 512, 3, 3))

    def theirs():
        (core, factors), _ = partial_tucker(tensorly.tensor(weight), rank=[256, 256], modes=[0, 1], init="svd", n_iter_max=0)
        return core, *factors
    calls = {"minicnn": lambda: tucker2(weight, (256, 256)), "tensorly": theirs}
    ours, other = (reconstruct(*call()) for call in calls.values())
    if np.abs(ours - other).max() > 1e-6 * np.abs(other).max():
        sys.exit("HOSVD differs from TensorLy's")
    seconds = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {"seconds": seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", required=True, type=Path, help="folder to keep networks in")
    parser.add_argument("--times", type=int, default=9, help="timed detections of each network (default: %(default)s)")
    args = parser.parse_args()
    folder, document = args.runs, read_result()
    folder.mkdir(parents=True, exist_ok=True)
    complete(document, document, "original", lambda: {"mAP": mean_ap(original(folder)), "ledger": ledger(original(folder))})
    for share in SHARES:
        for method in METHODS:
            row = next((row for row in document["rows"] if (row["method"], row["share"]) == (method, share)), None)
            if row is None:
                row = {**cut_row(folder, method, share), "commit": COMMIT}
                document["rows"].append(row)
                write_result(document)
            complete(document, row, "repair", lambda row=row: repair_row(folder, row))
    complete(document, document, "by_weights", lambda: cut_row(folder, BY_WEIGHTS, SHARES[0]))
    for row in document["rows"]:                                        # what is timed comes last, in one go
        complete(document, row, "times", lambda row=row: times_row(folder, row, args.times))
    complete(document, document, "hosvd", lambda: hosvd(5))
    complete(document, document, "command", lambda: whole_command(folder))
    failures = missed(document)
    if failures:
        sys.exit("\n".join(failures))


def faster(row, backend, stage):
    """Median and quartiles of the speed-up of a network over the original, turn by turn."""
    before, after = (row["times"]["milliseconds"][backend][name][stage] for name in ("before", "after"))
    ratios = [a / b for a, b in zip(before, after)]
    return statistics.median(ratios), *statistics.quantiles(ratios, n=4)[::2]


def missed(document):
    """The required figures that are not met, one line each."""
    row, whole = document["rows"][0], document["original"]
    left = {name: row["ledger"][name] / whole["ledger"][name] for name in ("bytes", "convolution_parameters")}
    lost = 100 * (whole["mAP"]["voc07"] - row["repair"]["mAP"]["voc07"])
    seconds = {name: statistics.median(runs) for name, runs in document["hosvd"]["seconds"].items()}
    found = {
        f"{name} left": (value, "at most", 0.46) for name, value in left.items()}
    found |= {
        "points lost": (lost, "at most", MUST_POINTS),
        "whole detector, times faster": (faster(row, "numba", "all")[0], "at least", MUST_WHOLE),
        "convolutions, times faster": (faster(row, "numba", "convolutions")[0], "at least", MUST_CONVOLUTIONS),
        "minutes of the command": (document["command"]["minutes"], "at most", MUST_MINUTES),
        "MiB of the command": (document["command"]["peak_mib"], "at most", MUST_MIB),
        "HOSVD, times faster than TensorLy": (seconds["tensorly"] / seconds["minicnn"], "at least", MUST_TENSORLY),
    }
    return [f"{name}: {value:.2f}, must be {word} {bound}" for name, (value, word, bound) in found.items()
            if (value > bound if word == "at most" else value < bound)]


def markdown(document):
    """The tables for README and benchmarks."""
    whole, command, hybrid = document["original"], document["command"], document["rows"][0]
    backends = hybrid["times"]["milliseconds"]

    def points(mean):
        return f"{100 * mean['voc07']:.1f}"

    def method_cells(row):
        off = [f"{100 * (1 - row['ledger'][name] / whole['ledger'][name]):.1f} %" for name in ("bytes", "convolution_parameters")]
        return row["method"], *off, points(row["mAP"])

    def middle(row, backend, name, stage):
        return f"{statistics.median(row['times']['milliseconds'][backend][name][stage]):.0f}"
    rows = [("original", "", "", points(whole["mAP"]), "", *[""] * len(backends))]
    rows += [(*method_cells(row), points(row["repair"]["mAP"]), *(
        f"{middle(row, backend, 'after', 'all')} of {middle(row, backend, 'before', 'all')} ({faster(row, backend, 'all')[0]:.2f} ×)"
        for backend in backends)) for row in document["rows"]]
    rows.append((*method_cells(document["by_weights"]), "", *[""] * len(backends)))
    stages = []
    for stage in backends["numba"]["before"]:
        median, low, high = faster(hybrid, "numba", stage)
        stages.append((stage, *(middle(hybrid, backend, name, stage) for backend in backends for name in ("before", "after")),
                       f"{median:.2f} × ({low:.2f} to {high:.2f})"))
    seconds = {name: statistics.median(runs) for name, runs in document["hosvd"]["seconds"].items()}
    lost = 100 * (whole["mAP"]["voc07"] - document["rows"][0]["repair"]["mAP"]["voc07"])
    return "\n".join([
        table(("method", "off the file", "off the convolutions", "VOC07, cut", "VOC07, repaired", "ms, Numba", "ms, NumPy"), rows), "",
        table(("`hybrid` at 54 %, ms", "Numba, before", "after", "NumPy, before", "after", "faster by Numba (quartiles)"), stages), "",
        f"VOC07 is the mean AP in points on the {whole['mAP']['pictures']} images of VOC's val list, by which the methods were chosen: "
        f"right after the cut, and after repair with {document['pictures']} unlabelled images; nothing was trained. `hybrid` "
        f"at 54 % loses {lost:.1f} points. The command above took {command['minutes']:.1f} "
        f"minutes and at most {command['peak_mib']:,.0f} MiB. HOSVD of 512 × 512 × 3 × 3 at half the ranks takes "
        f"{seconds['minicnn']:.2f} s, TensorLy's {seconds['tensorly']:.2f} s."])


if __name__ == "__main__":
    main()

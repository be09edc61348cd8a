"""How much of its accuracy does a detector lose when it is compressed without training, and how much faster does it get?

The detector in ``../shared/weights`` is made smaller by five methods, by 54 % and by 75 % of its file, and measured on the 250 images of
VOC's val list right after surgery and after repair with 300 unlabelled images of trainval; ``tucker`` also after surgery with errors
told by the weights alone. val is what all choices of the methods were made on; test is not touched. Each network takes turns with the
original at one image, on both backends. The README's command is run whole, for its time and memory, and HOSVD is timed beside
TensorLy's. Rows are kept in ``bench/results/compression`` and networks in a folder, so that an interrupted bench goes on:

    python bench/compression.py --runs ../runs/compression
"""

import argparse
import json
import os
import pickle
import pkgutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

__path__ = pkgutil.extend_path([], "compression")       # this folder stands first on its programs' path: Python 3.14's own package

for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):         # what a machine says about kernels; gone before anything loads a BLAS
    os.environ.pop(_name, None)

import harness  # noqa: E402, F401  puts bench/harness on the path
import numpy as np  # noqa: E402
from record import RESULTS, ROOT, commit, record, table  # noqa: E402

import minicnn  # noqa: E402
from minicnn.cli.detector_evaluation import look_at  # noqa: E402
from minicnn.compression.channels import readers  # noqa: E402
from minicnn.compression.cost_table import cost_table, matrices  # noqa: E402
from minicnn.compression.hybrid import Options, Rule, decompose  # noqa: E402
from minicnn.compression.observe import observe  # noqa: E402
from minicnn.compression.repair import repair  # noqa: E402
from minicnn.compression.rounds import Options as PruningOptions  # noqa: E402
from minicnn.compression.rounds import Target, prune_to  # noqa: E402
from minicnn.compression.tucker import reconstruct, tucker2  # noqa: E402
from minicnn.data import load_annotated  # noqa: E402
from minicnn.data.images import as_image, as_input  # noqa: E402
from minicnn.detection.evaluation.evaluate import evaluate  # noqa: E402
from minicnn.fast.timing.profile import REST, STAGES, measure_steps  # noqa: E402
from minicnn.functional.dispatch import use  # noqa: E402
from minicnn.weight_files.convert import convert  # noqa: E402

SHARED = ROOT.parent / "shared"
WEIGHTS, DATA = SHARED / "weights" / "fasterrcnn_vgg16_voc.pth", SHARED / "data" / "voc"
ROWS = RESULTS / "compression"
METHODS, SHARES = ("hybrid", "tucker", "statistics", "l1", "random"), (0.46, 0.25)
BY_WEIGHTS = "tucker, errors of the weights"
IMAGES, SEED = 300, 0
MUST_POINTS = 3.0
MUST_WHOLE, MUST_CONVOLUTIONS = 1.4, 1.25
MUST_MINUTES, MUST_MIB = 15, 3072
MUST_TENSORLY = 5
COMMIT = commit()       # of the code that runs: at the start, since the files may change while it does


def kept(name, make):
    """The row of that name, made unless its file is there."""
    path = ROWS / f"{name.replace(' ', '_')}.json"
    if not path.exists():
        ROWS.mkdir(exist_ok=True)
        path.write_text(json.dumps({**make(), "commit": COMMIT}, indent=1) + "\n")
        print(f"{path.relative_to(ROOT)} written", file=sys.stderr)
    return json.loads(path.read_text())


def original(folder):
    """The detector, converted once."""
    path = folder / "voc.npz"
    if not path.exists():
        minicnn.save(path, convert(WEIGHTS, config=WEIGHTS.with_suffix(".json"))[0])
    return minicnn.load(path)


def seen(folder):
    """What the detector did on images, looked at once; and how long that took."""
    path = folder / "seen.pickle"
    if not path.exists():
        model, rng = original(folder), np.random.default_rng(SEED)
        paths = [image.path for image in load_annotated(DATA, "trainval").images]
        images = [as_image(paths[place]) for place in rng.permutation(len(paths))[:IMAGES]]
        start = time.perf_counter()
        found = observe(model, images, matrices(model), rng)
        path.write_bytes(pickle.dumps((found, time.perf_counter() - start)))
    return pickle.loads(path.read_bytes())


def mean_ap(model):
    """On val, every rule."""
    data = load_annotated(DATA, "val", model.record["class_names"])
    images, found, _, problems = look_at("val", model, data)
    if problems:
        sys.exit("\n".join(problems))
    return {**evaluate(images, found).document["mAP"], "pictures": len(images.images)}


def sizes(model):
    return {name: value for name, value in cost_table(model, model.input_shape).items() if name != "layers"}


def cut(folder, method, share):
    """Right after surgery: a row; the network beside it."""
    model, rng = original(folder), np.random.default_rng(SEED)
    watched = None if method == BY_WEIGHTS else seen(folder)[0]
    start = time.perf_counter()
    if method in ("hybrid", "tucker", BY_WEIGHTS):
        surgery = decompose(model, Rule("storage", share), Options(low=Options().low if method == "hybrid" else 0), rng=rng, seen=watched)
        removed, filters, ranks = surgery.removed, surgery.kept, surgery.ranks()
    else:
        target = Target("bytes", share * cost_table(model, model.input_shape)["bytes"])
        removed, filters = prune_to(model, target, PruningOptions(method, compensate=False), seed=SEED)
        ranks = {}
    seconds = time.perf_counter() - start
    minicnn.save(folder / f"{method} {share} cut.npz", model)
    return {"method": method, "share": share, "seconds": seconds, "ledger": sizes(model), "mAP": mean_ap(model),
            "ranks": {path: list(map(int, one)) for path, one in ranks.items()},
            "filters": {path: one.tolist() for path, one in filters.items()}}


def mend(folder, row):
    """The same after repair."""
    model, (watched, _) = minicnn.load(folder / f"{row['method']} {row['share']} cut.npz"), seen(folder)
    filters = {path: np.array(one) for path, one in row["filters"].items()}
    start = time.perf_counter()
    layers = repair(model, watched, filters, {*row["ranks"], *readers(original(folder), filters)})
    seconds = time.perf_counter() - start
    minicnn.save(folder / f"{row['method']} {row['share']}.npz", model)
    return {"seconds": seconds, "layers": layers, "mAP": mean_ap(model)}


def whole_command(folder):
    """The README's command: minutes, peak memory, what is left."""
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
    """Milliseconds of one detection: all, the convolutions' steps, the box head's, and what lies between."""
    _, (total,), steps, between = measure_steps(model, lambda: model([image]), 1, list(STAGES))
    found = {"all": total, "convolutions": 0.0, "box head": 0.0}
    for step in steps:
        found["box head" if step["path"].startswith("roi_heads") else "convolutions"] += step["ms"]
    return {**found, **{{**STAGES, "": REST}[path]: milliseconds for path, milliseconds in between.items()}}


def times(folder, row, runs):
    """{backend: {"before" and "after": {stage: milliseconds of each run}}}, both networks in turn."""
    image, found = as_input(as_image(load_annotated(DATA, "val").images[0].path)), {}
    for backend in ("numba", "numpy"):
        with use(backend):
            networks = {"before": original(folder), "after": minicnn.load(folder / f"{row['method']} {row['share']}.npz")}
            found[backend] = {name: {} for name in networks}
            for turn in range(runs + 1):
                for name, model in networks.items():
                    for stage, milliseconds in stages(model, image).items():
                        if turn:                                        # the first one warms up
                            found[backend][name].setdefault(stage, []).append(milliseconds)
    return {"milliseconds": found, "picture": list(image.shape[1:])}


def hosvd(runs):
    """Seconds of HOSVD of 512 x 512 x 3 x 3 at half the ranks, ours and TensorLy's in turn, once they are equal."""
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
    folder = args.runs
    folder.mkdir(parents=True, exist_ok=True)
    first = SHARES[0]
    document = {"question": "mean AP on VOC's val and milliseconds of a detector made smaller without training", "pictures": IMAGES,
                "original": kept("original", lambda: {"mAP": mean_ap(original(folder)), "ledger": sizes(original(folder))}),
                "hosvd": kept("hosvd", lambda: hosvd(5)), "command": kept("command", lambda: whole_command(folder)),
                "by_weights": kept(f"{BY_WEIGHTS} {first} cut", lambda: cut(folder, BY_WEIGHTS, first)), "rows": [], "rows_made_on": []}
    for share in SHARES:
        for method in METHODS:
            row = kept(f"{method} {share} cut", lambda method=method, share=share: cut(folder, method, share))
            row["repair"] = kept(f"{method} {share} repaired", lambda row=row: mend(folder, row))
            row["times"] = kept(f"{method} {share} times", lambda row=row: times(folder, row, args.times))
            document["rows"].append(row)
            parts = (*(document[name] for name in ("original", "hosvd", "command", "by_weights")), row, row["repair"], row["times"])
            document["rows_made_on"] = sorted({*document["rows_made_on"], *(one["commit"] for one in parts)})
            record("compression", document, ("numba", "scipy", "pillow", "tensorly"))
    failures = missed(document)
    if failures:
        sys.exit("\n".join(failures))


def faster(row, backend, stage):
    """Median and quartiles of how many times faster a network is than the original, turn by turn."""
    before, after = (row["times"]["milliseconds"][backend][name][stage] for name in ("before", "after"))
    ratios = [a / b for a, b in zip(before, after)]
    return statistics.median(ratios), *statistics.quantiles(ratios, n=4)[::2]


def missed(document):
    """What of the musts is not met, in words."""
    row, whole = document["rows"][0], document["original"]
    left = {name: row["ledger"][name] / whole["ledger"][name] for name in ("bytes", "convolution_parameters")}
    lost = 100 * (whole["mAP"]["voc07"] - row["repair"]["mAP"]["voc07"])
    seconds = {name: statistics.median(some) for name, some in document["hosvd"]["seconds"].items()}
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
    """The README's tables."""
    whole, command, hybrid = document["original"], document["command"], document["rows"][0]
    backends = hybrid["times"]["milliseconds"]

    def points(mean):
        return f"{100 * mean['voc07']:.1f}"

    def about(row):
        off = [f"{100 * (1 - row['ledger'][name] / whole['ledger'][name]):.1f} %" for name in ("bytes", "convolution_parameters")]
        return row["method"], *off, points(row["mAP"])

    def middle(row, backend, name, stage):
        return f"{statistics.median(row['times']['milliseconds'][backend][name][stage]):.0f}"
    rows = [("original", "", "", points(whole["mAP"]), "", *[""] * len(backends))]
    rows += [(*about(row), points(row["repair"]["mAP"]), *(
        f"{middle(row, backend, 'after', 'all')} of {middle(row, backend, 'before', 'all')} ({faster(row, backend, 'all')[0]:.2f} ×)"
        for backend in backends)) for row in document["rows"]]
    rows.append((*about(document["by_weights"]), "", *[""] * len(backends)))
    stages = []
    for stage in backends["numba"]["before"]:
        median, low, high = faster(hybrid, "numba", stage)
        stages.append((stage, *(middle(hybrid, backend, name, stage) for backend in backends for name in ("before", "after")),
                       f"{median:.2f} × ({low:.2f} to {high:.2f})"))
    seconds = {name: statistics.median(some) for name, some in document["hosvd"]["seconds"].items()}
    lost = 100 * (whole["mAP"]["voc07"] - document["rows"][0]["repair"]["mAP"]["voc07"])
    return "\n".join([
        table(("method", "off the file", "off the convolutions", "VOC07, cut", "VOC07, repaired", "ms, Numba", "ms, NumPy"), rows), "",
        table(("`hybrid` at 54 %, ms", "Numba, before", "after", "NumPy, before", "after", "faster by Numba (quartiles)"), stages), "",
        f"VOC07 is the mean AP in points on the {whole['mAP']['pictures']} images of VOC's val list, by which the methods were chosen: "
        f"right after surgery, and after repair with {document['pictures']} unlabelled images; nothing was trained. `hybrid` "
        f"at 54 % loses {lost:.1f} points. The command above took {command['minutes']:.1f} "
        f"minutes and at most {command['peak_mib']:,.0f} MiB. HOSVD of 512 × 512 × 3 × 3 at half the ranks takes "
        f"{seconds['minicnn']:.2f} s, TensorLy's {seconds['tensorly']:.2f} s."])


if __name__ == "__main__":
    main()

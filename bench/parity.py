"""How far ours is from torchvision: every rung from an image to its boxes, and the real detector on 500 photographs, by each backend.

The ladder (``tests/detection/ladder.py``) takes all five detectors with random weights that behave like trained ones, at their default
sizes, over four photographs of shapes on which ports fail. The real detector is held against what torchvision found, recorded beside its
weights; each detection that one side alone has must have come close to a threshold. Rows are kept in a folder, so that an interrupted run
goes on:

    python bench/parity.py --runs ../runs/parity
"""

import argparse
import json
import sys
from pathlib import Path

import harness  # noqa: F401  puts bench/harness on the path
from ladder import DETECTORS, differences, images  # noqa: E402
from record import commit, record, table
from sane import sane_detector  # noqa: E402
from torch_twins import torch_rungs, torch_twin  # noqa: E402
from voc import WEIGHTS, compare, recorded  # noqa: E402

from minicnn.functional.dispatch import BACKENDS, use  # noqa: E402
from minicnn.weight_files.convert import convert  # noqa: E402

MUST = 0.995            # of torchvision's detections matched
COMMIT = commit()       # of the code that runs: at the start, since the files may change while it does


def kept(folder, name, make):
    """The row of that name, made unless its file is there."""
    path = Path(folder, f"{name}.json")
    if not path.exists():
        row = {**make(), "commit": COMMIT}
        path.write_text(json.dumps(row))
        print(name, {key: value for key, value in row.items() if key in ("recorded", "matched", "found")}, file=sys.stderr)
    return json.loads(path.read_text())


def ladder_rows(architecture, image):
    """One image's figures by each backend."""
    with use("reference"):
        model = sane_detector(architecture, image)
    theirs = torch_rungs(torch_twin(model), [image])
    rows = {}
    for backend in BACKENDS:
        with use(backend):
            worst, unmatched = differences(model, [image], theirs)
        rows[backend] = {"worst": worst, "unmatched": unmatched, "found": len(theirs["found"][0][0])}
    return rows


def photograph_rows(model, name, theirs):
    """One photograph's figures by each backend."""
    rows = {}
    for backend in BACKENDS:
        with use(backend):
            rows[backend] = compare(model, name, theirs)
    return rows


def total(rows):
    """The figures of all photographs together."""
    totals = {key: sum(row[key] for row in rows) for key in ("recorded", "matched", "extra")}
    reasons = [reason for row in rows for reason in row["reasons"]]
    return {"photographs": len(rows), **totals, "matched_share": totals["matched"] / totals["recorded"],
            "worst_pixels": max(row["pixels"] for row in rows), "worst_score": max(row["score"] for row in rows),
            "reasons": reasons, "unexplained": reasons.count(None)}


def worst_of(rungs):
    """{rung: largest difference} over rows; a plan shows fewer rungs than the reference."""
    return {rung: max(row["worst"].get(rung, 0) for row in rungs) for row in rungs for rung in row["worst"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", required=True, help="folder to keep rows in")
    args = parser.parse_args()
    Path(args.runs).mkdir(parents=True, exist_ok=True)
    rungs, commits = [], set()
    for architecture in DETECTORS:
        for name, image in images().items():
            rows = kept(args.runs, f"{architecture} {name}", lambda: ladder_rows(architecture, image))
            commits.add(rows.pop("commit"))
            rungs += [{"model": architecture, "picture": name, "backend": backend, **row} for backend, row in rows.items()]
    model, _ = convert(WEIGHTS, config=WEIGHTS.with_suffix(".json"))
    photographs = {}
    for name, theirs in recorded().items():
        photographs[name] = kept(args.runs, f"voc {name}", lambda: photograph_rows(model, name, theirs))
        commits.add(photographs[name].pop("commit"))

    real = {backend: total([row[backend] for row in photographs.values()]) for backend in BACKENDS}
    record("parity", {
        "question": "the worst difference between minicnn and torchvision on every rung; maps relative to the largest value",
        "rows_made_on": sorted(commits),
        "worst": {architecture: worst_of([row for row in rungs if row["model"] == architecture]) for architecture in DETECTORS},
        "rows": rungs, "real_detector": real,
    }, ("torch", "torchvision", "pillow", "numba", "scipy"))
    if any(one["matched"] < MUST * one["recorded"] or one["unexplained"] for one in real.values()) or \
            any(sum(row["unmatched"].values()) for row in rungs):
        sys.exit("ours differs from torchvision by more than it may")


def markdown(document):
    """The README's table."""
    rows = []
    for architecture, worst in document["worst"].items():
        maps = max(value for rung, value in worst.items() if "map" in rung)
        answers = max(worst["objectness"], worst["deltas"])
        found = sum(row["found"] for row in document["rows"] if row["model"] == architecture and row["backend"] == "numba")
        rows.append((f"`{architecture}`", f"{worst['input']:.0e}", f"{maps:.0e}", f"{answers:.0e}", f"{worst['anchors, px']:.0f}",
                     f"{worst['pooled']:.0e}", f"{worst['boxes, px']:.4f}", f"{worst['scores']:.0e}", found))
    headers = ("worst of four photographs", "input", "maps", "RPN", "anchors, px", "pooled", "boxes, px", "scores", "detections")
    photographs = document["real_detector"]["numba"]["photographs"]
    lines = [table(headers, rows), "", f"Worst of the three backends. The real detector on {photographs} photographs of VOC2007's test "
             "split; a detection is matched if its label is the same, its box within 0.05 pixels and its score within 0.001:", ""]
    for backend, real in document["real_detector"].items():
        explained = len(real["reasons"]) - real["unexplained"]
        alone = "none is without a partner" if not real["reasons"] else (
            f"of the {len(real['reasons'])} without a partner {explained} came within 0.001 of a threshold")
        lines.append(f"* {backend}: {real['matched']:,} of torchvision's {real['recorded']:,} matched "
                     f"({100 * real['matched_share']:.2f} %), {real['extra']} of ours beside them; {alone}; those matched differ by at "
                     f"most {real['worst_pixels']:.3f} pixels and {real['worst_score']:.5f} of score (the record has two and five digits).")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

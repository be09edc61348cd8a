"""How far minicnn is from torchvision: at every stage from an image to its boxes, and for the real detector on 500 photographs.

The stages (``harness/ladder.py``) are compared for all five detectors with random weights that behave like trained ones, at their default
sizes, on four photographs of shapes on which ports fail. The real detector is compared with what torchvision found, recorded beside its
weights; each detection that one side alone has must have come close to a threshold. All on each backend. Rows are kept in a folder, so
that an interrupted run goes on:

    python bench/parity.py --runs ../runs/parity
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import harness  # noqa: F401  puts bench/harness on the path
from ladder import DETECTORS, differences, images
from record import commit, kept, record, table
from sane import sane_detector
from torch_twins import torch_rungs, torch_twin
from voc import WEIGHTS, compare, recorded

from minicnn.functional.dispatch import BACKENDS, use
from minicnn.weight_files.convert import convert

MUST = 0.995            # of torchvision's detections matched


def ladder_rows(architecture, image):
    """An image's figures on each backend."""
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
    """A photograph's figures on each backend."""
    rows = {}
    for backend in BACKENDS:
        with use(backend):
            rows[backend] = compare(model, name, theirs)
    return rows


def total(rows):
    """The figures of all photographs together, on one backend."""
    totals = {key: sum(row[key] for row in rows) for key in ("recorded", "matched", "extra")}
    reasons = [reason for row in rows for reason in row["reasons"]]
    return {"photographs": len(rows), **totals, "matched_share": totals["matched"] / totals["recorded"],
            "worst_pixels": max(row["pixels"] for row in rows), "worst_score": max(row["score"] for row in rows),
            "reasons": reasons, "unexplained": reasons.count(None)}


def worst_of(rungs):
    """{rung: largest difference} over rows; a plan has fewer rungs than the reference."""
    return {rung: max(row["worst"].get(rung, 0) for row in rungs) for row in rungs for rung in row["worst"]}


def compare_rungs(folder, made_on):
    """A row for each detector, image and backend, and the commits they were made on."""
    rungs, commits = [], set()
    for architecture in DETECTORS:
        for name, image in images().items():
            rows = kept(folder, f"{architecture} {name}", made_on, partial(ladder_rows, architecture, image))
            commits.add(rows.pop("commit"))
            rungs += [{"model": architecture, "picture": name, "backend": backend, **row} for backend, row in rows.items()]
    return rungs, commits


def compare_photographs(folder, made_on):
    """{backend: figures of all photographs together}, and the commits they were made on."""
    model, _ = convert(WEIGHTS, config=WEIGHTS.with_suffix(".json"))
    rows, commits = [], set()
    for name, theirs in recorded().items():
        rows.append(kept(folder, f"voc {name}", made_on, partial(photograph_rows, model, name, theirs)))
        commits.add(rows[-1].pop("commit"))
    return {backend: total([row[backend] for row in rows]) for backend in BACKENDS}, commits


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", required=True, help="folder to keep rows in")
    folder = parser.parse_args().runs
    Path(folder).mkdir(parents=True, exist_ok=True)
    made_on = commit()              # now: the files may change while the program runs
    rungs, commits = compare_rungs(folder, made_on)
    real, more = compare_photographs(folder, made_on)
    record("parity", {
        "question": "the worst difference between minicnn and torchvision on every rung; maps relative to the largest value",
        "rows_made_on": sorted(commits | more),
        "worst": {architecture: worst_of([row for row in rungs if row["model"] == architecture]) for architecture in DETECTORS},
        "rows": rungs, "real_detector": real,
    }, ("torch", "torchvision", "pillow", "numba", "scipy"))
    if any(figures["matched"] < MUST * figures["recorded"] or figures["unexplained"] for figures in real.values()) or \
            any(sum(row["unmatched"].values()) for row in rungs):
        sys.exit("minicnn differs from torchvision by more than allowed")


def markdown(document):
    """The published table, and a line for each backend."""
    rows = []
    for architecture, worst in document["worst"].items():
        maps = max(value for rung, value in worst.items() if "map" in rung)
        outputs = max(worst["objectness"], worst["deltas"])
        found = sum(row["found"] for row in document["rows"] if row["model"] == architecture and row["backend"] == "numba")
        rows.append((f"`{architecture}`", f"{worst['input']:.0e}", f"{maps:.0e}", f"{outputs:.0e}", f"{worst['anchors, px']:.0f}",
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
                     f"({100 * real['matched_share']:.2f} %), and {real['extra']} of ours have no partner; {alone}; matched ones differ by "
                     f"at most {real['worst_pixels']:.3f} pixels and {real['worst_score']:.5f} of score (the record has two and five "
                     "digits).")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

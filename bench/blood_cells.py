"""How well, and how fast, does ``minicnn train`` learn to detect blood cells?

The 364 microscope images of BCCD in ``../shared`` show red and white cells and platelets. A detector with the backbone of the one in
``../shared/weights`` and new heads is trained on the 292 of trainval, by the README's command, and measured on the 72 of test, which
were used for nothing else: with ``--choose`` it is trained on train and measured on val, by which the options below were chosen. The
training is kept in a folder, so that an interrupted bench goes on; its time counts from the first start.

    python bench/blood_cells.py --runs ../runs/blood_cells
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import harness  # noqa: F401  puts bench/harness on the path
from record import ROOT, commit, record, table
from voc import METRICS

SHARED = ROOT.parent / "shared"
WEIGHTS, DATA = SHARED / "weights" / "fasterrcnn_vgg16_voc.pth", SHARED / "data" / "bccd"
CONFIG = {"box_batch_size_per_image": 128}      # proposals of an image that the box head is trained on; 512 take four times as long
OPTIONS = ("--config", "cells.json", "--epochs", "8", "--lr", "0.005", "--trainable-backbone-layers", "1", "--cache-features", "features")
MUST, GOAL, MUST_MINUTES = 0.75, 0.88, 60


def minicnn(folder, *args):
    """Run a command in the folder."""
    subprocess.run([Path(sys.executable).with_name("minicnn"), *map(str, args)], cwd=folder, check=True)


def train(folder, split, validation):
    """Run the README's command, unless an earlier run has.

    Returns:
        run: {"commit", "minutes", "peak_mib"};
        trained: the JSON document of ``minicnn train``.
    """
    done = folder / "done.json"
    if not done.exists():
        begun = folder / "begun.json"
        if not begun.exists():
            minicnn(folder, "convert", WEIGHTS, "--config", WEIGHTS.with_suffix(".json"), "-o", "voc.npz")
            (folder / "cells.json").write_text(json.dumps(CONFIG))
            begun.write_text(json.dumps({"commit": commit(), "time": time.time()}))
        command = ["train", "fasterrcnn_vgg16", "--data", DATA, "--split", split, "--init", "voc.npz", *OPTIONS, "--out", "cells.npz"]
        minicnn(folder, *command, "--report", "page", "--validation", validation, "--resume", "--json", "trained.json")
        start = json.loads(begun.read_text())
        done.write_text(json.dumps({
            "commit": start["commit"], "minutes": (time.time() - start["time"]) / 60,
            "peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024}))
    return json.loads(done.read_text()), json.loads((folder / "trained.json").read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", required=True, type=Path, help="folder to keep the training in")
    parser.add_argument("--choose", action="store_true", help="train on train, measure on val, and record nothing")
    args = parser.parse_args()
    split, measured = ("train", "val") if args.choose else ("trainval", "test")
    args.runs.mkdir(parents=True, exist_ok=True)
    run, trained = train(args.runs, split, measured)
    minicnn(args.runs, "evaluate", "cells.npz", "--data", DATA, "--split", measured, "--report", "evaluation", "--json", "evaluation.json")
    if args.choose:
        return
    found = json.loads((args.runs / "evaluation.json").read_text())
    record("blood_cells", {
        "question": "mean AP of a detector of blood cells, and how long it took to train", "rows_made_on": [run["commit"]],
        "config": CONFIG, "options": OPTIONS, "images": trained["images"], "losses": trained["losses"], "minutes": run["minutes"],
        "peak_mib": run["peak_mib"], **{key: found[key] for key in ("pictures", "mAP", "intervals", "per_class", "proposal_recall")}},
        ("numba", "pillow"))
    failures = []
    if found["mAP"]["voc07"] < MUST:
        failures.append(f"mean AP is {found['mAP']['voc07']:.3f}, must be at least {MUST}")
    if run["minutes"] > MUST_MINUTES:
        failures.append(f"training took {run['minutes']:.0f} minutes, must be at most {MUST_MINUTES}")
    if failures:
        sys.exit("\n".join(failures))


def markdown(document):
    """The published table."""
    rows = [(name, row["objects"], *(f"{100 * row[rule]:.1f} %" for rule in METRICS)) for name, row in document["per_class"].items()]
    rows.append(("mean (95 % interval)", sum(row["objects"] for row in document["per_class"].values()), *(
        f"{100 * document['mAP'][rule]:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        for rule, (low, high) in ((rule, document["intervals"][rule]) for rule in METRICS))))
    epochs = len(document["losses"])
    return "\n".join([
        table((f"blood cells, {document['pictures']} test images", "objects", *METRICS.values()), rows), "",
        f"Trained on {document['images']} images for {epochs} epochs in {document['minutes']:.0f} minutes, holding at most "
        f"{document['peak_mib']:,.0f} MiB; the sum of the losses went from {document['losses'][0]['loss']:.3f} to "
        f"{document['losses'][-1]['loss']:.3f}."])


if __name__ == "__main__":
    main()

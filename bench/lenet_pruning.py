"""How small LeNet-5 gets on MNIST, by which criterion, at what loss.

For every seed ``lenet5_caffe`` is trained; then it is compressed to a tenth of its parameters by filter statistics, with and without
linear layers, and by the controls, which remove as many filters of each layer and round as the statistics did. From there each
goes on down a ladder of smaller targets: the frontier.

    python bench/lenet_pruning.py --data ../shared/data/mnist --runs ../runs/lenet_pruning

Every finished row is a file in --runs, so that the program can be stopped and started again. Which rung of the ladder is "the
smallest at 0.3 points" is chosen on the validation pictures; what is published is of the test pictures.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # a process a core: accuracy is measured here, not time

import numpy as np  # noqa: E402
from record import RESULTS, circumstances, record, table  # noqa: E402

import minicnn  # noqa: E402
from minicnn.compression.ledger import ledger  # noqa: E402
from minicnn.compression.recipe import Options, Target, compress, removed_counts  # noqa: E402
from minicnn.data import load_data  # noqa: E402
from minicnn.evaluation import evaluate_classifier  # noqa: E402
from minicnn.files import atomic_write  # noqa: E402
from minicnn.report.svg import COLORS, Series, chart  # noqa: E402
from minicnn.training import Recipe, train  # noqa: E402

SEEDS = range(5)
BUDGET = 0.1
LADDER = (0.05, 0.03, 0.02, 0.015, 0.01, 0.007, 0.005)          # shares of the parameters, one after the other
ARMS = ("statistics", "l1", "fpgm", "random", "statistics, convolutions only")
FINETUNE = {BUDGET: 4, **dict.fromkeys(LADDER, 8)}              # epochs a round; small networks are quick, so they get more
LITERATURE = 3 * 26 + 18 * (3 * 25 + 1) + 284 * 283 + 283 + 283 * 10 + 10     # 3-18-284-283 kept of 20-50-800-500, 0.86 % error


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the MNIST files")
    parser.add_argument("--runs", required=True, help="folder for finished rows and networks")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    args = parser.parse_args()
    runs = Path(args.runs)
    runs.mkdir(parents=True, exist_ok=True)
    with multiprocessing.Pool(args.jobs) as pool:
        pool.starmap(base, [(args.data, runs, seed) for seed in SEEDS], 1)
        for first, arms in (("statistics", ARMS[1:4]), (ARMS[4], ())):          # controls need the statistics' counts
            for some in ((first,), arms):
                pool.starmap(descend, [(args.data, runs, seed, arm, some == arms and first) for arm in some for seed in SEEDS], 1)
    publish(runs)


def base(data, runs, seed):
    """Train the network of a seed."""
    path = runs / f"base-{seed}.npz"
    if path.exists():
        return
    images, labels = load_data(data, "train")
    model = minicnn.build("lenet5_caffe", rng=np.random.default_rng(seed))
    train(model, images, labels, Recipe(epochs=8), seed, checkpoint=f"{path}.checkpoint.npz", resume=True, label=f"seed {seed} epoch")
    row(runs, f"base-{seed}", data, model, [])
    minicnn.save(path, model)


def descend(data, runs, seed, arm, like):
    """Compress to the budget, then down the ladder; ``like``: the arm whose counts are taken."""
    images, labels = load_data(data, "train")
    validation = load_data(data, "validation")
    model = minicnn.load(runs / f"base-{seed}.npz")
    whole = ledger(model, model.input_shape)["parameters"]
    for share in (BUDGET,) if "only" in arm else (BUDGET, *LADDER):
        name = f"{arm}-{share}-{seed}"
        if not (runs / f"{name}.npz").exists():
            options = Options(arm.partition(",")[0], linear="only" not in arm, minimum=1)
            counts = removed_counts(read(runs, f"{like}-{share}-{seed}")["rounds"]) if like else None
            rounds = compress(
                model, Target("parameters", share * whole), options, seed=seed, images=images[:1000], counts=counts,
                finetune=lambda model, number: train(model, images, labels, Recipe(epochs=FINETUNE[share]), [seed, number],
                                                     label=f"{name} round {number} epoch"),
                evaluate=lambda model: evaluate_classifier(model, *validation)["accuracy"])
            row(runs, name, data, model, rounds)
            minicnn.save(runs / f"{name}.npz", model)
        model = minicnn.load(runs / f"{name}.npz")


def row(runs, name, data, model, rounds):
    """Keep what was measured of one network."""
    sizes = ledger(model, model.input_shape)
    kept = [layer["weight"][0] for layer in sizes.pop("layers")]
    accuracies = {split: evaluate_classifier(model, *load_data(data, split))["accuracy"] for split in ("validation", "test")}
    with atomic_write(runs / f"{name}.json") as file:
        document = {**sizes, "kept": kept, **accuracies, "rounds": rounds, "made": circumstances()}
        file.write(json.dumps(document).encode())


def read(runs, name):
    return json.loads((runs / f"{name}.json").read_text())


def publish(runs):
    """Write the result file and the picture from the rows."""
    bases = [read(runs, f"base-{seed}") for seed in SEEDS]
    whole = bases[0]["parameters"]
    arms = {arm: [summary(runs, bases, arm, share) for share in ((BUDGET,) if "only" in arm else (BUDGET, *LADDER))] for arm in ARMS}
    within = [entry for entry in arms["statistics"] if entry["validation_lost"]["mean"] <= 0.3]
    beaten = [entry for entry in arms["statistics"] if entry["error"]["mean"] <= 0.86 and entry["parameters"]["mean"] < LITERATURE]
    commits = sorted({read(runs, path.stem)["made"]["commit"] for path in runs.glob("*-*.json")})
    record("lenet_pruning", {
        "question": "lenet5_caffe on MNIST: accuracy lost against parameters kept, by criterion; means and spreads over seeds",
        "rows_made_on": commits, "seeds": list(SEEDS), "parameters": whole, "finetune_epochs_a_round": FINETUNE,
        "base": {"test": spread([100 * base["test"] for base in bases]), "validation": spread([100 * base["validation"] for base in bases])},
        "arms": arms, "smallest_within_0.3_points_on_validation": within[-1] if within else None,
        "smallest_within_0.86_percent_error": beaten[-1] if beaten else None,
        "literature": {"kept": "3-18-284-283 of 20-50-800-500", "parameters": LITERATURE, "error": 0.86},
    })
    (RESULTS / "lenet_pruning.svg").write_text(picture(arms, whole))


def summary(runs, bases, arm, share):
    """Means and spreads of one arm at one budget."""
    rows = [read(runs, f"{arm}-{share}-{seed}") for seed in SEEDS]

    def lost(split):
        return spread([100 * (base[split] - one[split]) for base, one in zip(bases, rows)])
    return {
        "share": share, "parameters": spread([one["parameters"] for one in rows]), "macs": spread([one["macs"] for one in rows]),
        "kept": ["-".join(map(str, one["kept"])) for one in rows], "test": spread([100 * one["test"] for one in rows]),
        "error": spread([100 - 100 * one["test"] for one in rows]), "test_lost": lost("test"), "validation_lost": lost("validation"),
        "just_pruned": spread([100 * one["rounds"][-1]["accuracy_pruned"] for one in rows]),
    }


def spread(values):
    return {"mean": statistics.mean(values), "least": min(values), "most": max(values), "deviation": statistics.stdev(values)}


def picture(arms, whole):
    """Test accuracy lost against parameters kept, one line a criterion."""
    series = [Series(arm, [100 * entry["parameters"]["mean"] / whole for entry in arms[arm]],
                     [entry["test_lost"]["mean"] for entry in arms[arm]], color, ["dot"] * len(arms[arm]), line=True)
              for arm, color in zip(ARMS[:4], COLORS)]
    return chart(series, "parameters kept, % (logarithmic)", "test accuracy lost, points", "LeNet-5 on MNIST, pruned", log_x=True)


def markdown(document):
    """The README's table."""
    rows = []
    for arm in ARMS:
        for entry in document["arms"][arm]:
            if entry["share"] in (BUDGET, 0.03, 0.01):
                rows.append((arm, f"{100 * entry['parameters']['mean'] / document['parameters']:.1f} %",
                             f"{100 * entry['macs']['mean'] / 2293000:.1f} %",
                             *(f"{entry[key]['mean']:+.2f} ({entry[key]['least']:+.2f} to {entry[key]['most']:+.2f})" for key in ("test_lost",)),
                             f"{entry['error']['mean']:.2f} %"))
    return table(("criterion", "parameters left", "MACs left", "test points lost, mean (least to most of 5 seeds)", "test error"), rows)


if __name__ == "__main__":
    sys.exit(main())

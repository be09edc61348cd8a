"""How small does LeNet-5 get on MNIST by each pruning criterion, and at what loss of accuracy?

For every seed ``lenet5_caffe`` is trained; then it is compressed to a tenth of its parameters by filter statistics, with and
without linear layers, and by the controls, which remove as many filters of each layer and round as the statistics did. From
there each is compressed further, down a ladder of smaller targets; statistics also with at least five filters in each layer, since the
weak cluster of the 20 filters of conv1 may hold 18.

    python bench/lenet_pruning.py --data ../shared/data/mnist --runs ../runs/lenet_pruning

Every finished row is a file in --runs, so that the program can be stopped and started again. The smallest rung of the ladder at 0.3
points, or at the error of the literature's network, is chosen on the validation images; its published figures are of the test images.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # a process a core: accuracy is measured here, not time

import harness  # noqa: E402, F401  puts bench/harness on the path
import numpy as np  # noqa: E402
from record import RESULTS, circumstances, record, table  # noqa: E402

import minicnn  # noqa: E402
from minicnn.compression.cost_table import cost_table  # noqa: E402
from minicnn.compression.rounds import PruningOptions, PruningTarget, prune_in_rounds, removed_counts  # noqa: E402
from minicnn.data import load_data  # noqa: E402
from minicnn.evaluate_classifier import evaluate_classifier  # noqa: E402
from minicnn.files import atomic_write  # noqa: E402
from minicnn.hyperparameters import Hyperparameters  # noqa: E402
from minicnn.report.svg import COLORS, Series, chart  # noqa: E402
from minicnn.train_classifier import train_classifier  # noqa: E402

SEEDS = range(5)
BUDGET = 0.1
LADDER = (0.05, 0.03, 0.02, 0.015, 0.01, 0.007, 0.005)          # shares of the parameters, one after the other
# the floor of five is the default of ``minicnn compress``
ONLY, FIVE = "statistics, convolutions only", "statistics, at least 5 a layer"
CONTROLS = ("l1", "fpgm", "random")                             # they remove as many filters as "statistics" did
ARMS = {
    "statistics": PruningOptions(minimum=1), **{method: PruningOptions(method, minimum=1) for method in CONTROLS},
    ONLY: PruningOptions(minimum=1, linear=False), FIVE: PruningOptions(minimum=5),
}
FINETUNE = {BUDGET: 4, **dict.fromkeys(LADDER, 8)}              # epochs a round; small networks are quick, so they get more
LOSS, ERROR = 0.3, 0.86                                         # points lost; % of error, that of the literature's network:
LITERATURE = 3 * 26 + 18 * (3 * 25 + 1) + 284 * 283 + 283 + 283 * 10 + 10     # 3-18-284-283 kept of 20-50-800-500


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
        for arms in (("statistics", ONLY, FIVE), CONTROLS):
            pool.starmap(descend, [(args.data, runs, seed, arm) for arm in arms for seed in SEEDS], 1)
    publish(runs)


def base(data, runs, seed):
    """Train the network of a seed."""
    path = runs / f"base-{seed}.npz"
    if path.exists():
        return
    images, labels = load_data(data, "train")
    model = minicnn.build("lenet5_caffe", rng=np.random.default_rng(seed))
    train_classifier(model, images, labels, Hyperparameters(epochs=8), seed, checkpoint=f"{path}.checkpoint.npz", resume=True,
          label=f"seed {seed} epoch")
    write_row(runs, f"base-{seed}", data, model, [])
    minicnn.save(path, model)


def descend(data, runs, seed, arm):
    """Compress to the budget, then down the ladder."""
    images, labels = load_data(data, "train")
    validation = load_data(data, "validation")
    model = minicnn.load(runs / f"base-{seed}.npz")
    whole = cost_table(model, model.input_shape)["parameters"]
    for share in budgets(arm):
        name = f"{arm}-{share}-{seed}"
        if not (runs / f"{name}.npz").exists():
            counts = removed_counts(read(runs, f"statistics-{share}-{seed}")["rounds"]) if arm in CONTROLS else None
            hyperparameters, label = Hyperparameters(epochs=FINETUNE[share]), f"{name} round"

            def finetune(model, number, hyperparameters=hyperparameters, label=label):
                return train_classifier(model, images, labels, hyperparameters, [seed, number], label=f"{label} {number} epoch")
            rounds = prune_in_rounds(
                model, PruningTarget("parameters", share * whole), ARMS[arm], seed=seed, images=images[:1000], counts=counts,
                finetune=finetune, evaluate=lambda model: evaluate_classifier(model, *validation)["accuracy"])
            write_row(runs, name, data, model, rounds)
            minicnn.save(runs / f"{name}.npz", model)
        model = minicnn.load(runs / f"{name}.npz")


def budgets(arm):
    """The shares of parameters of an arm; there is no ladder where linear layers stay whole."""
    return (BUDGET,) if arm == ONLY else (BUDGET, *LADDER)


def write_row(runs, name, data, model, rounds):
    """Measure a network and write its row."""
    sizes = cost_table(model, model.input_shape)
    kept = [layer["weight"][0] for layer in sizes.pop("layers")]
    accuracies = {split: evaluate_classifier(model, *load_data(data, split))["accuracy"] for split in ("validation", "test")}
    with atomic_write(runs / f"{name}.json") as file:
        document = {**sizes, "kept": kept, **accuracies, "rounds": rounds, "made": circumstances()}
        file.write(json.dumps(document).encode())


def read(runs, name):
    return json.loads((runs / f"{name}.json").read_text())


def publish(runs):
    """Write the result file and the chart from the rows."""
    bases = [read(runs, f"base-{seed}") for seed in SEEDS]
    whole = {key: bases[0][key] for key in ("parameters", "macs")}
    arms = {arm: [summary(runs, bases, arm, share) for share in budgets(arm)] for arm in ARMS}
    record("lenet_pruning", {
        "question": "lenet5_caffe on MNIST: accuracy lost against parameters kept, by criterion; means and spreads over seeds",
        "rows_made_on": sorted({read(runs, path.stem)["made"]["commit"] for path in runs.glob("*-*.json")}),
        "seeds": list(SEEDS), "finetune_epochs_a_round": FINETUNE, "whole": whole,
        "base": {split: spread([100 * base[split] for base in bases]) for split in ("test", "validation")},
        "arms": arms,
        "chosen_on_validation": {f"at most {LOSS} points lost": smallest(arms, "validation_lost", LOSS),
                                 f"at most {ERROR} % error": smallest(arms, "validation_error", ERROR)},
        "literature": {"kept": "3-18-284-283 of 20-50-800-500", "parameters": LITERATURE, "test_error": ERROR},
    })
    (RESULTS / "lenet_pruning.svg").write_text(loss_chart(arms, whole["parameters"]))


def smallest(arms, figure, most):
    """The share of the smallest rung of each arm whose mean ``figure`` is at most ``most``, or None."""
    return {arm: next((entry["share"] for entry in reversed(entries) if entry[figure]["mean"] <= most), None)
            for arm, entries in arms.items()}


def summary(runs, bases, arm, share):
    """Means and spreads of one arm at one budget."""
    rows = [read(runs, f"{arm}-{share}-{seed}") for seed in SEEDS]

    def lost(split):
        return spread([100 * (base[split] - row[split]) for base, row in zip(bases, rows)])

    def error(split):
        return spread([100 - 100 * row[split] for row in rows])
    return {
        "share": share, "parameters": spread([row["parameters"] for row in rows]), "macs": spread([row["macs"] for row in rows]),
        "kept": ["-".join(map(str, row["kept"])) for row in rows],
        "test": spread([100 * row["test"] for row in rows]),
        "test_error": error("test"), "validation_error": error("validation"),
        "test_lost": lost("test"), "validation_lost": lost("validation"),
        "just_pruned": spread([100 * row["rounds"][-1]["accuracy_pruned"] for row in rows]),
    }


def spread(values):
    return {"mean": statistics.mean(values), "least": min(values), "most": max(values), "deviation": statistics.stdev(values)}


def loss_chart(arms, whole):
    """A chart of test accuracy lost against parameters kept, one line for each criterion."""
    shown = [arm for arm in ARMS if arm != ONLY]
    series = [Series(arm, [100 * entry["parameters"]["mean"] / whole for entry in arms[arm]],
                     [entry["test_lost"]["mean"] for entry in arms[arm]], color, ["dot"] * len(arms[arm]), line=True)
              for arm, color in zip(shown, COLORS)]
    return chart(series, "parameters kept, % (logarithmic)", "test accuracy lost, points", "LeNet-5 on MNIST, pruned", log_x=True, key=True)


def markdown(document):
    """The table for README and benchmarks, and sentences on the best criterion, the smallest network, and the literature's network."""
    arms = document["arms"]
    rows, won, apart = [], [], False
    for share in (BUDGET, 0.03):
        entries = {arm: entry for arm in arms for entry in arms[arm] if entry["share"] == share}
        for arm, entry in entries.items():
            lost = entry["test_lost"]
            rows.append((arm, *(f"{100 * entry[key]['mean'] / document['whole'][key]:.1f} %" for key in ("parameters", "macs")),
                         f"{lost['mean']:.2f} ({lost['least']:.2f} to {lost['most']:.2f})", f"{entry['test_error']['mean']:.2f} %"))
        alike = {arm: entries[arm]["test_lost"]["mean"] for arm in ("statistics", *CONTROLS)}
        apart |= max(alike.values()) - min(alike.values()) > max(entries[arm]["test_lost"]["deviation"] for arm in alike)
        won.append(f"at {100 * share:g} % {min(alike, key=alike.get)} lost least ({min(alike.values()):.2f} points; "
                   f"statistics {alike['statistics']:.2f})")
    base = document["base"]["test"]
    lines = [
        f"`lenet5_caffe` on MNIST gets {base['mean']:.2f} % of the test images right ({base['least']:.2f} to {base['most']:.2f}, "
        f"{len(document['seeds'])} seeds) after 8 epochs. Compressed:", "",
        table(("criterion", "parameters left", "MACs left", "test points lost, mean (least to most)", "test error"), rows), "",
        f"Which criterion won, of the four that remove as many filters of each layer: {'; '.join(won)}. Their differences are "
        f"{'larger' if apart else 'smaller'} than the standard deviation over seeds.", "",
    ]

    for wanted, shares in document["chosen_on_validation"].items():
        for arm in ("statistics", FIVE):
            entry = next(entry for entry in arms[arm] if entry["share"] == shares[arm])
            lines.append(f"* The smallest rung with {wanted} on validation, {arm}: {entry['parameters']['mean']:,.0f} parameters; on test "
                         f"it loses {entry['test_lost']['mean']:.2f} points and has {entry['test_error']['mean']:.3f} % error.")
    lines.append(f"* The literature's {document['literature']['kept']}, {LITERATURE:,} parameters, has {ERROR} % error.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""Write the generated tables: those of ``docs/benchmarks.md``, and the README's one table of headline figures, from ``bench/results``.

    python bench/readme.py [--check] [NAME ...]

With names only these results. --check writes nothing and exits 1 if a page is out of date. A table whose program needs a package that
is not installed (torch) stays as it is.
"""

import argparse
import importlib
import json
import re
import statistics
import sys

import harness  # noqa: F401  puts bench/harness on the path
from record import RESULTS, ROOT, table

PAGE, README = ROOT / "docs" / "benchmarks.md", ROOT / "README.md"
HEADLINE = "headline"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"a result of bench/results, or '{HEADLINE}' (default: all)")
    args = parser.parse_args()
    stale = [path.name for path in (PAGE, README) if not update(path, args.names, args.check)]
    if args.check and stale:
        sys.exit(f"out of date: {', '.join(stale)}. Run 'python bench/readme.py'.")


def update(path, names, check):
    """Bring the blocks of a page up to date; returns whether they were.

    Args:
        path: of a Markdown page; a block stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``.
        names: blocks to bring up to date; empty: all of the page.
        check: leave the file as it is.
    """
    old = text = path.read_text(encoding="utf-8")
    for name in re.findall(r"<!-- /(\w+) -->", text):
        if names and name not in names:
            continue
        try:
            block = headline() if name == HEADLINE else benchmark(name)
        except ModuleNotFoundError as error:
            print(f"{name} left as it is: {error.name} is not installed", file=sys.stderr)
            continue
        text = re.sub(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", lambda match, block=block: match[1] + block + match[2], text,
                      flags=re.DOTALL)
    if text != old and not check:
        path.write_text(text, encoding="utf-8")
    return text == old


def benchmark(name):
    """The tables of one result, as its program writes them, and the line that says how they were made."""
    document = result(name)
    made = document["made"]
    versions = ", ".join(f"{package} {version}" for package, version in made["versions"].items())
    rows = f" (rows measured on {', '.join(document['rows_made_on'])})" if "rows_made_on" in document else ""
    source = (f"`{made['command']}`, {made['date']}, commit {made['commit']}{rows}, {made['processor']}, {made['cores']} cores, "
              f"Python {made['python']}, {versions}; [all figures](bench/results/{name}.json)")
    block = f"{importlib.import_module(name).markdown(document)}\n\n<sub>{source}</sub>"
    return block.replace("](bench/results/", "](../bench/results/")         # links start at docs/


def result(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


# ---- the README's table

def headline():
    """The README's table: one figure a question, each with the result file and the day it comes from."""
    rows = [*accuracy_rows(), *time_rows(), *training_rows(), *compression_rows(), *pruning_rows()]
    return table(("", "minicnn", "for comparison", "measured"), rows)


def source(name):
    return f"[{result(name)['made']['date']}](bench/results/{name}.json)"


def accuracy_rows():
    live, real = result("evaluation")["live"], result("parity")["real_detector"]["numba"]
    yield (f"VOC07 mean AP of our VGG16 detector, {live['pictures']} test images", f"{100 * live['minicnn']['mAP']['voc07']:.2f} %",
           f"torchvision, same weights: {100 * live['torchvision']['voc07']:.2f} %", source("evaluation"))
    yield (f"torchvision's detections found again, {real['photographs']} images", f"{real['matched']:,}", f"of {real['recorded']:,}",
           source("parity"))


def time_rows():
    rows = {(row["task"], row["engine"]): row for row in result("peers")["rows"]}
    for task, title in (("fasterrcnn_vgg16", "`fasterrcnn_vgg16` at 600 × 800"),
                        ("fasterrcnn_mobilenet_v3_large_320_fpn", "`fasterrcnn_mobilenet_v3_large_320_fpn`")):
        ours = rows[task, "numba"]
        torch = rows[task, ours["best_torch"]]
        yield f"one detection, {title}", seconds(ours["median_ms"]), f"PyTorch: {seconds(torch['median_ms'])}", source("peers")


def training_rows():
    document = result("training")
    ours, torch = (document["seconds"][name] for name in ("numba", document["best_torch"]))
    yield "one training step, VGG16, two images", seconds(1000 * ours), f"PyTorch: {seconds(1000 * torch)}", source("training")


def compression_rows():
    document = result("compression")
    row, whole = document["rows"][0], document["original"]
    times = row["times"]["milliseconds"]["numba"]
    after, before = (f"{100 * mean['voc07']:.1f} points, {seconds(statistics.median(times[name]['all']))} a detection"
                     for mean, name in ((row["repair"]["mAP"], "after"), (whole["mAP"], "before")))
    yield (f"compressed to {100 * row['ledger']['bytes'] / whole['ledger']['bytes']:.0f} % of its size and repaired, not trained; VOC07",
           after, f"original: {before}", source("compression"))


def pruning_rows():
    document = result("lenet_pruning")
    entry = next(entry for entry in document["arms"]["statistics"] if entry["share"] == 0.1)
    yield (f"LeNet-5 on MNIST, pruned to {100 * entry['parameters']['mean'] / document['whole']['parameters']:.1f} % of its parameters",
           f"{100 - entry['test_error']['mean']:.2f} % correct", f"unpruned: {document['base']['test']['mean']:.2f} %",
           source("lenet_pruning"))


def seconds(milliseconds):
    return f"{milliseconds / 1000:.2f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"


if __name__ == "__main__":
    main()

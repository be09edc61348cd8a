"""The tables of ``minicnn compress`` for a terminal, and its lines on standard error."""

import sys
import textwrap

from minicnn.cli.tables import WIDTH, fitted, percent, points, table

SIZES = (("file", "parameters", "file_bytes"), ("convolutions", "convolution_parameters", "convolution_bytes"),
         ("linear layers", "linear_parameters", "linear_bytes"))


def print_state(name, sizes):
    """One line on standard error: what is left, and the validation accuracy, just pruned -> fine-tuned."""
    pruned = f"{percent(sizes['accuracy_pruned'])} -> " if "accuracy_pruned" in sizes else ""
    print(f"{name}: {sizes['parameters']:,} parameters, {sizes['macs']:,} MACs, validation {pruned}{percent(sizes['accuracy'])}",
          file=sys.stderr)


def classifier_table(before, after):
    """A classifier's sizes and accuracy, before and after."""
    layers = [(old["path"], old["weight"][0], new["weight"][0], f"{old['parameters']:,}", f"{new['parameters']:,}",
               percent(new["parameters"] / old["parameters"])) for old, new in zip(before["layers"], after["layers"])]
    accuracies = before["test"]["accuracy"], after["test"]["accuracy"]
    rows = [macs_row(before, after),
            ("test accuracy", *map(percent, accuracies), f"{100 * (accuracies[1] - accuracies[0]):+.2f} pt")]
    return "\n".join([table(("", "filters", "kept", "parameters", "after", "left"), layers), "", sizes_table(before, after), "",
                      table(("", "before", "after", "left"), rows)])


def macs_row(before, after):
    """Name, before, after, left of the multiply-adds."""
    return "MACs", f"{before['macs']:,}", f"{after['macs']:,}", percent(after["macs"] / before["macs"])


def sizes_table(before, after):
    """Parameters, and in columns of their own the bytes that the files hold, of a network before and after; "-" for those of a pipe."""
    rows = []
    for name, count, size in SIZES:
        sizes = before["stored"][size], after["stored"][size]
        counted = [f"{before[count]:,}", f"{after[count]:,}", share(after[count], before[count])]
        rows.append((name, *counted, *("-" if one is None else f"{one:,}" for one in sizes),
                     "-" if None in sizes else share(sizes[1], sizes[0])))
    return table((f"as {after['stored']['dtype']}", "parameters", "after", "left", "bytes", "after", "left"), rows)


def share(part, whole):
    """1, 4 -> 25.0 %; of nothing all is left."""
    return f"{100 * part / whole if whole else 100:.1f} %"


def detector_tables(document):
    """A detector's layers, sizes, time and mean AP, before and after; document: what --json prints."""
    before, after, step = document["before"], document["after"], document["surgery"]
    layers = fitted(("layer", "now", "parameters", "left", "ms", "then"),
                    [(row["path"], form(row), f"{row['parameters'][0]:,}", f"{100 * row['parameters'][1] / row['parameters'][0]:.0f} %",
                      *(f"{value:.1f}" for value in row["milliseconds"])) for row in document["layers"]])
    rows = [macs_row(before, after)]
    rows.append((f"measured, ms ({document['backend']})", *(f"{state['milliseconds']:.0f}" for state in (before, after)),
                 f"{before['milliseconds'] / after['milliseconds']:.2f} x faster"))
    if "mAP" in after:
        maps = before["mAP"]["voc07"], after["mAP"]["voc07"]
        rows.append((f"VOC07 on {document['validation']['split']}", *map(points, maps), f"{100 * (maps[1] - maps[0]):+.2f} points"))
    repaired = f"repaired from {step['repaired_from']} images" if step["repaired_from"] else "not repaired"
    if "machine" in document:
        layers += "\n" + speeds_line(document["machine"])
    return "\n".join([layers, "", sizes_table(before, after), "", table(("", "before", "after", "left"), rows), "",
                      f"{document['file']}: {document['architecture']} by {step['method']}, {repaired}"])


def curve_table(curve):
    """The rows of ``dry_run.predict_compression``: what is left at each target, and the predicted loss."""
    rows = []
    for row in curve:
        target = " ".join(f"{kind} {share:.4g}" for kind, share in row["target"].items())
        shares = ["-" if row[name] is None else f"{100 * row[name]:.1f} %" for name in ("storage", "convolutions", "macs", "time")]
        rows.append((target, *shares, "out of reach" if row["loss"] is None else f"{row['loss']:.4g}"))
    return fitted(("target", "file", "convolutions", "MACs", "time", "loss"), rows)


def speeds_line(machine):
    """For which machine milliseconds are predicted: a line for a terminal, or two."""
    return textwrap.fill(f"ms are predicted for {machine}", WIDTH)


def form(row):
    """A layer's form after compression: pixels 6, Tucker 64 96, SVD 128, 40 of 64, whole."""
    if row["ranks"]:
        ranks = row["ranks"]
        return f"pixels {ranks[0]}" if row["pixels"] > 1 else "Tucker {} {}".format(*ranks) if "into_values" in row else f"SVD {ranks[0]}"
    return f"{row['weight'][0] - row['removed']} of {row['weight'][0]}" if row["removed"] else "whole"

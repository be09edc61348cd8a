"""The page on a compressed detector: sizes, layer by layer, singular values, repair, and the detections of both networks."""

import html
from pathlib import Path

from minicnn.files import atomic_write
from minicnn.report.detection_page import TITLES, drawing, points
from minicnn.report.page import key_line, page, sizes_table, table
from minicnn.report.svg import COLORS, Series, chart

CURVE_POINTS = 100          # of a curve; more would not be visible


def write_report(folder, document, images):
    """Write ``report.html``.

    Args:
        folder: an existing folder.
        document: what ``minicnn compress --json`` prints for a detector.
        images: list of {"pixels": (H, W, 3) uint8, "before", "after": [(box, class, score)]}, the detections of both networks.

    Returns:
        path: of the page.
    """
    of_what = "the output’s variance" if document["errors"] == "output" else "the squared weights"
    body = [
        f"<p>{summary(document)}</p>",
        "<h2>What is left</h2>", sizes_table(document["before"], document["after"]),
        counts_table(document["before"], document["after"], document["backend"]),
        "<h2>Layer by layer</h2>",
        f"<p>Milliseconds are predicted for one image on {html.escape(document.get('machine', 'this machine'))}. Break-even: the largest "
        "rank, of both sides, "
        f"at which three convolutions are faster than one. Error: the predicted loss at these ranks, as a share of {of_what}.</p>",
        layers_table(document["layers"]),
    ]
    if any("pixels" in row for row in document["layers"]):
        body += ["<h2>Singular values</h2>",
                 f"<p>The share of {of_what} that is lost if only this number of leading directions of the input (or of its pixels, or "
                 "of the output) is kept. The dot is the chosen rank.</p>",
                 f"<p>{key_line([(COLORS[0], '●', 'input'), (COLORS[1], '●', 'output')])}</p>", values_charts(document["layers"])]
    if document["repair"]:
        body += ["<h2>Repair</h2>",
                 "<p>The squared error of each layer’s output, as a share of the original output’s variance, on every fifth image, which "
                 "was held back: before the layer was fitted, with all layers before it repaired, and after. Ridge: its strength; ∞: only "
                 "the bias was fitted, or nothing.</p>",
                 table(("layer", "before, %", "after, %", "ridge"),
                       [(row["path"], points(row["before"]), points(row["after"]), ridge(row["strength"])) for row in document["repair"]])]
    if images:
        body += ["<h2>What both find</h2>", "<p>Detections with scores above 0.5 in each image, before and after.</p>",
                 *(f'<div class="charts">{figures(image, number)}</div>' for number, image in enumerate(images, 1))]
    path = Path(folder, "report.html")
    with atomic_write(path) as file:
        file.write(page(f"{document['architecture']}, compressed", "".join(body)).encode())
    return str(path)


def summary(document):
    """The first paragraph: method, sizes, time and mean AP."""
    before, after, step = document["before"], document["after"], document["surgery"]
    repaired = "not repaired"
    if step["repaired_from"]:
        repaired = f"then fitted to the original’s outputs on {step['repaired_from']:,} unlabelled images"
    return (f"{html.escape(document['architecture'])} of {html.escape(document['source']['file'])}, compressed by "
            f"<b>{step['method']}</b> and {repaired}. Of the file, counted as float32, "
            f"{100 * after['bytes'] / before['bytes']:.1f} % is left, of the "
            f"convolutions {100 * after['convolution_parameters'] / before['convolution_parameters']:.1f} %; one image takes "
            f"{after['milliseconds']:.0f} ms instead of {before['milliseconds']:.0f} ms, "
            f"{before['milliseconds'] / after['milliseconds']:.2f} times as fast{mean_ap_text(document)}.")


def mean_ap_text(document):
    """The sentence on mean AP; empty if it was not measured."""
    if "mAP" not in document["after"]:
        return ""
    before, after = (document[name]["mAP"]["voc07"] for name in ("before", "after"))
    where = document["validation"]
    return (f". On {where['pictures']:,} images of {html.escape(where['split'])} the mean average precision went from {points(before)} "
            f"to <b>{points(after)} %</b> by VOC 2007’s rule")


def counts_table(before, after, backend):
    """Multiply-adds, time and mean AP of the whole network."""
    rows = [("multiplications (MACs)", f"{before['macs']:,}", f"{after['macs']:,}", f"{100 * after['macs'] / before['macs']:.1f} %")]
    rows.append((f"milliseconds of an image ({backend}), measured", *(f"{state['milliseconds']:.0f}" for state in (before, after)),
                 f"{100 * after['milliseconds'] / before['milliseconds']:.1f} %"))
    if "mAP" in after:
        rows += [(f"mean AP, {title}, %", points(before["mAP"][rule]), points(after["mAP"][rule]),
                  f"{100 * (after['mAP'][rule] - before['mAP'][rule]):+.2f} points") for rule, title in TITLES.items()]
    return table(("", "before", "after", "left"), rows)


def layers_table(rows):
    """A row for each layer."""
    cells = []
    for row in rows:
        parameters, macs, milliseconds = row["parameters"], row["macs"], row["milliseconds"]
        cells.append((row["path"], "×".join(map(str, row["weight"])), form(row), f"{parameters[0]:,}", f"{parameters[1]:,}",
                      *(f"{size:,}" for size in row["stored_bytes"]),
                      f"{macs[0] / 1e6:,.0f} M", f"{macs[1] / 1e6:,.0f} M", f"{milliseconds[0]:.1f}", f"{milliseconds[1]:.1f}",
                      row.get("break_even", "–"), points(row["error"]) if row["ranks"] and "error" in row else "–"))
    return table(("layer", "weight", "now", "parameters", "after", "bytes", "after", "MACs", "after", "ms", "after", "break-even",
                  "error, %"), cells)


def form(row):
    """A layer's form after compression, in words."""
    if row["ranks"]:
        if row["pixels"] > 1:
            return f"{row['pixels']} pixels of a map mixed to {row['ranks'][0]}"
        return f"Tucker, ranks {row['ranks'][0]} and {row['ranks'][1]}" if "into_values" in row else f"SVD, rank {row['ranks'][1]}"
    if row["removed"]:
        return f"{row['weight'][0] - row['removed']} of {row['weight'][0]} filters"
    return f"whole: {row['reason']}" if row["reason"] else "whole"


def values_charts(rows):
    """A chart for each layer that could be decomposed: the tails of both sides over the rank."""
    parts = []
    for row in rows:
        if "pixels" not in row:
            continue
        series, into = [], "pixels" if row["pixels"] > 1 else "input"
        for name, color, key, rank in ((into, COLORS[0], "into_values", row["ranks"] and row["ranks"][0]),
                                       ("output", COLORS[1], "out_values", row["ranks"] and row["ranks"][1])):
            values = row.get(key)
            if values:
                lost = tails(values)
                shown = sorted({0, len(values), *range(0, len(values), max(1, len(values) // CURVE_POINTS)), *([rank] if rank else [])})
                marks = ["dot" if i == rank else None for i in shown]
                series.append(Series(name, shown, [lost[i] for i in shown], color, marks, line=True))
        drawn = chart(series, "rank", "lost", f"Loss by rank: {row['path']}")
        parts.append(f"<figure>{drawn}<figcaption>{html.escape(row['path'])}: {form(row)}</figcaption></figure>")
    return f'<div class="charts">{"".join(parts)}</div>'


def tails(values):
    """The share of the sum of squares beyond each rank, from 0 to all."""
    squares = [value ** 2 for value in values]
    total, left = sum(squares) or 1, [0.0]
    for square in reversed(squares):
        left.append(left[-1] + square / total)
    return left[::-1]


def ridge(strength):
    """The strength of the ridge, ∞ where only the bias was fitted."""
    return "∞" if strength is None else f"{strength:g}"


def figures(image, number):
    """Two drawings of an image, with the detections before and after; image: see ``write_report``."""
    parts = []
    for name in ("before", "after"):
        found = [(box, label, score, "true positive") for box, label, score in image[name]]
        drawn = drawing({"name": f"image {number}, {name}", "pixels": image["pixels"], "truths": [], "found": found})
        listed = ", ".join(f"{label} {score:.2f}" for _, label, score in sorted(image[name], key=lambda row: -row[2])) or "nothing"
        parts.append(f"<figure>{drawn}<figcaption>{name}: {html.escape(listed)}</figcaption></figure>")
    return "".join(parts)

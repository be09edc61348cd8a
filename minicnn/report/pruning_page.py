"""The page on a pruned classifier: sizes, accuracy by round, each layer's filters by mean and variance, and the filters as images."""

import html
import itertools
import math
from pathlib import Path

import numpy as np

from minicnn.files import atomic_write
from minicnn.plural import counted
from minicnn.report.page import data_uri, key_line, page, sizes_table, table
from minicnn.report.svg import COLORS, Series, chart

IMAGES = 4096     # most kernels of a layer that are drawn; a VGG layer has 262 144


def write_report(folder, document, original):
    """Write ``report.html``.

    Args:
        folder: an existing folder.
        document: what ``minicnn compress --json`` prints.
        original: the network before pruning, whose filters are drawn.

    Returns:
        path: of the page.
    """
    before, after, rounds = document["before"], document["after"], document["rounds"]
    share = 100 * after["parameters"] / before["parameters"]
    accuracies = [100 * sizes["test"]["accuracy"] for sizes in (before, after)]
    body = [
        f"<p>{html.escape(document['architecture'])} went from {before['parameters']:,} to {after['parameters']:,} parameters "
        f"({share:.1f} % left) in {counted(len(rounds), 'round')} of pruning by "
        f"<b>{document['settings']['options']['method']}</b> and fine-tuning. Its accuracy on "
        f"{before['test']['images']:,} test images was {accuracies[0]:.2f} % before and is {accuracies[1]:.2f} % after.</p>",
        "<h2>Before and after</h2>", layers_table(before, after), sizes_table(before, after),
        "<h2>Accuracy against kept parameters</h2>", accuracy_chart(before, rounds),
        "<h2>Filters by mean and variance</h2>",
        "<p>Each dot is a filter (or a neuron of a linear layer), at the mean μ and the variance σ² of its weights. Colours are the "
        "clusters that k-means found; a cross is a filter that was removed in that round. The weak cluster has the lowest mean of "
        "μ² + σ².</p>",
        clusters_charts(rounds),
        "<h2>The filters</h2>",
        "<p>The network before pruning; blue is negative, red positive. A filter that reads several channels is drawn as a grid with "
        "a kernel for each channel. Removed filters are faded, with the number of the round.</p>",
        *[filters_images(path, original.get_layer(path).weight, rounds) for path in pruned_paths(rounds)],
    ]
    path = Path(folder, "report.html")
    with atomic_write(path) as file:
        file.write(page(f"{document['architecture']}, pruned", "".join(body)).encode())
    return str(path)


def pruned_paths(rounds):
    """Paths of the layers that lost filters, in the network's order."""
    return list(dict.fromkeys(step["path"] for entry in rounds for step in entry["groups"]))


def layers_table(before, after):
    """Filters, parameters and MACs of each layer, before and after."""
    rows = [(old["path"], old["weight"][0], new["weight"][0], f"{old['parameters']:,}", f"{new['parameters']:,}",
             f"{old['macs']:,}", f"{new['macs']:,}") for old, new in zip(before["layers"], after["layers"])]
    rows.append(("all", "", "", *(f"{sizes[key]:,}" for key in ("parameters", "macs") for sizes in (before, after))))
    return table(("layer", "filters", "kept", "parameters", "after", "MACs", "after"), rows)


def accuracy_chart(before, rounds):
    """Chart of validation accuracy over the parameters kept, just pruned and fine-tuned, with a point for each round."""
    if not rounds:
        return "<p>Nothing was removed.</p>"
    states = [before, *rounds]
    kept = [state["parameters"] for state in states]
    tuned = [100 * state["accuracy"] for state in states]
    pruned = [100 * state.get("accuracy_pruned", state["accuracy"]) for state in states]
    lines = [Series(name, kept, accuracy, color, ["dot"] * len(states), line=True)
             for name, accuracy, color in (("just pruned", pruned, COLORS[1]), ("fine-tuned", tuned, COLORS[0]))]
    drawing = chart(lines, "parameters kept (logarithmic)", "validation accuracy, %", "Accuracy against kept parameters", log_x=True)
    return (f'<figure class="wide">{drawing}<figcaption>{key_line((line.color, "●", line.name) for line in lines)} One dot for each '
            "round, the rightmost before the first. Accuracy on validation images, which are not trained on.</figcaption></figure>")


def clusters_charts(rounds):
    """Scatter charts of every layer and round."""
    parts = []
    for path in pruned_paths(rounds):
        parts.append(f"<h3>{html.escape(path)}</h3><div class='charts'>")
        for number, entry in enumerate(rounds, start=1):
            parts += [f"<figure>{cluster_chart(step)}<figcaption>Round {number}: {len(step['removed'])} of {len(step['mean'])} "
                      f"removed</figcaption></figure>" for step in entry["groups"] if step["path"] == path]
        parts.append("</div>")
    return "".join(parts)


def cluster_chart(step):
    """Scatter chart of a layer's filters by mean and variance, coloured by cluster; removed filters are crosses."""
    removed = set(step["removed"])
    labels = np.array(step["labels"])
    series = []
    for color, label in zip(itertools.cycle(COLORS), np.unique(labels)):
        index = np.flatnonzero(labels == label)
        series.append(Series(str(label), [step["mean"][i] for i in index], [step["variance"][i] for i in index], color,
                             ["cross" if step["filters"][i] in removed else "dot" for i in index]))
    return chart(series, "mean μ", "variance σ²", f"Filters of {step['path']} by mean and variance")


def filters_images(path, weight, rounds):
    """Every filter of a convolution as a small image, removed filters faded."""
    if weight.ndim != 4 or weight.shape[0] * weight.shape[1] > IMAGES:
        return ""
    gone = {index: number for number, entry in enumerate(rounds, start=1) for step in entry["groups"] if step["path"] == path
            for index in step["removed"]}
    scale = float(np.abs(weight).max()) or 1.0
    figures = []
    for index, kernels in enumerate(weight):
        state, caption = (' class="removed"', f"{index} · r{gone[index]}") if index in gone else ("", str(index))
        figures.append(f'<figure{state}><img alt="filter {index}" src="{png(kernel_grid(kernels / scale))}">'
                       f"<figcaption>{caption}</figcaption></figure>")
    kind = "filters large" if weight.shape[1] > 1 else "filters"
    return f'<h3>{html.escape(path)}</h3><div class="{kind}">{"".join(figures)}</div>'


def kernel_grid(kernels):
    """A filter's kernels (C, KH, KW), in -1 to 1, side by side: (H, W, 3) uint8, blue to white to red, grey between."""
    c, kh, kw = kernels.shape
    across = math.ceil(math.sqrt(c))
    down = math.ceil(c / across)
    image = np.full((down * (kh + 1) - 1, across * (kw + 1) - 1, 3), 200, np.uint8)
    faded = 255 * (1 - np.abs(kernels[..., None]) * np.where(kernels[..., None] < 0, (1, 0.55, 0.3), (0.16, 0.63, 1)))
    for i, kernel in enumerate(faded):
        top, left = i // across * (kh + 1), i % across * (kw + 1)
        image[top:top + kh, left:left + kw] = kernel
    return image


def png(pixels):
    """Data URI of a PNG with pixels (H, W, 3) uint8."""
    from PIL import Image  # optional: only to draw filters

    return data_uri(Image.fromarray(pixels), "PNG", optimize=True)

"""The page of a detector's evaluation: average precision, precision-recall curves, errors by kind, and the images in which it is worst."""

import html
from collections import Counter
from pathlib import Path

import numpy as np

from minicnn.data.images import import_pillow
from minicnn.files import atomic_write
from minicnn.report.page import data_uri, key_line, page, table
from minicnn.report.svg import COLORS, Series, chart

TITLES = {"voc07": "VOC07", "voc10": "VOC10", "coco": "COCO"}
KINDS = {                       # TIDE's name, and the same in plain words
    "class": "Cls: the wrong class, on an object of another class", "place": "Loc: the right class, too far from its object",
    "both": "Both: wrong class and wrong place", "duplicate": "Dupe: an object that was found already",
    "background": "Bkg: no object is there", "missed": "Miss: objects that no detection is about",
}
WIDEST = 480                    # pixels, of the longer side of an image on the page
CURVE_POINTS = 150              # of a curve; more would not be visible
TRUE, GOOD, BAD, OTHER = "#009e73", "#0072b2", "#d55e00", "#777777"
COLORS_BY_VERDICT = {"true positive": GOOD, "false positive": BAD, "ignored": OTHER}


def write_report(folder, document, curves, worst):
    """Write ``report.html``.

    Args:
        folder: an existing folder.
        document: what ``minicnn evaluate --json`` prints for a detector.
        curves: {class: (recall (I,), precision (I,)) at each true positive}.
        worst: list of {"name", "pixels": (H, W, 3) uint8, "missed": {class: number}, "truths": ground truth as [(box, class, whether it
            counts)], "found": [(box, class, score, a key of ``COLORS_BY_VERDICT``)]}.

    Returns:
        path: of the page.
    """
    source = document.get("file", document.get("detections"))
    mean, intervals = document["mAP"], document["intervals"]
    body = [
        f"<p>{html.escape(source)} on {document['pictures']:,} images of {html.escape(document['data'])}, "
        f"{html.escape(document['split'])}: {document['objects']:,} objects count, {document['difficult']:,} difficult ones "
        f"or crowds do not. Mean average precision is <b>{points(mean['voc07'])} %</b> by VOC 2007's eleven levels, "
        f"{points(mean['voc10'])} % by the area under the curve (VOC 2010), "
        f"{points(mean['coco'])} % over COCO's ten thresholds.</p>",
        f"<p>An interval holds {100 * intervals['level']:.0f} % of {intervals['replicates']:,} draws of as many images with "
        "replacement: it shows how much a figure varies with other images of the same kind.</p>",
        "<h2>Averages</h2>", averages_table(document), "<h2>COCO’s numbers</h2>", coco_table(document["coco"]),
        "<h2>Precision against recall</h2>",
        "<p>By VOC’s rules, at overlaps above 0.5: going down the list of detections by score, the share of true positives against the "
        "share of objects found.</p>", curves_charts(curves, document["per_class"]),
        "<h2>Errors</h2>",
        "<p>The error kinds of TIDE (Bolya et al. 2020), and the gain in mean AP at overlap 0.5 if all of one kind were corrected.</p>",
        errors_table(document["errors"]),
    ]
    if "proposal_recall" in document:
        body += ["<h2>Proposals</h2>", "<p>Objects that one of the first proposals of an image overlaps by at least 0.5.</p>",
                 table(("proposals", "recall, %"), [(count, points(share)) for count, share in document["proposal_recall"].items()])]
    body += ["<h2>The worst images</h2>", images_section(worst)]
    path = Path(folder, "report.html")
    with atomic_write(path) as file:
        file.write(page(f"Detection: {Path(source).name}", "".join(body)).encode())
    return str(path)


def points(share):
    return "–" if share is None else f"{100 * share:.2f}"


def span(ends):
    return "–" if ends is None else f"{points(ends[0])} to {points(ends[1])}"


def averages_table(document):
    """A row for each class, then the means."""
    rows = [(name, f"{row['objects']:,}", f"{row['detections']:,}", f"{row['found']:,}", *(points(row[rule]) for rule in TITLES),
             span(row["intervals"]["voc07"])) for name, row in document["per_class"].items()]
    rows.append(("mean", f"{document['objects']:,}", "", "", *(points(document["mAP"][rule]) for rule in TITLES),
                 span(document["intervals"]["voc07"])))
    return table(("class", "objects", "detections", "found", *(f"{title}, %" for title in TITLES.values()), "interval of VOC07"), rows)


def coco_table(numbers):
    names = list(numbers)
    return table(("precision", *names[:6]), [("%", *(points(numbers[name]) for name in names[:6]))]) + table(
        ("recall", *names[6:]), [("%", *(points(numbers[name]) for name in names[6:]))])


def errors_table(errors):
    return table(("error", "number", "costs AP50, points", ""),
                 [(kind, f"{row['count']:,}", points(row["dAP"]), KINDS[kind]) for kind, row in errors.items()])


def curves_charts(curves, per_class):
    """A small chart for every class with objects."""
    figures = []
    for name, (recall, precision) in curves.items():
        if not per_class[name]["objects"]:
            continue
        some = np.unique(np.linspace(0, len(recall) - 1, min(len(recall), CURVE_POINTS)).astype(int)) if len(recall) else []
        line = Series(name, recall[some].tolist() if len(recall) else [], precision[some].tolist() if len(recall) else [], COLORS[0],
                      [None] * len(some), line=len(some) > 0)
        frame = Series("", [0, 1], [0, 1], COLORS[0], [None, None])             # so that all charts have the same axes
        figures.append(f"<figure>{chart([line, frame], 'recall', 'precision', f'Precision against recall: {name}')}<figcaption>"
                       f"{html.escape(name)}: {points(per_class[name]['voc07'])} %</figcaption></figure>")
    return f'<div class="charts">{"".join(figures)}</div>'


def images_section(worst):
    """The images with ground truth and detections drawn on them."""
    if not worst:
        return "<p>None: there are no errors above a score of 0.5, or the images could not be read.</p>"
    key = key_line([(color, "■", name) for name, color in (("objects", TRUE), *COLORS_BY_VERDICT.items())])
    figures = "".join(f"<figure>{drawing(image)}<figcaption>{caption(image)}</figcaption></figure>" for image in worst)
    return (f'<p>Most objects missed and false detections, counting detections of a score above 0.5. Dashed: objects that do not count.</p>'
            f'<p>{key}</p><div class="charts">{figures}</div>')


def caption(image):
    """000123: 3 missed (cat 2, dog 1), 1 false (cat 1)"""
    false = Counter(name for _, name, _, verdict in image["found"] if verdict == "false positive")
    texts = []
    for what, counts in (("missed", image["missed"]), ("false", false)):
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        texts.append(f"{sum(counts.values())} {what}{f' ({listed})' * bool(listed)}")
    return html.escape(f"{image['name']}: {', '.join(texts)}")


def drawing(image, colors=COLORS_BY_VERDICT):
    """An SVG of the image, its ground truth, and on top the detections; a box's name is shown when the pointer rests on it.

    Args:
        image: see ``write_report``; "truths" may be missing. colors: {verdict: colour}.
    """
    height, width = image["pixels"].shape[:2]
    scale = min(1, WIDEST / max(height, width))
    unit = width / 340                          # images are shown about equally wide, so that lines look alike in images of any size
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" xmlns="http://www.w3.org/2000/svg"><title>{html.escape(image["name"])}: '
             f'objects and detections</title><image width="{width}" height="{height}" href="{jpeg(image["pixels"], scale)}"/>']
    parts += [frame(box, name, TRUE, 3 * unit, f' stroke-dasharray="{5 * unit:.1f} {4 * unit:.1f}"' * (not counts))
              for box, name, counts in image.get("truths", ())]
    parts += [frame(box, f"{name} {score:.2f}", colors[verdict], 1.5 * unit)
              for box, name, score, verdict in sorted(image["found"], key=lambda row: row[2])]        # the highest score on top
    return "".join(parts) + "</svg>"


def frame(box, name, color, line, more=""):
    x1, y1, x2, y2 = box
    return (f'<rect x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}" fill="none" stroke="{color}" '
            f'stroke-width="{line:.1f}" pointer-events="all"{more}><title>{html.escape(name)}</title></rect>')


def jpeg(pixels, scale):
    """Pixels (H, W, 3) uint8, resized by ``scale``, as a JPEG in a data URI."""
    image = import_pillow("drawing").fromarray(pixels)
    height, width = pixels.shape[:2]
    return data_uri(image.resize((max(1, round(width * scale)), max(1, round(height * scale)))), "JPEG", quality=80)

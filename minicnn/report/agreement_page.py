"""The page of two detectors' agreement: counts by class, the lost and the invented objects, and the images in which they differ most."""

import html
from collections import Counter
from pathlib import Path

from minicnn.files import atomic_write
from minicnn.report.detection_page import BAD, GOOD, OTHER, drawing, points, span
from minicnn.report.page import key_line, page, table

COLORS = {"lost": BAD, "invented": GOOD, "found by both": OTHER}
LISTED = 100            # objects of a table


def write_agreement_report(folder, document, images):
    """Write ``report.html``.

    Args:
        folder: an existing folder.
        document: what ``minicnn evaluate --against --json`` prints.
        images: list of {"name", "pixels": (H, W, 3) uint8, "found": [(box, class, score, a key of ``COLORS``)]}, the images to draw.

    Returns:
        path: of the page.
    """
    data = f"{document['data']}, {document['split']}" if document["split"] else document["data"]
    least = document["thresholds"]
    body = [
        f"<p>{html.escape(document['file'])} against {html.escape(document['against'])}, the original, on {document['pictures']:,} "
        f"images of {html.escape(data)}: agreement is <b>{points(document['agreement'])} %</b>, with a "
        f"{100 * document['level']:.0f} % interval of {span(document['interval'])}.</p>",
        f"<p>Of the detections of either network with a score of at least {least['score']}, it is the share that the other one has, too: "
        f"of the same class, overlapping by at least {least['iou']}, with a score of at least {least['other_score']}, one to one. Labels "
        f"play no part. The interval holds {100 * document['level']:.0f} % of {document['replicates']:,} draws of as many images with "
        "replacement.</p>",
        table(("", "objects", "kept", "not kept"), count_rows(document)),
        "<h2>Classes</h2>", classes_table(document["per_class"]),
        "<h2>The images that differ most</h2>", images_section(images),
        "<h2>Lost objects</h2>", objects_table(document["lost"], "The original has them, the network has not."),
        "<h2>Invented objects</h2>", objects_table(document["invented"], "The network has them, the original has not."),
    ]
    path = Path(folder, "report.html")
    with atomic_write(path) as file:
        file.write(page(f"Agreement: {Path(document['file']).name}", "".join(body)).encode())
    return str(path)


def count_rows(document):
    """A row for each network: its name, and how many objects it has, are kept, and are lost or invented."""
    return [(f"{document[name]} ({role})", f"{document[role]['objects']:,}", f"{document[role]['kept']:,}",
             f"{document[role][missing]:,} {missing}")
            for name, role, missing in (("against", "original", "lost"), ("file", "network", "invented"))]


def classes_table(per_class):
    """A row for each class, those with most lost and invented objects first."""
    if not per_class:
        return "<p>None: neither network has an object.</p>"
    rows = sorted(per_class.items(), key=lambda item: -item[1]["lost"] - item[1]["invented"])
    return table(("class", "original", "lost", "network", "invented", "agreement, %"),
                 [(name, *(f"{row[key]:,}" for key in ("original", "lost", "network", "invented")), points(row["agreement"]))
                  for name, row in rows])


def objects_table(rows, text):
    """The objects of highest score."""
    if not rows:
        return "<p>None.</p>"
    more = f" The {LISTED} of highest score; the JSON document has all {len(rows):,}." if len(rows) > LISTED else ""
    return f"<p>{text}{more}</p>" + table(("class", "score", "x1", "y1", "x2", "y2", "image"), [
        (row["name"], f"{row['score']:.2f}", *(f"{side:.0f}" for side in row["box"]), row["image"]) for row in rows[:LISTED]])


def images_section(images):
    """The images with lost, invented and common objects drawn on them."""
    if not images:
        return "<p>None: nothing is lost or invented, or the images could not be read.</p>"
    key = key_line([(color, "■", name) for name, color in COLORS.items()])
    figures = "".join(f"<figure>{drawing(image, COLORS)}<figcaption>{caption(image)}</figcaption></figure>" for image in images)
    return f'<p>Those with most lost and invented objects.</p><p>{key}</p><div class="charts">{figures}</div>'


def caption(image):
    """000123.jpg: 3 lost (cat 2, dog 1), 1 invented (cat 1)"""
    texts = []
    for what in ("lost", "invented"):
        counts = Counter(name for _, name, _, verdict in image["found"] if verdict == what)
        listed = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        texts.append(f"{counts.total()} {what}{f' ({listed})' * bool(listed)}")
    return html.escape(f"{Path(image['name']).name}: {', '.join(texts)}")

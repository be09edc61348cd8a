"""The page of a detector's training: its losses by epoch, and its detections in some images."""

import html
from pathlib import Path

from minicnn.data.annotated import read_annotated
from minicnn.files import atomic_write
from minicnn.plural import counted
from minicnn.report.page import data_uri, key_line, page, table
from minicnn.report.svg import COLORS, Series, chart

IMAGES = 8              # drawn, spread over the split
ABOVE = 0.5             # score of the detections that are drawn
LONGEST = 640           # pixels, of a drawn image


def write_report(folder, document, model, validation=None, font=None):
    """Write ``report.html``.

    Args:
        folder: an existing folder.
        document: what ``minicnn train --json`` prints for a detector.
        model: the trained detector.
        validation: ``AnnotatedImages`` to run the detector on, or None.
        font: file of the font for the names of its detections, or None.

    Returns:
        path: of the page.
    """
    losses = document["losses"]
    body = [f"<p>{html.escape(document['architecture'])}, trained on {document['images']:,} images of "
            f"{len(document['classes'])} classes in {counted(len(losses), 'epoch')}; the sum of the losses went from "
            f"{losses[0]['loss']:.3f} to {losses[-1]['loss']:.3f}.</p>", "<h2>Losses</h2>", losses_chart(losses), losses_table(losses)]
    if validation:
        body += ["<h2>Detections</h2>", f"<p>Images that it was not trained on, with its detections of a score above {ABOVE}.</p>",
                 '<div class="charts">', *map(detections_image(model, font), spread(validation.images, IMAGES)), "</div>"]
    path = Path(folder, "report.html")
    with atomic_write(path) as file:
        file.write(page(f"{document['architecture']}, trained", "".join(body)).encode())
    return str(path)


def losses_chart(losses):
    epochs = list(range(1, len(losses) + 1))
    series = [Series(name, epochs, [epoch[name] for epoch in losses], color, ["dot"] * len(epochs), line=True)
              for name, color in zip(losses[0], COLORS)]
    key = key_line([(line.color, "●", line.name) for line in series])
    return f'<figure class="wide">{chart(series, "epoch", "mean loss", "losses by epoch")}<figcaption>{key}</figcaption></figure>'


def losses_table(losses):
    rows = [[epoch, *(f"{value:.4f}" for value in means.values())] for epoch, means in enumerate(losses, start=1)]
    return table(["epoch", *losses[0]], rows)


def spread(items, count):
    """``count`` of the items, at equal distances; all of them if there are fewer."""
    return [items[i * len(items) // count] for i in range(count)] if len(items) > count else items


def detections_image(model, font):
    """A function: ``AnnotatedImage`` -> an HTML figure of it with the model's detections."""
    from PIL import Image  # Pillow only where an image is drawn

    def figure(image):
        values = read_annotated(image)
        found = model.detect(values).above(ABOVE)
        drawn = Image.fromarray(found.draw(values, font))
        drawn.thumbnail((LONGEST, LONGEST))
        source = data_uri(drawn, "JPEG", quality=85)
        text = f"{image.name}: {len(found)} objects found, {len(image.boxes)} annotated"
        return (f'<figure><img src="{source}" alt="{html.escape(text)}" style="max-width: 100%">'
                f"<figcaption>{html.escape(text)}</figcaption></figure>")
    return figure

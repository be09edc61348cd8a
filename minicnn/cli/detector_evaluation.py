"""How ``minicnn evaluate`` measures a detector: its detections, from images or from files; the tables; the page."""

from dataclasses import replace

import numpy as np

from minicnn.cli.provenance import report, too_large
from minicnn.cli.tables import fitted, points, span, table
from minicnn.data.annotated import read_annotated, shown
from minicnn.data.images import as_image, as_input
from minicnn.detection.evaluation.average_precision import precision_recall
from minicnn.detection.evaluation.proposal_recall import with_proposals
from minicnn.detection.evaluation.ranking import IGNORED, RIGHT, WRONG
from minicnn.detection.evaluation.read_detections import NO_CLASS, check_classes, read_detections
from minicnn.errors import InputError
from minicnn.prefetch import prefetch
from minicnn.progress import Progress
from minicnn.report.detection_page import write_report

TITLES = {"voc07": "VOC07", "voc10": "VOC10", "coco": "COCO"}
SHOWN_ABOVE, WORST = 0.5, 8         # score of what is drawn on a page; images on it
VERDICTS = {RIGHT: "right", WRONG: "wrong", IGNORED: "ignored"}


def look_at(file, model, annotated):
    """Run a detector on each image, the next one read meanwhile.

    Returns:
        annotated: with the images that could be read.
        found, proposals: of each, see ``detection.evaluate``.
        problems: a line for each that could not.
    """
    labels = label_map(model.record["class_names"], annotated.class_names, file)
    kept, found, proposals, problems = [], [], [], []
    with Progress(len(annotated.images), "evaluate") as bar:
        for image, reading in prefetch(read_annotated, annotated.images):
            try:
                values = reading()
                try:
                    (boxes, scores, mine), offered = with_proposals(model, as_input(values))
                except MemoryError as error:
                    raise too_large(image.path, values, "the model's min_size and max_size, or the image,") from error
            except InputError as error:
                report("evaluate", error)
                problems.append(str(error))
            else:
                mine = labels[mine]
                kept.append(image)
                found.append((boxes[mine > 0], scores[mine > 0], mine[mine > 0]))
                proposals.append(offered)
            bar.update(1)
    if not kept:
        raise InputError(f"got {len(problems)} images, none of which can be read, expected some. Put them where their annotations say.")
    return replace(annotated, images=kept), found, proposals, problems


def label_map(names, class_names, file):
    """(K,) int64: the data's label for each of the network's, by name; 0 for names that stand for no class."""
    labels = {name: label for label, name in enumerate(class_names)}
    check_classes(file, {name for name in names[1:] if name != NO_CLASS}, set(class_names[1:]))
    return np.array([0, *(labels.get(name, 0) for name in names[1:])])


def detections_of(path, annotated):
    """The same from files; proposals are not in them."""
    found, left_out = read_detections(path, annotated)
    problems = []
    if left_out:
        problems = [f"{sum(left_out.values())} detections in {len(left_out)} images, such as {shown(next(iter(left_out)))}, are left "
                    f"out: they are not among the {len(annotated.images)} images of the data."]
        report("evaluate", problems[0])
    return annotated, found, None, problems


def evaluation_text(document, source):
    """The tables for a terminal, at most 80 wide."""
    intervals = document["intervals"]
    numbers = [f"{document[key]:,}" for key in ("pictures", "objects", "difficult")]
    parts = [f"{source}, {document['split']}:", f"{numbers[0]} images, {numbers[1]} objects and {numbers[2]} that do not count", "",
             fitted(("class", "objects", "found", *(f"{title}, %" for title in TITLES.values())),
                    [(name, f"{row['objects']:,}", f"{row['found']:,}", *(points(row[rule]) for rule in TITLES))
                     for name, row in document["per_class"].items()]),
             "", table(("mean AP, %", "", f"{100 * intervals['level']:.0f} % interval"),
                       [(title, points(document["mAP"][rule]), span(intervals[rule])) for rule, title in TITLES.items()]),
             "", table(("COCO, %", *list(document["coco"])[:6]), [("", *map(points, list(document["coco"].values())[:6]))]),
             "", table(("COCO, %", *list(document["coco"])[6:]), [("", *map(points, list(document["coco"].values())[6:]))]),
             "", table(("error", "number", "costs AP50"),
                       [(kind, f"{row['count']:,}", points(row["dAP"])) for kind, row in document["errors"].items()])]
    if "proposal_recall" in document:
        recalls = document["proposal_recall"]
        parts += ["", table(("proposals", *recalls), [("recall, %", *map(points, recalls.values()))])]
    return "\n".join(parts)


def write_page(folder, document, annotated, evaluation):
    """Write the HTML page; returns its path."""
    curves = {ranking.name: precision_recall(one.voc, one.objects.sum()) for ranking, one in zip(evaluation.rankings, evaluation.matches)}
    return write_report(folder, document, curves, worst_images(annotated, evaluation))


def worst_images(annotated, evaluation):
    """Up to ``WORST`` of the images with most objects missed and false detections, those of a higher score than a half counted.

    Returns:
        list of what ``minicnn.report.detection_page.write_report`` takes; images that cannot be read are not among them.
    """
    count = len(annotated.images)
    missed, false = {}, np.zeros(count, np.int64)
    for ranking, one in zip(evaluation.rankings, evaluation.matches):
        sure = one.scores > SHOWN_ABOVE
        missed[ranking.name] = one.objects - np.bincount(one.images[sure & (one.voc == RIGHT)], minlength=count)
        false += np.bincount(one.images[sure & (one.voc == WRONG)], minlength=count)
    errors = sum(missed.values()) + false
    worst = []
    for place in np.argsort(-errors, kind="stable"):
        if errors[place] == 0 or len(worst) == WORST:
            break
        image = annotated.images[place]
        try:
            pixels = as_image(image.path)
        except InputError:
            continue
        truths = [(box, annotated.class_names[label], not (difficult or crowd)) for box, label, difficult, crowd in
                  zip(image.boxes.tolist(), image.labels, image.difficult, image.crowd)]
        found = [(ranking.boxes[i].tolist(), ranking.name, float(ranking.scores[i]), VERDICTS[one.voc[i]])
                 for ranking, one in zip(evaluation.rankings, evaluation.matches)
                 for i in np.flatnonzero((ranking.images == place) & (ranking.scores > SHOWN_ABOVE))]
        worst.append({"name": image.name, "pixels": pixels, "truths": truths, "found": found,
                      "missed": {name: int(counts[place]) for name, counts in missed.items() if counts[place]}})
    return worst

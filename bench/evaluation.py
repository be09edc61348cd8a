"""Does the real detector have the same average precision in minicnn as in torchvision? And how long do the metrics take?

``../shared`` holds the detector, 500 photographs, torchvision's detections in them, and their average precisions by another program; also
254 590 detections by another detector in all 4952 test images of VOC2007, with their average precisions.

    python bench/evaluation.py
"""

import argparse
import json
import statistics
import sys
import time

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
from record import record, table
from voc import METRICS, WEIGHTS, recorded

from minicnn.data import load_annotated
from minicnn.detection.evaluation.compare import compare
from minicnn.detection.evaluation.evaluate import evaluate, evaluate_detector
from minicnn.detection.evaluation.read_detections import read_detections
from minicnn.weight_files.convert import convert

SHARED = WEIGHTS.parents[1]
CASES = SHARED / "data" / "map_cases"


def live():
    """The detector on the photographs, against torchvision's detections in them."""
    model = convert(WEIGHTS, config=WEIGHTS.with_suffix(".json"))[0]
    images = load_annotated(SHARED / "data" / "voc", "test")
    theirs = recorded()
    ours = evaluate_detector(model, images, np.random.default_rng(0), source=WEIGHTS.name)
    if ours.problems:
        sys.exit("\n".join(ours.problems))
    other = evaluate(images, [theirs[image.name] for image in images.images])
    stated = json.loads((WEIGHTS.parent / "test_evaluation.json").read_text())
    difference = compare(other.match_document(), ours.match_document(), np.random.default_rng(0))
    return {"pictures": len(ours.annotated.images), "minicnn": ours.document, "torchvision": other.document["mAP"],
            "stated": stated["mAP"], "difference": difference["mAP"],
            "largest_class_difference": max(abs(ours.document["per_class"][name][rule] - stated["per_class"][name][rule])
                                            for name in stated["per_class"] for rule in ("voc07", "voc10"))}


def large(runs):
    """Seconds of one core for each part of the evaluation of 254 590 detections."""
    seconds = {"annotations": [], "detections": [], "metrics": [], "metrics and intervals": []}

    def timed(part, function, *arguments):
        start = time.process_time()
        result = function(*arguments)
        seconds[part].append(time.process_time() - start)
        return result
    for _ in range(runs):
        images = timed("annotations", load_annotated, CASES / "voc2007_test", "test")
        found = timed("detections", read_detections, CASES / "voc2007_test_tiny_yolo", images).found
        timed("metrics", evaluate, images, found)
        document = timed("metrics and intervals", evaluate, images, found, None, np.random.default_rng(0)).document
    stated = json.loads((CASES / "voc2007_test_tiny_yolo" / "expected.json").read_text())
    return {"pictures": document["pictures"], "detections": sum(len(scores) for _, scores, _ in found), "seconds": seconds,
            "mAP": document["mAP"], "intervals": document["intervals"], "stated": stated["mean"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="timed evaluations of the large case (default: 5)")
    args = parser.parse_args()
    record("evaluation", {
        "question": "average precision of the real detector by minicnn against torchvision's; seconds of the metrics", "live": live(),
        "large": large(args.runs)}, ("numba", "pillow"))


def markdown(document):
    """The published table."""
    live, large = document["live"], document["large"]

    def span(ends):
        return f"{100 * ends[0]:.2f} to {100 * ends[1]:.2f}"
    ours = live["minicnn"]
    rows = [(f"mean AP, {title}", f"{100 * ours['mAP'][rule]:.2f} % ({span(ours['intervals'][rule])})",
             f"{100 * live['torchvision'][rule]:.2f} %",
             f"{100 * live['difference'][rule]['difference']:+.3f} ({span(live['difference'][rule]['interval'])})")
            for rule, title in METRICS.items()]
    medians = {part: statistics.median(values) for part, values in large["seconds"].items()}
    recalls = ", ".join(f"{100 * share:.1f} % by {count}" for count, share in ours["proposal_recall"].items())
    return "\n".join([
        table((f"{live['pictures']} photographs", "minicnn (95 % interval)", "torchvision", "difference, points (interval)"), rows), "",
        "These are 500 of VOC2007's 4,952 test images, and the detector was trained briefly: the figures are not comparable with published "
        f"ones. Recall of the proposals: {recalls}. The {large['detections']:,} detections of another detector on all "
        f"{large['pictures']:,} test images of VOC2007 have a mean AP of {100 * large['mAP']['voc07']:.4f} % "
        f"({100 * large['stated']['ap_11point']:.4f} % stated); reading the XML files takes {medians['annotations']:.1f} s, the detections "
        f"{medians['detections']:.1f} s, all metrics {medians['metrics']:.1f} s, with intervals {medians['metrics and intervals']:.1f} s, "
        "of one core."])


if __name__ == "__main__":
    main()

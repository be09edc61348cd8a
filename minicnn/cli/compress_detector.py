"""How ``minicnn compress`` makes a detector smaller."""

import contextlib
import sys

import numpy as np

import minicnn
from minicnn.cli.compress_data import Validation, calibration_images, check_data
from minicnn.cli.compress_options import given_targets
from minicnn.cli.compress_tables import detector_tables
from minicnn.cli.loading import finish, losses_of
from minicnn.cli.paths import checkpoint_path
from minicnn.cli.provenance import emit, provenance
from minicnn.compression.checkpoint import Checkpoint
from minicnn.compression.cost_model import machine_cost_model, read_cost_model
from minicnn.compression.cost_table import cost_table
from minicnn.compression.cut import check_cut
from minicnn.compression.method import compress_detector
from minicnn.compression.options import DECOMPOSING, DetectorOptions
from minicnn.compression.reports import add_stored
from minicnn.compression.rules import RankRule
from minicnn.data.images import as_image, import_pillow, read_reduced
from minicnn.errors import InputError
from minicnn.files import make_folder, source_file
from minicnn.report.compression_page import write_report

SHOWN = 4               # images on the page, with what both networks find
SHOWN_ABOVE = 0.5       # score of what is drawn there


def run(args, model):
    """Compress a detector, save it, print its tables."""
    rng, path = np.random.default_rng(args.seed), checkpoint_path(args.out)
    options, costs = detector_options(args, model), given_cost_model(args)
    check_data(args)
    check_cut(model, options.suited_to(model, args.data or ()), costs)          # before images are read
    images, data = calibration_images(args, model, rng)
    validation = Validation(args, model) if args.validation else None
    source = source_file(args.file)
    checkpoint = Checkpoint(path, args.resume, {"source": source, "linear": args.linear, "repair": args.repair})

    def progress(event, **facts):
        if event == "resumed":
            print(f"resuming after repair of {facts['done']} layers from {path}", file=sys.stderr)
        elif event == "round":
            print(f"round {facts['number']}: {facts['sizes']['parameters']:,} parameters", file=sys.stderr)
        if event in ("resumed", "checked"):
            before_the_work(args, options)

    small, report = compress_detector(model, options, images, rng=rng, checkpoint=checkpoint, progress=progress,
                                      cost_model=costs, evaluate=validation.mean_ap if validation else None)
    parts = [data, validation.data] if validation else [data]
    small.record["provenance"] = provenance(
        args, source=source, seed=args.seed, data=None if args.data is None else str(args.data),
        mAP={"before": report.before.get("mAP"), "after": report.after.get("mAP")}, before=model.record["provenance"])
    small.record["measured"] = {}
    minicnn.save(args.out, small, args.dtype)
    add_stored(report, (args.file, model), (args.out, small))
    document = {**report.document(args.out, source, validation.document() if validation else None), **losses_of(*parts)}
    text = detector_tables(document)
    if args.report:
        shown = [as_image(read_reduced(image.path).values) for image in validation.images[:SHOWN]] if validation else images[:SHOWN]
        text += f"\n  -> {write_report(args.report, document, [found_by_both(model, small, image) for image in shown])}"
    checkpoint.remove()
    emit(args, document, text)
    return finish(args, *parts)


def given_cost_model(args):
    """The ``CostModel`` of --rates, or this machine's."""
    return machine_cost_model() if args.rates is None else read_cost_model(args.rates)


def before_the_work(args, options):
    """A note if there are no images; the report's folder, which must be writable."""
    if args.data is None and args.repair is None:
        chosen = "ranks are chosen by the weights alone, and " if options.decomposes else ""
        print(f"minicnn compress: no --data, so {chosen}nothing is repaired", file=sys.stderr)
    if args.report:
        import_pillow("drawing")
        make_folder(args.report)


def found_by_both(original, smaller, image):
    """What the page draws: the image, and the detections of both networks in it."""
    def found(network):
        detections = network.detect(image).above(SHOWN_ABOVE)
        return [(box.tolist(), name, float(score)) for box, name, score in zip(detections.boxes, detections.names, detections.scores)]
    return {"pixels": image, "before": found(original), "after": found(smaller)}


def detector_options(args, model):
    """The ``DetectorOptions`` of a detector.

    Raises:
        InputError: no such ranks or target for a detector, or for the method.
    """
    method = args.method or DECOMPOSING[0]
    rule = rank_rule(args, model)
    if method not in DECOMPOSING and rule.kind not in ("storage", "parameters", "macs"):
        raise InputError(f"got --method {method} with {'--target-time' if rule.kind == 'time' else '--ranks'}, which is for "
                         f"{' and '.join(DECOMPOSING)}, expected --target-storage, -parameters or -macs. Give one of them.")
    if method not in DECOMPOSING and args.linear == "svd":
        raise InputError(f"got --linear svd with --method {method}, which only prunes. Leave svd out.")
    kept = (*args.keep, *(() if args.rpn else ("rpn.*",)))
    return DetectorOptions(rule, method, args.linear != "no", tuple(args.layers), kept, args.low, args.minimum, args.clusters,
                           args.errors or "output", args.repair != 0, args.seed, dtype=args.dtype)


def rank_rule(args, model):
    """The ``RankRule`` of --ranks or of the targets."""
    if args.ranks is not None:
        return parse_ranks(args.ranks)
    if args.target_accuracy is not None:
        raise InputError("got --target-accuracy for a detector, expected a share of its size or time. Give --target-storage, -parameters, "
                         "-macs or -time, or --ranks.")
    kinds = given_targets(args)
    return RankRule.of([target(args, model, kind) for kind in kinds]) if kinds else RankRule("storage", 1.0)        # of a dry run


def target(args, model, kind):
    """The ``RankRule`` of one target, with a share for a number."""
    value = getattr(args, f"target_{kind}")
    if value > 1 and kind in ("storage", "time"):
        raise InputError(f"got --target-{kind} {value:g}, expected the share that is kept, up to 1. Give 0.46 to take 54 % off.")
    return RankRule(kind, value / cost_table(model, model.input_shape)[kind] if value > 1 else value)


def parse_ranks(text):
    """The ``RankRule`` of "64", "64,96" (in, out), "energy:0.9" or "evbmf"."""
    name, _, share = text.partition(":")
    with contextlib.suppress(ValueError):
        if text == "evbmf":
            return RankRule("evbmf")
        if name == "energy" and 0 < float(share) <= 1:
            return RankRule("energy", float(share))
        ranks = [int(part) for part in text.split(",")]
        if len(ranks) <= 2 and min(ranks) > 0:
            return RankRule("given", (ranks[0], ranks[-1]))
    raise InputError(f"got --ranks {text}, expected a number from 1 on for both sides, two as 64,96 for input and output, energy:0.9 for "
                     "the share of squared singular values that is kept, or evbmf. Give one of them.")

"""How ``minicnn compress --dry-run`` predicts what a detector's compression would give."""

import textwrap

import numpy as np

from minicnn.cli.compress_data import calibration_images, check_data
from minicnn.cli.compress_detector import detector_options, given_cost_model
from minicnn.cli.compress_tables import curve_table
from minicnn.cli.loading import finish, losses_of
from minicnn.cli.provenance import emit
from minicnn.cli.tables import WIDTH
from minicnn.compression.calibration_images import OBSERVED as COMPRESSING
from minicnn.compression.calibration_images import REPAIRED
from minicnn.compression.dry_run import OBSERVED, predict_compression
from minicnn.compression.output_errors import IMAGES
from minicnn.files import source_file


def run(args, model):
    """Print the curve of storage, time and predicted loss; nothing is written but --json."""
    options, costs = detector_options(args, model), given_cost_model(args)
    check_data(args)
    rng = np.random.default_rng(args.seed)
    images, data = calibration_images(args, model, rng, OBSERVED)
    document = {"file": args.file, "source": source_file(args.file), "architecture": model.architecture,
                **predict_compression(model, options, images, rng=rng, cost_model=costs), **losses_of(data)}
    wanted = args.repair or (COMPRESSING if args.repair == 0 else REPAIRED)
    emit(args, document, terminal(document, wanted))
    return finish(args, data)


def terminal(document, wanted):
    """The lines for a terminal, at most 80 wide; wanted: the number of images that ``compress`` takes."""
    if document["errors"] == "output":
        how = (f"Errors are of outputs, from {document['images']} images, of which {document['weighed']} compare the layers; compress "
               f"itself takes up to {wanted}, and {IMAGES}.")
    else:
        how = "Errors are of the weights alone."
    machine = document.get("machine", f"this machine, {document['backend']}")
    notes = [f"Loss: {document['unit']}. It is before any repair, and without what pruned filters lose.", how,
             f"Time: of {document['before']['milliseconds']:.1f} ms for an image, in convolutions and linear layers, predicted for "
             f"{machine}."]
    refusals = dict.fromkeys(row["refused"] for row in document["curve"] if row["refused"])
    return "\n".join([f"{document['architecture']} by {document['method']}, a dry run: no network is written", "",
                      curve_table(document["curve"]), "", *(textwrap.fill(line, WIDTH) for line in (*notes, *list(refusals)[:1]))])

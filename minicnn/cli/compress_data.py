"""The images and the labels that ``minicnn compress`` reads for a detector."""

from pathlib import Path

from minicnn.cli.loading import read_training_data, report_problems
from minicnn.cli.provenance import report_problem
from minicnn.compression.calibration_images import draw_images
from minicnn.compression.repair import LEAST
from minicnn.data import is_annotated, load_annotated
from minicnn.data.images import images_in
from minicnn.detection.evaluation.evaluate import MeanAveragePrecision
from minicnn.errors import InputError


def calibration_images(args, model, rng):
    """Images (H, W, 3) uint8 of --data, drawn at random, and a line for each that cannot be read.

    Raises:
        InputError: there are fewer than asked for, or than repair needs; or an option needs images and there is no --data.
    """
    if args.data is None:
        given = [f"--{name} {value}" for name in ("repair", "split", "validation", "errors") if (value := getattr(args, name))]
        if given and given != ["--errors weights"]:
            raise InputError(f"got {given[0]} without --data, expected images. Give a folder.")
        return [], []
    paths = images_in(args.data) if Path(args.data).is_dir() and not is_annotated(args.data) else []
    if paths:
        for option in ("split", "validation"):
            if getattr(args, option):
                raise InputError(f"got --{option} {getattr(args, option)} for {args.data}, which is a folder of images, expected one laid "
                                 f"out as PASCAL VOC's or COCO's. Leave out --{option}.")
    else:
        paths = [image.path for image in read_training_data(args).images]
    problems = []

    def skip(error):
        report_problem("compress", error)
        problems.append(str(error))
    images = draw_images(paths, model.transform, rng, args.repair, skip)
    if len(images) < (1 if args.repair == 0 else LEAST):
        raise InputError(f"got {len(images)} images in {args.data} that can be read, expected at least {LEAST}. Give others.")
    return images, problems


class Validation:
    """The split of --validation, on which mean AP is measured.

    Args:
        args: the verb's. model: the original detector.

    Attributes:
        mean_ap: a function, detector -> {rule: mean AP}.
        images: list of annotated images that can be read. problems: a line for each thing that was skipped.

    Raises:
        InputError: nothing can be measured on it.
    """

    def __init__(self, args, model):
        data = load_annotated(args.data, args.validation, model.record["class_names"])
        self.facts, self.problems = {"data": str(args.data), "split": args.validation}, list(data.problems)
        report_problems(args, data.problems)
        if not any((~image.difficult & ~image.crowd).any() for image in data.images):
            raise InputError(f"got the split {args.validation} of {args.data}, in which no object counts, expected some to find. Give "
                             "another to --validation.")
        self.mean_ap = MeanAveragePrecision(data, args.file, self.skip)

    def skip(self, error):
        """Report an image that cannot be read."""
        report_problem("compress", error)
        self.problems.append(str(error))

    @property
    def images(self):
        return self.mean_ap.data.images

    def document(self):
        """What the JSON document holds of it."""
        return {**self.facts, "pictures": len(self.images)}

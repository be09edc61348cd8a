"""The images and the labels that ``minicnn compress`` reads for a detector."""

from pathlib import Path

from minicnn.cli.loading import read_annotated_data, read_training_data, skip_unreadable
from minicnn.cli.provenance import report_note
from minicnn.compression.calibration_images import draw_images
from minicnn.compression.repair import LEAST
from minicnn.data import AnnotatedImages, is_annotated
from minicnn.data.check_images import UNREADABLE
from minicnn.data.image_files import images_in
from minicnn.data.skipped import Skipped, check_skipped
from minicnn.detection.evaluation.evaluate import MeanAveragePrecision
from minicnn.errors import InputError


def check_data(args):
    """Raise InputError if an option needs images and there is no --data."""
    given = [f"--{name} {value}" for name in ("repair", "split", "validation", "errors") if (value := getattr(args, name))]
    if args.data is None and given and given != ["--errors weights"]:
        raise InputError(f"got {given[0]} without --data, expected images. Give a folder.")


def calibration_images(args, model, rng, most=None):
    """Images (H, W, 3) uint8 of --data, drawn at random, and ``AnnotatedImages`` that note what was skipped; most: of a dry run.

    Raises:
        InputError: there are fewer than asked for, or than repair needs; or too many that are annotated cannot be read.
    """
    if args.data is None:
        return [], AnnotatedImages([], [])
    paths = unlabelled_images(args)
    data = AnnotatedImages([], []) if paths else read_training_data(args, prepare=lambda data: data)     # only those drawn are read
    drawn = Skipped()

    def skip(error):
        skip_unreadable(args, data, error)
        drawn.image(UNREADABLE)
    images = draw_images(paths or [image.path for image in data.images], model.transform, rng, args.repair, skip, most)
    if not paths and not args.allow_skipped:
        check_skipped(drawn, len(images), 0, f"{args.data}, drawn from it")
    if len(images) < (1 if args.repair == 0 else LEAST):
        raise InputError(f"got {len(images)} images in {args.data} that can be read, expected at least {LEAST}. Give others.")
    return images, data


def unlabelled_images(args):
    """The image files of --data if it is a folder of images without boxes; else none."""
    plain = Path(args.data).is_dir() and not is_annotated(args.data)
    paths = images_in(args.data, lambda line: report_note("compress", line)) if plain else []
    for option in ("split", "validation") if paths else ():
        if getattr(args, option):
            raise InputError(f"got --{option} {getattr(args, option)} for {args.data}, which is a folder of images, expected one laid "
                             f"out as PASCAL VOC's or COCO's. Leave out --{option}.")
    return paths


class Validation:
    """The split of --validation, on which mean AP is measured.

    Args:
        args: the verb's. model: the original detector.

    Attributes:
        mean_ap: a function, detector -> {rule: mean AP}.
        data: ``AnnotatedImages`` that note what was skipped. images: those of them that can be read.

    Raises:
        InputError: nothing can be measured on it.
    """

    def __init__(self, args, model):
        self.data = read_annotated_data(args, args.validation, model.record["class_names"])
        self.facts = {"data": str(args.data), "split": args.validation}
        if not any((~image.difficult & ~image.crowd).any() for image in self.data.images):
            raise InputError(f"got the split {args.validation} of {args.data}, in which no object counts, expected some to find. Give "
                             "another to --validation.")
        self.mean_ap = MeanAveragePrecision(self.data, args.file, lambda error: skip_unreadable(args, self.data, error))

    @property
    def images(self):
        return self.mean_ap.data.images

    def document(self):
        """What the JSON document holds of it."""
        return {**self.facts, "pictures": len(self.images)}

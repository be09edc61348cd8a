"""Generate a detection data set, digits and shapes on textures, in PASCAL VOC's layout.

The built-in data set ``scenes`` is generated when it is first used; this verb generates others like it.
"""

import argparse

from minicnn.cli.options import add_json, add_seed, at_least
from minicnn.cli.paths import OutputFolder
from minicnn.cli.provenance import emit
from minicnn.data.scenes import CLASS_NAMES, COUNT, SIZE, write_scenes

EXAMPLE = "minicnn scenes scenes320/ --size 320x240 --count 500"


def add_arguments(verb):
    verb.add_argument("folder", type=OutputFolder, metavar="FOLDER", help="the folder to write, new or empty")
    verb.add_argument("--size", type=size, default=SIZE, metavar="WxH", help="pixels of each image, width first (default: 160x120)")
    verb.add_argument("--count", type=at_least(9, int), default=COUNT, metavar="N",
                      help="number of images: two thirds for training, a ninth for validation, two ninths for tests (default: %(default)s)")
    add_seed(verb)
    add_json(verb)


def size(text):
    """An argparse type: 320x240 -> (320, 240)"""
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdigit() and len(side) < 6 for side in sides):
        raise argparse.ArgumentTypeError(f"got {text}, expected width and height such as 320x240")
    return tuple(map(int, sides))


def run(args):
    splits = write_scenes(args.folder, args.size, args.count, args.seed)
    parts = ", ".join(f"{split} {count}" for split, count in splits.items())
    emit(args, {"folder": args.folder, "size": list(args.size), "seed": args.seed, "classes": list(CLASS_NAMES[1:]), "splits": splits},
         f"{args.folder}: {args.count} images of {args.size[0]} x {args.size[1]} ({parts}), {len(CLASS_NAMES) - 1} classes")

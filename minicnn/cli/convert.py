"""Make a detector's file from a torchvision checkpoint, without torch."""

import os

import minicnn
from minicnn.cli.options import add_json, at_least
from minicnn.cli.provenance import check_outputs, emit, provenance
from minicnn.errors import InputError
from minicnn.weight_files.convert import ARCHITECTURES, convert

EXAMPLE = "minicnn convert model.pth -o model.npz"


def add_arguments(verb):
    verb.add_argument("file", metavar="FILE", help="a state dict in torch's zip or older format, or safetensors")
    add_output(verb)
    verb.add_argument("--arch", metavar="A", help=f"where names and shapes do not tell it: one of {', '.join(ARCHITECTURES)}")
    verb.add_argument("--config", metavar="FILE", help="JSON of torchvision's constructor arguments, such as min_size, and of "
                                                       "class_names (a list, or 'coco' or 'voc'), "
                                                       "anchor_sizes, aspect_ratios, roi_output_size")
    verb.add_argument("--bn-eps", type=at_least(0, float), metavar="E",
                      help="of frozen norms: 0 for files fine-tuned from torchvision's fasterrcnn_resnet50_fpn (default: 0 for that very "
                           "file, else 1e-5)")


def add_output(verb):
    """Options of what is written; the verb ``download`` has them too."""
    verb.add_argument("-o", "--out", metavar="FILE", required=verb.prog.endswith("convert"), help="the .npz to write")
    verb.add_argument("--dtype", default="float32", choices=("float32", "float16"),
                      help="how weights are stored; float16 takes half the space, and computes in float32 all the same (default: float32)")
    add_json(verb)


def run(args):
    check_outputs(args, args.out)
    if os.path.realpath(args.out) == os.path.realpath(args.file):
        raise InputError(f"got {args.out} to read and to write, expected two files. Choose another name after -o.")
    write(args, args.file, args.out, args.arch, args.config, args.bn_eps)


def write(args, file, out, architecture=None, config=None, norm_eps=None):
    """Convert a checkpoint, save it and say so."""
    model, notes = convert(file, architecture, config, norm_eps)
    model.record["provenance"].update(provenance(args))
    minicnn.save(out, model, args.dtype)
    parameters = sum(array.size for _, array in model.named_parameters())
    classes = model.architecture_arguments["num_classes"]
    document = {"file": str(out), "architecture": model.architecture, "arguments": model.architecture_arguments,
                "parameters": parameters, "notes": notes, **model.record}
    emit(args, document, "\n".join([*notes, f"{out}: {model.architecture}, {classes} classes, {parameters:,} parameters"]))

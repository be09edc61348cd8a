"""Convert torchvision's weights to a file of minicnn, without torch."""

from pathlib import Path

import minicnn
from minicnn.archive import DTYPES
from minicnn.cli.options import add_json, at_least
from minicnn.cli.paths import Input, Output
from minicnn.cli.provenance import emit, provenance
from minicnn.files import is_stream
from minicnn.weight_files.convert import ARCHITECTURES, convert

EXAMPLE = "minicnn convert model.pth -o model.npz"


def add_arguments(verb):
    verb.add_argument("file", type=Input, metavar="FILE",
                      help="a state dict, or a training's checkpoint with one, in torch's zip or legacy format, or in safetensors")
    add_output(verb)
    verb.add_argument("--arch", metavar="A", help=f"the architecture, where names and shapes of the arrays leave a choice: one of "
                                                  f"{', '.join(ARCHITECTURES)}")
    verb.add_argument("--config", type=Input, metavar="FILE",
                      help="a JSON file of torchvision's constructor arguments, such as min_size, and of class_names (a list, 'coco' or "
                           "'voc'), anchor_sizes, aspect_ratios, roi_output_size, and last_pool (true: VGG16 with its last pooling)")
    verb.add_argument("--key", metavar="K", help="which network, where the file holds several: the key that it stands under, such as "
                                                 "model_ema")
    verb.add_argument("--bn-eps", type=at_least(0, float), metavar="E",
                      help="eps of frozen batch norms: 0 for files fine-tuned from torchvision's fasterrcnn_resnet50_fpn (default: 0 for "
                           "the published file itself, else 1e-5)")


def add_output(verb):
    """Add the options of the file to write, shared with the verb ``download``."""
    verb.add_argument("-o", "--out", type=Output, metavar="FILE", required=verb.prog.endswith("convert"), help="the .npz to write")
    verb.add_argument("--dtype", default="float32", choices=DTYPES, help="how weights are stored: float16 halves the file, int8 makes it a "
                                                                         "quarter; computations stay in float32 (default: float32)")
    add_json(verb)


def run(args):
    convert_and_save(args, args.file, args.out, args.arch, args.config, args.bn_eps, args.key)


def convert_and_save(args, file, out, architecture=None, config=None, norm_eps=None, key=None):
    """Convert a weight file, save the model, and print what it is."""
    model, notes = convert(file, architecture, config, norm_eps, key)
    model.record["provenance"].update(provenance(args))
    minicnn.save(out, model, args.dtype)
    parameters = sum(array.size for _, array in model.named_parameters())
    classes = model.architecture_arguments["num_classes"]
    document = {"file": str(out), "architecture": model.architecture, "arguments": model.architecture_arguments,
                "parameters": parameters, "dtype": args.dtype, "notes": notes, **model.record}
    if not is_stream(out):
        document["file_bytes"] = Path(out).stat().st_size
    dtype = " as int8" if args.dtype == "int8" else ""
    emit(args, document, "\n".join([*notes, f"{out}: {model.architecture}, {classes} classes, {parameters:,} parameters{dtype}"]))

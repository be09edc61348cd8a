"""Download torchvision's published weights and convert them, without torch.

Downloads are kept in a cache folder (``MINICNN_CACHE`` names another), so that an interrupted one can be resumed by the same command,
and the next conversion needs no network.
"""

from minicnn.cli.convert import add_output, convert_and_save
from minicnn.cli.paths import Output, check_outputs
from minicnn.files import cache_folder
from minicnn.weight_files.published import BASE, FILES

EXAMPLE = "minicnn download fasterrcnn_resnet50_fpn -o detector.npz"


def add_arguments(verb):
    verb.add_argument("architecture", metavar="ARCH", choices=tuple(FILES),
                      help=f"one of {', '.join(FILES)}; without -o the file is ARCH.npz")
    add_output(verb)
    verb.add_argument("--url", default=BASE, metavar="BASE", help="address of a server with files of the same names: https, or http on "
                                                                  "this computer (default: %(default)s)")


def run(args):
    from minicnn.weight_files.download import download  # here: urllib takes as long to import as all verbs
    args.out = args.out or Output(f"{args.architecture}.npz")
    check_outputs(args, reads=[cache_folder() / FILES[args.architecture]])
    convert_and_save(args, download(args.architecture, base=args.url), args.out, args.architecture)

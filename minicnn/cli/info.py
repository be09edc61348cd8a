"""Show a network's file: its layers, their sizes, how it was compressed and made."""

import textwrap

from minicnn.cli.loading import trying
from minicnn.cli.options import add_json
from minicnn.cli.paths import Input
from minicnn.cli.provenance import emit
from minicnn.cli.tables import WIDTH, fitted, percent, shape
from minicnn.compression.info import info
from minicnn.compression.stored import stored
from minicnn.files import source_file
from minicnn.network_files import outline

EXAMPLE = "minicnn info small.npz --json -"


def add_arguments(verb):
    verb.add_argument("file", type=Input, metavar="FILE", help="an .npz written by minicnn, or torch's weights")
    add_json(verb)


def run(args):
    model, source = outline(args.file), source_file(args.file)
    with trying(args.file):
        document = {**source, "stored": stored(args.file, model), **info(model)}
    emit(args, document, terminal(args.file, document))


def terminal(file, document):
    """The lines for reading, at most ``WIDTH`` wide except for names of files."""
    stored = document["stored"]
    rows = [(row["path"], shape(row["weight"]), f"{row['parameters']:,}", f"{stored['layers'][row['path']]:,}", f"{row['macs']:,}")
            for row in document["layers"]]
    rows.append(("total", "", f"{document['parameters']:,}", f"{stored['bytes']:,}", f"{document['macs']:,}"))
    size = "" if stored["file_bytes"] is None else f" of {stored['file_bytes']:,} bytes"
    lines = [f"{file}: {document['architecture']}, input {shape(document['input_shape'])}",
             *(f"MACs with {part} on {count} proposals" for part, count in document["repeats"].items()),
             fitted(("layer", "weight", "parameters", "bytes", "MACs"), rows),
             f"weights as {stored['dtype']} in a file{size}; {document['bytes']:,} bytes as float32"]
    for number, step in enumerate(document["surgery"], start=1):
        lines += textwrap.wrap(f"{number}. {step['method']}{history(step)}", WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    lines += [f"{name}: {percent(figures['accuracy'])} of {figures['images']} images of {figures['data']} right"
              for name, figures in document["measured"].items()]
    if "command" in document["provenance"]:
        command = textwrap.wrap(f"made by: {document['provenance']['command']}", WIDTH - 2, subsequent_indent="    ",
                                break_long_words=False, break_on_hyphens=False)
        lines.append(" \\\n".join(command))           # can be pasted into a shell
    return "\n".join(lines)


def history(step):
    """A step of compression in words: what was removed, what was decomposed, and the images for repair."""
    removed = ", ".join(f"{len(numbers)} of {path}" for path, numbers in step["removed"].items())
    decomposed = ", ".join(f"{path} at {' and '.join(map(str, ranks))}" for path, ranks in step.get("split", {}).items())
    parts = [f" removed {removed}" if removed else "", f" decomposed {decomposed}" if decomposed else "",
             f" repaired from {step['repaired_from']} images" if step.get("repaired_from") else ""]
    return ",".join(part for part in parts if part)

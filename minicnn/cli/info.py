"""Say what is in a network's file: layers, sizes, surgery, provenance."""

import textwrap

import minicnn
from minicnn.archive import describe
from minicnn.cli.loading import trying
from minicnn.cli.options import add_json
from minicnn.cli.provenance import check_outputs, emit
from minicnn.cli.tables import percent, shape, table
from minicnn.compression.cost_table import cost_table
from minicnn.files import source_file

EXAMPLE = "minicnn info small.npz --json -"


def add_arguments(verb):
    verb.add_argument("file", metavar="FILE", help="an .npz written by minicnn")
    add_json(verb)


def run(args):
    check_outputs(args)
    model = minicnn.load(args.file)
    description, repeats = describe(model), getattr(model, "repeats", {})
    with trying(args.file):
        sizes = cost_table(model, model.input_shape)
    document = {**source_file(args.file), **description, **sizes, "description": description["layers"],
                "input_shape": list(model.input_shape), "repeats": repeats}
    rows = [(row["path"], shape(row["weight"]), f"{row['parameters']:,}", f"{row['macs']:,}") for row in sizes["layers"]]
    rows.append(("total", "", f"{sizes['parameters']:,}", f"{sizes['macs']:,}"))
    lines = [f"{args.file}: {model.architecture}, input {shape(model.input_shape)}",
             *(f"MACs with {part} on {often} proposals" for part, often in repeats.items()),
             table(("layer", "weight", "parameters", "MACs"), rows), f"{sizes['bytes']:,} bytes as float32"]
    for number, step in enumerate(model.record["surgery"], start=1):
        lines += textwrap.wrap(f"{number}. {step['method']}{history(step)}", 80, subsequent_indent="    ", break_on_hyphens=False)
    lines += [f"{name}: {percent(figures['accuracy'])} of {figures['images']} images of {figures['data']} right"
              for name, figures in model.record["measured"].items()]
    if "command" in model.record["provenance"]:
        command = textwrap.wrap(f"made by: {model.record['provenance']['command']}", 78, subsequent_indent="    ",
                                break_long_words=False, break_on_hyphens=False)
        lines.append(" \\\n".join(command))           # as a shell takes it
    emit(args, document, "\n".join(lines))


def history(step):
    """What a step of surgery did, in words."""
    removed = ", ".join(f"{len(numbers)} of {path}" for path, numbers in step["removed"].items())
    split = ", ".join(f"{path} at {' and '.join(map(str, ranks))}" for path, ranks in step.get("split", {}).items())
    parts = [f" removed {removed}" if removed else "", f" split {split}" if split else "",
             f" repaired from {step['repaired_from']} images" if step.get("repaired_from") else ""]
    return ",".join(part for part in parts if part)

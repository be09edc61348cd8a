"""--font, checked before the work begins."""

from minicnn.cli.provenance import report_note
from minicnn.detection.draw import one_line
from minicnn.detection.label_font import warnings_of


def check_font(args, class_names):
    """Print a line if no font has the letters of some of the names; raises InputError if --font cannot be read."""
    problems = warnings_of(map(one_line, class_names[1:]), args.font)
    if problems:
        more = f" (and {len(problems) - 1} more names like it)" if len(problems) > 1 else ""
        report_note(args.verb, problems[0] + more)

"""Tables and numbers for a terminal."""

WIDTH = 80              # columns of a terminal


def table(headers, rows):
    """Format rows as aligned columns, the first one to the left, the others to the right.

    Args:
        headers: names of the columns.
        rows: tuples of as many cells.

    Returns:
        text: lines joined by newlines, none with spaces at its end.
    """
    cells = [[str(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths)))
             for row in cells]
    return "\n".join([lines[0].rstrip(), "  ".join("-" * width for width in widths), *(line.rstrip() for line in lines[1:])])


def fitted(headers, rows):
    """A ``table`` no wider than ``WIDTH``: names in the first column lose their beginnings."""
    room = WIDTH - sum(2 + max(map(len, column)) for column in list(zip(headers, *rows))[1:])
    return table(headers, [(shortened(name, room), *cells) for name, *cells in rows])


def shortened(name, length):
    """A name of at most ``length`` characters; of a longer one the end: backbone.layer4.2.conv3 -> ..4.2.conv3"""
    return name if len(name) <= length else f"..{name[2 - length:]}"


def shape(sizes):
    """(3, 600, 800) -> 3x600x800"""
    return "x".join(map(str, sizes))


def percent(share):
    """0.98765 -> 98.77 %"""
    return f"{100 * share:.2f} %"


def points(share):
    """A share as percentage points: 0.12345 -> 12.35, None -> -"""
    return "-" if share is None else f"{100 * share:.2f}"


def span(ends):
    """An interval of shares: (0.1, 0.25) -> 10.00 to 25.00, None -> -"""
    return "-" if ends is None else " to ".join(map(points, ends))

"""Small charts as SVG text, for a page or a file of their own.

A chart is 340 wide, so that its letters stay readable at the width of a phone; the page scales it.
"""

import html
import math
from typing import NamedTuple

WIDTH, HEIGHT = 340, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 40
# Okabe and Ito's colours, told apart by colour-blind readers too
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


class Series(NamedTuple):
    """Points of one look.

    name: for the key; x, y: numbers; marks: of each point, "dot", "cross" or None for none; line: join the points.
    """

    name: str
    x: list
    y: list
    color: str
    marks: list
    line: bool = False


def chart(series, x_label, y_label, title, log_x=False, key=False):
    """Draw series over common axes.

    Args:
        series: list of ``Series`` with at least one point among them.
        x_label, y_label: what the axes are, with units.
        title: read out to who cannot see it.
        log_x: logarithmic horizontal axis; all x > 0.
        key: name the series inside the chart, at the upper right (a page can do it outside).

    Returns:
        svg: text of one <svg> element.
    """
    across = Axis([x for one in series for x in one.x], LEFT, WIDTH - RIGHT, log_x)
    up = Axis([y for one in series for y in one.y], HEIGHT - BOTTOM, TOP)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" '
             f'font-size="10" fill="#444"><title>{html.escape(title)}</title>'
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    for value, place in across.ticks():
        parts.append(f'<path d="M{place:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e4e4e4"/>'
                     f'<text x="{place:.1f}" y="{HEIGHT - BOTTOM + 13}" text-anchor="middle">{number(value)}</text>')
    for value, place in up.ticks():
        parts.append(f'<path d="M{LEFT} {place:.1f}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>'
                     f'<text x="{LEFT - 4}" y="{place + 3:.1f}" text-anchor="end">{number(value)}</text>')
    for one in series:
        places = [(across(x), up(y)) for x, y in zip(one.x, one.y)]
        if one.line:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            parts.append(f'<path d="M{path}" fill="none" stroke="{one.color}" stroke-width="1.5"/>')
        parts += [mark(kind, x, y, one.color) for (x, y), kind in zip(places, one.marks) if kind]
    if key:
        for row, one in enumerate(series):
            parts.append(f'<text x="{WIDTH - RIGHT - 4}" y="{TOP + 10 + 13 * row}" text-anchor="end" fill="{one.color}">'
                         f"{html.escape(one.name)}</text>")
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 9}" text-anchor="middle">{html.escape(x_label)}</text>'
                 f'<text transform="translate(11 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
                 f'{html.escape(y_label)}</text></svg>')
    return "".join(parts)


def mark(kind, x, y, color):
    if kind == "dot":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{color}" fill-opacity=".75"/>'
    return f'<path d="M{x - 3.2:.1f} {y - 3.2:.1f}l6.4 6.4m0-6.4l-6.4 6.4" stroke="{color}" stroke-width="1.6" fill="none"/>'


class Axis:
    """Maps values to places on the sheet, with a margin, and finds round numbers for its ticks."""

    def __init__(self, values, start, end, log=False):
        self.scale = math.log10 if log else float
        low, high = self.scale(min(values)), self.scale(max(values))
        margin = 0.06 * (high - low) or 0.06 * abs(high) or 1
        self.low, self.high, self.start, self.end, self.log = low - margin, high + margin, start, end, log

    def __call__(self, value):
        share = (self.scale(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self):
        """(value, place) at 1, 2, 5 times powers of ten, some four of them."""
        low, high = (10.0 ** self.low, 10.0 ** self.high) if self.log else (self.low, self.high)
        if self.log and self.high - self.low > 0.7:     # a shorter axis, less than 1 to 5, may hold none of these
            powers = range(math.floor(self.low), math.ceil(self.high) + 1)
            steps = (1, 2, 5) if self.high - self.low < 2 else (1,)
            values = [step * 10.0 ** power for power in powers for step in steps]
        else:
            rough = (high - low) / 5          # at most; at least two
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
            values = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
        return [(value, self(value)) for value in values if low <= value <= high]


def number(value):
    """Short enough for a tick: 1500 -> 1500, 200000 -> 200k, 0.00012 -> 1.2e-4."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:g}k"
    if 0 < abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{round(value, 6):g}"

"""Small charts as SVG, for a page or a file.

A chart is 340 units wide, so that its text stays readable at the width of a phone; the page scales it.
"""

import html
import math
from typing import NamedTuple

WIDTH, HEIGHT = 340, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 40
# Okabe and Ito's palette, which colour-blind readers can distinguish, too
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


class Series(NamedTuple):
    """Points that are drawn alike.

    name: in the legend; x, y: coordinates; color: of points and line; marks: "dot", "cross" or None for each point; line: whether to
    connect the points. A line of a single point is drawn as a dot.
    """

    name: str
    x: list
    y: list
    color: str
    marks: list
    line: bool = False


def chart(series, x_label, y_label, title, log_x=False, key=False):
    """Draw series on common axes.

    Args:
        series: list of ``Series`` with at least one point in total.
        x_label, y_label: labels of the axes, with units.
        title: for screen readers.
        log_x: logarithmic horizontal axis; all x > 0.
        key: show the series' names in the chart, at the upper right (a page can have its own legend).

    Returns:
        svg: one <svg> element.

    >>> svg = chart([Series("loss", [1, 2], [0.5, 0.25], COLORS[0], ["dot", "dot"], line=True)], "epoch", "loss", "Training")
    >>> svg.startswith("<svg "), svg.count("<circle"), svg.endswith("</svg>")
    (True, 2, True)
    """
    across = Axis([x for points in series for x in points.x], LEFT, WIDTH - RIGHT, log_x)
    up = Axis([y for points in series for y in points.y], HEIGHT - BOTTOM, TOP)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" '
             f'font-size="10" fill="#444"><title>{html.escape(title)}</title>'
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *grid(across, up)]
    for points in series:
        places = [(across(x), up(y)) for x, y in zip(points.x, points.y)]
        if points.line:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            parts.append(f'<path d="M{path}" fill="none" stroke="{points.color}" stroke-width="1.5"/>')
        marks = ["dot"] if points.line and len(places) == 1 else points.marks
        parts += [mark(kind, x, y, points.color) for (x, y), kind in zip(places, marks) if kind]
    if key:
        for row, points in enumerate(series):
            parts.append(f'<text x="{WIDTH - RIGHT - 4}" y="{TOP + 10 + 13 * row}" text-anchor="end" fill="{points.color}">'
                         f"{html.escape(points.name)}</text>")
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 9}" text-anchor="middle">{html.escape(x_label)}</text>'
                 f'<text transform="translate(11 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
                 f'{html.escape(y_label)}</text></svg>')
    return "".join(parts)


def grid(across, up):
    """Lines and numbers at the ticks of both axes."""
    for value, place in across.ticks():
        yield (f'<path d="M{place:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e4e4e4"/>'
               f'<text x="{place:.1f}" y="{HEIGHT - BOTTOM + 13}" text-anchor="middle">{number(value)}</text>')
    for value, place in up.ticks():
        yield (f'<path d="M{LEFT} {place:.1f}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>'
               f'<text x="{LEFT - 4}" y="{place + 3:.1f}" text-anchor="end">{number(value)}</text>')


def mark(kind, x, y, color):
    """A dot or a cross at a point."""
    if kind == "dot":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{color}" fill-opacity=".75"/>'
    return f'<path d="M{x - 3.2:.1f} {y - 3.2:.1f}l6.4 6.4m0-6.4l-6.4 6.4" stroke="{color}" stroke-width="1.6" fill="none"/>'


class Axis:
    """Maps values to positions in the chart, with a margin, and finds round numbers for the ticks."""

    def __init__(self, values, start, end, log=False):
        self.scale = math.log10 if log else float
        low, high = self.scale(min(values)), self.scale(max(values))
        margin = 0.06 * (high - low) or 0.06 * abs(high) or 1
        self.low, self.high, self.start, self.end, self.log = low - margin, high + margin, start, end, log

    def __call__(self, value):
        share = (self.scale(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self):
        """(value, position) of about four ticks, at 1, 2 and 5 times powers of ten."""
        low, high = (10.0 ** self.low, 10.0 ** self.high) if self.log else (self.low, self.high)
        if self.log and self.high - self.low > 0.7:     # a shorter axis, less than 1 to 5, may contain none of these
            powers = range(math.floor(self.low), math.ceil(self.high) + 1)
            steps = (1, 2, 5) if self.high - self.low < 2 else (1,)
            values = [step * 10.0 ** power for power in powers for step in steps]
        else:
            rough = (high - low) / 5          # at most five steps, at least two
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
            values = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
        return [(value, self(value)) for value in values if low <= value <= high]


def number(value):
    """A number short enough for a tick.

    >>> [number(value) for value in (1500, 200000, 3e6, 0.00012, 0.25)]
    ['1500', '200k', '3M', '1.2e-4', '0.25']
    """
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:g}k"
    if 0 < abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{round(value, 6):g}"

"""Groups of horizontal bars as SVG, as wide as a phone like the charts of ``minicnn.report.svg``."""

import html
from typing import NamedTuple

from minicnn.report.svg import WIDTH, Axis, number

LEFT, RIGHT, TOP = 98, 80, 32           # margins for the labels before the bars, the texts behind them, the axis above
STEP, HEADING = 14, 22                  # height of a bar with its gap, and of a group's heading
THICK = 9


class Bar(NamedTuple):
    """label: before the bar; value: its length; least, most: ends of its whisker; text: behind it; color."""

    label: str
    value: float
    least: float
    most: float
    text: str
    color: str


def bars(groups, label, title, mark):
    """Draw horizontal bars from 0.

    Args:
        groups: {heading: list of ``Bar``}.
        label: of the axis.
        title: for screen readers.
        mark: value to compare the bars with, drawn as a dashed line.

    Returns:
        svg: text of one <svg> element.
    """
    across = Axis([0, *(bar.most for group in groups.values() for bar in group)], LEFT, WIDTH - RIGHT)
    height = TOP + 6 + sum(HEADING + STEP * len(group) for group in groups.values())
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="10" '
             f'fill="#444"><title>{html.escape(title)}</title><rect width="{WIDTH}" height="{height}" fill="#fff"/>']
    parts.append(f'<text x="{across(0):.1f}" y="12">{html.escape(label)}</text>')
    for value, x in across.ticks():
        parts.append(f'<text x="{x:.1f}" y="{TOP - 5}" text-anchor="middle">{number(value)}</text>')
    y = TOP
    for heading, group in groups.items():
        parts.append(f'<text x="4" y="{y + 16}" font-weight="bold">{html.escape(heading)}</text>')
        y += HEADING
        line = f"{y}v{STEP * len(group)}"
        parts += [f'<path d="M{x:.1f} {line}" stroke="#e4e4e4"/>' for _, x in across.ticks()]
        parts.append(f'<path d="M{across(mark):.1f} {line}" stroke="#444" stroke-dasharray="3 2"/>')
        for bar in group:
            parts.append(draw(bar, across, y + STEP / 2))
            y += STEP
    return "".join([*parts, "</svg>"])


def draw(bar, across, y):
    """One bar, centred at the height y."""
    start, end, least, most = (across(value) for value in (0, bar.value, bar.least, bar.most))
    return (f'<text x="{start - 4:.1f}" y="{y + 3.5}" text-anchor="end">{html.escape(bar.label)}</text>'
            f'<rect x="{start:.1f}" y="{y - THICK / 2}" width="{end - start:.1f}" height="{THICK}" fill="{bar.color}"/>'
            f'<path d="M{least:.1f} {y}H{most:.1f}M{least:.1f} {y - 2}v4M{most:.1f} {y - 2}v4" stroke="#222"/>'
            f'<text x="{WIDTH - 4}" y="{y + 3.5}" text-anchor="end">{html.escape(bar.text)}</text>')

"""The page of ``minicnn bench``: where a network's time goes, with its roofline, the bound by the speeds of arithmetic and of memory:

    GFLOP/s <= min(product speed, memory speed * FLOP per byte).

Reference: Williams, Waterman, Patterson, Roofline: an insightful visual performance model for multicore architectures (2009).
"""

import html
import math
from pathlib import Path

from minicnn.files import atomic_write
from minicnn.report.page import key_line, page, table
from minicnn.report.svg import BOTTOM, COLORS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, grid

LARGEST, SMALLEST = 11, 1.5      # radii of dots
NAMED = 3                        # number of the longest steps that are numbered in the figure
GREY = "#777"


def predict(steps, peak_gflops, bandwidth):
    """The roofline's bound on time: the least milliseconds of each step on a machine of these two speeds.

    Args:
        steps: dictionaries with "arithmetic", the FLOP that a step computes, and "bytes", all that it must read and write once.
        peak_gflops: of all cores together, GFLOP/s.
        bandwidth: of memory, GB/s.

    Returns:
        list of milliseconds; the network takes at least their sum, plus what happens between its plans.

    >>> predict([{"arithmetic": 10**9, "bytes": 10**7}, {"arithmetic": 0, "bytes": 10**7}], peak_gflops=100, bandwidth=10)
    [10.0, 1.0]
    """
    return [max(step["arithmetic"] / peak_gflops, step["bytes"] / bandwidth) / 1e6 for step in steps]


def write_report(folder, document):
    """Write ``report.html``.

    Args:
        folder: an existing folder.
        document: what ``minicnn bench --json`` prints.

    Returns:
        path: of the page.
    """
    total = document["total"]
    body = [
        f"<p>An image of {document['size'][0]} × {document['size'][1]} takes <b>{total['ms']:,.1f} ms</b> by {document['backend']}: the "
        f"median of {total['runs']} runs, {total['ms_least']:,.1f} to {total['ms_most']:,.1f}. The first run, which compiles and plans, "
        f"took {document['first_ms'] / 1000:.1f} s. That is {total['gflops']:,.0f} GFLOP/s of the direct algorithm.</p>",
        "<h2>Roofline</h2>", roofline_figure(document),
        "<h2>Steps</h2>",
        "<p>GFLOP/s count the direct algorithm, whatever a step computes. <i>Product</i> and <i>memory</i> are shares of the two speeds of "
        "this machine: for the arithmetic that the step computes (Winograd's is less), and for its input, output and weights, each read "
        "or written once.</p>",
        steps_table(document),
        "<h2>Machine</h2>", machine_table(document),
    ]
    path = Path(folder, "report.html")
    with atomic_write(path) as file:
        file.write(page(f"{document['architecture']}, step by step", "".join(body)).encode())
    return str(path)


def steps_table(document):
    """Every step, the time between them, and the total."""
    rows = []
    for step in document["steps"]:
        multiplies = (f"{step['gflops']:.1f}", f"{100 * step['product_share']:.0f} %") if step["flop"] else ("", "")
        rows.append((step["name"], f"{step['ms']:.2f}", *multiplies, f"{100 * step['memory_share']:.0f} %", step["algorithm"],
                     " × ".join(map(str, step["result"]))))
    rows += [(name, f"{milliseconds:.2f}", "", "", "", "" if name.startswith("(") else "between the plans", "")
             for name, milliseconds in document["between"].items()]
    rows.append(("all", f"{document['total']['ms']:.2f}", f"{document['total']['gflops']:.1f}", "", "", "", ""))
    return table(("step", "ms", "GFLOP/s", "product", "memory", "algorithm", "result"), rows)


def machine_table(document):
    """The machine on which the times were measured, as far as it is known."""
    roofs = document["roofs"]
    rows = [("product", f"{roofs['gflops']:,.1f} GFLOP/s"), ("memory", f"{roofs['gbytes']:,.1f} GB/s")]
    for name, value in document["machine"].items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {part}" for key, part in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        if value not in (None, ""):
            rows.append((name.replace("_", " "), value))
    return table(("machine", ""), rows)


def roofline_figure(document):
    """The figure with its caption, as HTML."""
    steps = [step for step in document["steps"] if step["flop"] and step["ms"] > 0]
    if not steps:
        return "<p>No step multiplies.</p>"
    entries = key_line([(color, "●", name) for name, color in colors_of(steps).items()])
    names = "; ".join(f"{i}: {html.escape(step['name'])}, {step['ms']:.1f} ms" for i, step in enumerate(by_time(steps)[:NAMED], start=1))
    idle = sum(step["ms"] for step in document["steps"] if not step["flop"])
    rest = f" Not shown: {idle:.1f} ms in steps that do not multiply." if idle else ""
    return (f'<figure class="wide">{roofline(steps, document["roofs"])}<figcaption>{entries}<br>'
            f"Each dot is a step; its area is the time, its position the arithmetic that the step computes. The ring above it counts the "
            f"direct algorithm. The line is the bound on this machine by memory (rising) and product (level). {names}.{rest}"
            "</figcaption></figure>")


def roofline(steps, roofs):
    """Draw the two roofs and a dot for each step, on logarithmic axes.

    Args:
        steps: dictionaries with "name", "algorithm", "flop", "arithmetic", "bytes", "ms"; all positive.
        roofs: {"gflops", "gbytes"}.

    Returns:
        svg: one <svg> element.
    """
    peak, bandwidth = roofs["gflops"], roofs["gbytes"]
    ridge = peak / bandwidth
    dots, rings = ([(step[work] / step["bytes"], step[work] / step["ms"] / 1e6) for step in steps] for work in ("arithmetic", "flop"))
    across = Axis([*(x for x, _ in (*dots, *rings)), ridge / 8, ridge * 8], LEFT, WIDTH - RIGHT, log=True)
    up = Axis([*(y for _, y in (*dots, *rings)), peak * 1.5, peak / 20], HEIGHT - BOTTOM, TOP, log=True)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" '
             f'font-size="10" fill="#444"><title>Roofline: GFLOP/s of each step against its FLOP per byte</title>'
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    parts += [*grid(across, up), roof(across, up, peak, bandwidth)]
    colors, longest = colors_of(steps), by_time(steps)
    for step, dot, ring in zip(steps, dots, rings):
        if step["flop"] > step["arithmetic"]:
            (x0, y0), (x1, y1) = ((across(x), up(y)) for x, y in (dot, ring))
            parts.append(f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="{colors[family(step)]}" stroke-opacity=".3"/>'
                         f'<circle cx="{x1:.1f}" cy="{y1:.1f}" r="2" fill="#fff" stroke="{colors[family(step)]}"/>')
    for step in longest:                                                    # largest first, so that small dots are on top
        x, y = step["arithmetic"] / step["bytes"], step["arithmetic"] / step["ms"] / 1e6
        radius = max(SMALLEST, LARGEST * math.sqrt(step["ms"] / longest[0]["ms"]))
        parts.append(f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="{radius:.1f}" fill="{colors[family(step)]}" fill-opacity=".6" '
                     f'stroke="#fff" stroke-width=".5"><title>{html.escape(step["name"])}: {step["ms"]:.2f} ms, {y:.0f} GFLOP/s</title>'
                     "</circle>")
    for place, step in enumerate(longest[:NAMED], start=1):
        x, y = across(step["arithmetic"] / step["bytes"]), up(step["arithmetic"] / step["ms"] / 1e6)
        parts.append(f'<text x="{x:.1f}" y="{y + 3:.1f}" text-anchor="middle" font-size="8" font-weight="bold" fill="#000" '
                     f'pointer-events="none">{place}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 9}" text-anchor="middle">FLOP per byte</text>'
                 f'<text transform="translate(11 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">GFLOP/s</text></svg>')
    return "".join(parts)


def roof(across, up, peak, bandwidth):
    """The bound by memory and product as a line, labelled with the two speeds."""
    start = max(10 ** across.low, 10 ** up.low / bandwidth)                 # where the slope enters the chart
    (x0, y0), (x1, y1) = (across(start), up(start * bandwidth)), (across(peak / bandwidth), up(peak))
    slope = math.degrees(math.atan2(y1 - y0, x1 - x0))
    return (f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}H{WIDTH - RIGHT}" fill="none" stroke="{GREY}" stroke-width="1.5"/>'
            f'<text transform="translate({(x0 + x1) / 2:.1f} {(y0 + y1) / 2:.1f}) rotate({slope:.1f})" y="-4" text-anchor="middle" '
            f'fill="{GREY}">{bandwidth:.3g} GB/s</text>'
            f'<text x="{x1 + 4:.1f}" y="{y1 - 4:.1f}" fill="{GREY}">{peak:.3g} GFLOP/s</text>')


def by_time(steps):
    """Steps by descending time."""
    return sorted(steps, key=lambda step: -step["ms"])


def family(step):
    """A step's algorithm without its options."""
    return step["algorithm"].partition(",")[0]


def colors_of(steps):
    """{family of algorithms: colour}, by descending total time."""
    spent = {}
    for step in steps:
        spent[family(step)] = spent.get(family(step), 0) + step["ms"]
    return {name: COLORS[i % len(COLORS)] for i, name in enumerate(sorted(spent, key=spent.get, reverse=True))}

"""Self-contained HTML pages: without scripts, and without anything to download."""

import base64
import html
import io

STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto; max-width: 1080px; padding: 0 16px 48px }
h1 { font-size: 1.5em; line-height: 1.25 } h2 { font-size: 1.2em; margin-top: 2em } h3 { font-size: 1em; margin-bottom: .2em }
p { max-width: 46em } h1, p { overflow-wrap: anywhere }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .9em; font-variant-numeric: tabular-nums }
th, td { padding: .25em .6em; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); gap: 12px 20px }
figure { margin: 0 } figcaption { font-size: .85em; color: #555 } svg { width: 100%; height: auto; display: block }
.wide { max-width: 560px }
.filters { display: flex; flex-wrap: wrap; gap: 6px } .filters figure { width: 48px; text-align: center }
.filters img { width: 48px; image-rendering: pixelated; border: 1px solid #bbb; box-sizing: border-box; display: block }
.filters.large figure, .filters.large img { width: 99px }
.filters .removed img { opacity: .35; border-color: #d55e00 } .filters .removed figcaption { color: #b34700 }
.filters figcaption { font-size: .7em; line-height: 1.3 }
.key { font-size: .85em } .key span { margin-right: 1.2em; display: inline-block } .key i { font-style: normal; font-weight: bold }
"""


def page(title, body):
    """A whole HTML page; ``title`` is plain text, ``body`` is HTML."""
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
            f'initial-scale=1"><title>{html.escape(title)}</title><style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>'
            f"{body}</body></html>\n")


def table(headers, rows):
    """An HTML table; cells are plain text.

    >>> table(["layer", "MACs"], [["conv1", "<1"]])
    '<div class="scroll"><table><tr><th>layer</th><th>MACs</th></tr><tr><td>conv1</td><td>&lt;1</td></tr></table></div>'
    """
    def row(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"
    return f'<div class="scroll"><table>{row(headers, "th")}{"".join(row(cells, "td") for cells in rows)}</table></div>'


def sizes_table(before, after):
    """Parameters, and in columns of their own the bytes that the files hold, of a network before and after.

    Args:
        before, after: cost tables with "stored", the dtype and the bytes.
    """
    rows, stored = [], (before["stored"], after["stored"])
    for name, count, size in (("file", "parameters", "file_bytes"), ("convolutions", "convolution_parameters", "convolution_bytes"),
                              ("linear layers", "linear_parameters", "linear_bytes")):
        cells = []
        for pair in ((before[count], after[count]), (stored[0][size], stored[1][size])):
            known = None not in pair and pair[0]
            cells += [*("–" if one is None else f"{one:,}" for one in pair), f"{100 * pair[1] / pair[0]:.1f} %" if known else "–"]
        rows.append((name, *cells))
    dtypes = [state["dtype"] for state in stored]
    return table(("", "parameters", "after", "left", f"bytes, {dtypes[0]}", f"after, {dtypes[1]}", "left"), rows)


def key_line(entries):
    """The legend of a chart in one line of HTML; entries: (colour, sign drawn in it, name)."""
    return '<span class="key">' + "".join(f'<span><i style="color:{color}">{sign}</i> {html.escape(name)}</span>'
                                          for color, sign, name in entries) + "</span>"


def data_uri(image, form, **options):
    """A Pillow image as a data: URI; form: "PNG" or "JPEG", options: of Pillow's ``save``."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"

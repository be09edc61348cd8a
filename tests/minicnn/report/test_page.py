"""The HTML page of a report."""

import re
from html.parser import HTMLParser

from minicnn.report.page import page, table


class Strict(HTMLParser):
    """Refuses tags that do not nest; keeps the text of each kind of element."""

    VOID = {"meta", "img", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)


def test_the_page_is_whole_and_self_contained():
    text = page("a <b> & c", "<p>body</p>")
    parsed = Strict(text)
    assert text.startswith("<!doctype html>") and parsed.texts["title"] == parsed.texts["h1"] == ["a <b> & c"]
    assert parsed.texts["p"] == ["body"]
    assert ("meta", {"charset": "utf-8"}) in parsed.tags and "width=device-width" in text
    assert not re.search(r"https?:|<script|<link|url\(|@import", text)


def test_a_table_escapes_its_cells():
    parsed = Strict(table(("<i>", "n"), [("a & b", 1), ("c", "<td>")]))
    assert parsed.texts == {"th": ["<i>", "n"], "td": ["a & b", "1", "c", "<td>"]}
    assert [tag for tag, _ in parsed.tags].count("tr") == 3
    assert ("div", {"class": "scroll"}) in parsed.tags                  # a wide table must not widen a phone's page

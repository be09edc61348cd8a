"""Untrusted XML: defusedxml and the standard parser give the same elements and refuse the same documents."""

import importlib.util
import sys
import tracemalloc

import pytest

from minicnn.data.safe_xml import parse
from minicnn.errors import InputError

LAUGHS = '<!DOCTYPE lolz [<!ENTITY lol0 "lol">' + "".join(
    f'<!ENTITY lol{i} "{f"&lol{i - 1};" * 10}">' for i in range(1, 10)) + "]><annotation>&lol9;</annotation>"
EXTERNAL = '<!DOCTYPE a [<!ENTITY secret SYSTEM "{address}">]><annotation>&secret;</annotation>'


@pytest.fixture(params=["defusedxml", "standard"], autouse=True)
def parser(request, monkeypatch):
    """Each of the two parsers."""
    if request.param == "standard":
        for name in [name for name in sys.modules if name.partition(".")[0] == "defusedxml"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "defusedxml", None)
    elif not importlib.util.find_spec("defusedxml"):
        pytest.skip("defusedxml is not installed")
    return request.param


def refused(data, expected):
    with pytest.raises(InputError) as caught:
        parse(data, "some.xml")
    message = str(caught.value)
    assert expected in message and "some.xml" in message and "expected " in message and "\n" not in message and len(message) < 300


def test_elements_texts_and_attributes():
    root = parse('<?xml version="1.0" encoding="latin-1"?><a b="1">\n<c>é &amp; &lt;</c><c/><!-- no --></a>'.encode("latin-1"), "some.xml")
    assert root.tag == "a" and root.get("b") == "1"
    assert [child.text for child in root.iterfind("c")] == ["é & <", None]


@pytest.mark.parametrize("declared, encoding", [
    ("GB2312", "gb2312"), ("gb2312", "gbk"), ("GBK", "gbk"), ("gb18030", "gb18030"), ("Shift_JIS", "cp932"), ("EUC-KR", "euc_kr"),
    ("Big5", "big5"), ("windows-1251", "cp1251"), ("UTF-8", "utf-8"), ("UTF-16", "utf-16")])
def test_the_declared_encoding_is_used(declared, encoding):
    """Expat knows none of more than one byte a letter but Unicode's; files declared GB2312 hold GBK, too."""
    text = {"gb2312": "汽车", "gbk": "汽車", "gb18030": "汽車", "cp932": "髙い車", "euc_kr": "자동차", "big5": "汽車"}.get(encoding, "Авто")
    root = parse(f'<?xml version="1.0" encoding="{declared}"?>\n<a><name>{text}</name></a>'.encode(encoding), "some.xml")
    assert root.findtext("name") == text


@pytest.mark.parametrize("data", [
    '<?xml version="1.0" encoding="GBK"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode("gbk"), LAUGHS.encode("utf-16")])
def test_another_encoding_hides_no_declaration(data):
    refused(data, "declaration")


@pytest.mark.parametrize("encoding", ["zlib", "rot13", "hex", "none-such", "undefined", "utf-7"])
def test_what_is_no_encoding_of_text(encoding):
    refused(f'<?xml version="1.0" encoding="{encoding}"?><a/>'.encode(), "not plain XML")


def test_bytes_that_are_not_of_the_declared_encoding():
    refused(b'<?xml version="1.0" encoding="GBK"?><a>\xff\xff</a>', "not plain XML")


def test_a_billion_laughs():
    """Refused before any entity is expanded: all of them would be 3 GB."""
    tracemalloc.start()
    try:
        refused(LAUGHS.encode(), "declaration")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_external_entities_are_not_fetched(tmp_path):
    (tmp_path / "secret").write_text("password")
    refused(EXTERNAL.format(address=(tmp_path / "secret").as_uri()).encode(), "declaration")


def test_the_smallest_declaration():
    refused(b"<!DOCTYPE annotation><annotation/>", "declaration")
    refused(b'<!DOCTYPE annotation SYSTEM "http://localhost/voc.dtd"><annotation/>', "declaration")


@pytest.mark.parametrize("data", [
    b"", b"text", b"<a>", b"<a></b>", b"<a/><a/>", b"<a>&lol;</a>", b"<a>\xff</a>", b"\x00" * 100, b"\xff\xd8\xff\xe0JFIF",
    b'<?xml version="1.0" encoding="utf-7"?><a/>', b'<?xml version="1.0" encoding="none\n"?><a/>',
])
def test_what_is_no_xml(data):
    refused(data, "not plain XML")


def test_a_tower_of_elements_falls_without_a_crash():
    assert len(list(parse(b"<a>" * 100_000 + b"</a>" * 100_000, "some.xml").iter())) == 100_000

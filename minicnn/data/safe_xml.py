"""Read XML from untrusted files.

A document type declaration is refused, and with it every entity: no entity that expands a millionfold ("billion laughs"), none that
reads another file or address.
"""

import codecs
import re
from xml.etree.ElementTree import ParseError, TreeBuilder
from xml.parsers import expat

from minicnn.errors import InputError

DECLARED = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z][\w.-]{0,40})["']""")
WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}    # files so declared hold these supersets, too


def parse(data, name):
    """Read an XML document.

    Args:
        data: bytes.
        name: the document's name in error messages.

    Returns:
        root: the outermost ``xml.etree.ElementTree.Element``.

    Raises:
        InputError: the document is malformed, or has a document type declaration.
    """
    try:
        return reader()(decoded(data))
    except (ParseError, expat.ExpatError, ValueError, LookupError) as error:
        text = "a document type declaration" if is_refusal(error) else " ".join(str(error).split())[:100]
        raise InputError(f"got {name}, which is not plain XML ({text}), expected elements and text only. Correct it, or download it "
                         "again.") from error


def decoded(data):
    """The document as text if its declaration names an encoding that expat does not read, such as GB2312; else as it is.

    Raises:
        LookupError: there is no such encoding. ValueError: the bytes are not of it.
    """
    declared = DECLARED.match(data)
    name = codecs.lookup(declared[1].decode()).name if declared else "utf-8"
    if name.startswith(("utf", "ascii", "iso8859")):
        return data
    return data.decode(WIDER.get(name, name))                       # of a text, expat ignores what it declares


def reader():
    """A function from bytes to the root element that refuses declarations: ``defusedxml``'s where it is installed."""
    try:
        from defusedxml.ElementTree import fromstring
    except ImportError:
        return from_bytes
    return lambda data: fromstring(data, forbid_dtd=True)


class Refused(ValueError):
    """The document has a document type declaration."""


def is_refusal(error):
    """Whether an error is ours or ``defusedxml``'s for a declaration."""
    return isinstance(error, Refused) or type(error).__module__.startswith("defusedxml")


def from_bytes(data):
    """The root element by the standard parser; raises Refused at a declaration."""
    def refuse(*declaration):
        raise Refused
    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = builder.start, builder.end, builder.data
    parser.Parse(data, True)
    return builder.close()

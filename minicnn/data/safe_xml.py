"""XML of strangers, read without what XML can do beyond marking up text.

A document type declaration is refused, and with it every entity: nothing that grows a millionfold as it is read (the "billion laughs"),
nothing that fetches another file or address.
"""

from xml.etree.ElementTree import ParseError, TreeBuilder
from xml.parsers import expat

from minicnn.errors import InputError


def parse(data, name):
    """Read an XML document.

    Args:
        data: bytes.
        name: what to call it in a message.

    Returns:
        root: its outermost ``xml.etree.ElementTree.Element``.

    Raises:
        InputError: it is malformed, or has a document type declaration.
    """
    try:
        return reader()(data)
    except (ParseError, expat.ExpatError, ValueError, LookupError) as error:
        text = "a document type declaration" if is_refusal(error) else " ".join(str(error).split())[:100]
        raise InputError(f"got {name}, which is no plain XML ({text}), expected elements and text alone. Mend it or fetch it "
                         "again.") from error


def reader():
    """A function from bytes to an element that refuses declarations: ``defusedxml``'s where that is installed."""
    try:
        from defusedxml.ElementTree import fromstring
    except ImportError:
        return from_bytes
    return lambda data: fromstring(data, forbid_dtd=True)


class Refused(ValueError):
    """There is a document type declaration."""


def is_refusal(error):
    return isinstance(error, Refused) or type(error).__module__.startswith("defusedxml")


def from_bytes(data):
    """The standard parser's element, unless the document declares anything."""
    def refuse(*declaration):
        raise Refused
    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = builder.start, builder.end, builder.data
    parser.Parse(data, True)
    return builder.close()

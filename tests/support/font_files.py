"""Small fonts: the glyphs of Pillow's own font under other letters."""

import struct

import pytest
from PIL import ImageFont


def write_font(path, letters):
    """Write a TrueType font that has these letters and no others; returns its path as text.

    Each has the picture of some letter of Pillow's font, whose table of letters is replaced; nobody checks the sums of tables.
    """
    try:
        source = ImageFont.load_default(20).path
    except TypeError:
        pytest.skip("it needs the font in Pillow 10.1")
    source.seek(0)
    data = source.read()
    codes = sorted(map(ord, letters))
    groups = b"".join(struct.pack(">III", code, code, 30 + number) for number, code in enumerate(codes))
    table = struct.pack(">HHHHI", 0, 1, 3, 10, 12) + struct.pack(">HHIII", 12, 0, 16 + len(groups), 0, len(codes)) + groups
    number, = struct.unpack_from(">H", data, 4)
    data = bytearray(data)
    for entry in range(12, 12 + 16 * number, 16):
        if data[entry:entry + 4] == b"cmap":
            struct.pack_into(">II", data, entry + 8, len(data), len(table))
    path.write_bytes(bytes(data) + table)
    return str(path)

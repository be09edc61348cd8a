"""Small data sets in PASCAL VOC's layout, written as text."""

from minicnn.data.voc_xml import CORNERS

SIZE = "<size><width>60</width><height>40</height><depth>3</depth></size>"


def thing(name="cat", box=(11, 6, 30, 25), more=""):
    """An object's XML."""
    corners = "".join(f"<{corner}>{value}</{corner}>" for corner, value in zip(CORNERS, box))
    return f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>"


def document(*things, size=SIZE, start=""):
    return f"{start}<annotation>{size}{''.join(things)}</annotation>"


class Folder:
    """A VOC folder in which every image has a cat, unless it is changed."""

    def __init__(self, root, **splits):
        self.root = root
        for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (root / folder).mkdir(parents=True)
        for split, names in (splits or {"train": ["a", "b"], "test": ["c"]}).items():
            self.list(split, "".join(f"{name}\n" for name in names))
            for name in names:
                self.annotate(name, document(thing()))

    def list(self, split, text):
        (self.root / "ImageSets" / "Main" / f"{split}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())

    def annotate(self, name, text):
        (self.root / "Annotations" / f"{name}.xml").write_bytes(text if isinstance(text, bytes) else text.encode())

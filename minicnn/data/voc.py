"""Data sets in PASCAL VOC's layout: one XML file per image, which ``voc_xml.py`` reads.

``Annotations`` contains the XML files, ``ImageSets/Main/SPLIT.txt`` the names of a split's images (``voc_lists.py``), ``JPEGImages`` the
images, which are not opened here. Tools leave much of that out: the lists (then all images are one split, "all"), or the folders, with
images and XML files side by side, in one folder or in one for each split.

Reference: Everingham, Winn, The PASCAL Visual Object Classes Challenge 2007 development kit.
"""

from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from minicnn.data.annotated import AnnotatedImages, check_classes, label_table, shown
from minicnn.data.class_names import VOC
from minicnn.data.image_files import images_in, preferred
from minicnn.data.voc_lists import read_split
from minicnn.data.voc_xml import read_xml
from minicnn.errors import InputError

ALL = "all"                                         # the split of a folder without lists
IMAGE_FOLDERS = ("jpegimages", "images", "imgs")    # in lower case
UNLABELLED = "images without an XML file, left out"


@dataclass(frozen=True)
class Layout:
    """Where the parts of a data set lie.

    Args:
        root: its folder.
        annotations, images: the folders of XML files and of images.
        lists: the folder of lists, or None.
        others: folders of XML files of other splits.
    """

    root: Path
    annotations: Path
    images: Path
    lists: Path | None = None
    others: tuple[Path, ...] = ()

    def known(self):
        """The names that have an XML file, sorted."""
        return sorted(path.stem for path in xml_files(self.annotations))


def load_voc(folder, split, classes=None, box_origin=1):
    """Read one split's annotations.

    Skipped, with a line in ``problems`` for each, are boxes that are empty or not within their image, and images whose XML file is
    missing or invalid. What a box reaches outside by up to a pixel is cut off.

    Args:
        folder: contains ``Annotations`` and ``ImageSets``, or a folder VOC2007 or a single other folder that does; or see ``find_layout``.
        split: the name of a list in ``ImageSets/Main``, such as "trainval"; of a folder without lists ``ALL`` or None.
        classes: list of str, the class name of each label, ``BACKGROUND`` first. None takes VOC's twenty, in the devkit's order, if
            they include all names in the folder's annotations (of all splits, so that the splits' labels agree), else these names,
            sorted.
        box_origin: number of the first pixel in the files' corners, see ``read_xml``.

    Returns:
        annotated: ``AnnotatedImages``.

    Raises:
        InputError: the folder or the split does not exist; the split is empty, has a name that leads out of the folder, or no image
            that can be used; or an object's class is not among ``classes``.
    """
    layout, data = find_layout(Path(folder), split), AnnotatedImages([], [])
    known, files = layout.known(), image_files(layout.images)
    names = read_split(layout.lists, split, set(known), data) if layout.lists else known
    if not layout.lists:
        data.normalise(UNLABELLED, len(set(files) - set(known)))
    read = read_annotations(layout, split, names, box_origin, data)
    data.class_names = found_classes(layout, read, box_origin) if classes is None else check_classes(classes)
    labels, known = label_table(data.class_names), set(known)
    data.images = [annotation.annotated(name, image_path(name, annotation, files, known, layout.images), labels)
                   for name, annotation in read.items()]
    return data


def read_annotations(layout, split, names, box_origin, data):
    """{name: ``Annotation``} of those of the names whose XML can be read; the others and what they lack is noted in ``data``."""
    read = {}
    for name in names:
        try:
            read[name] = read_xml(layout.annotations / f"{name}.xml", box_origin)
        except InputError as error:
            data.skip_image(f"{name}: {error} The image is skipped.", "annotation cannot be read")
        else:
            for line, reason in read[name].faults:
                data.skip_object(f"{name}: {line}", reason)
            for what in read[name].normalised:
                data.normalise(what)
    if not read:                                                    # then there are problems, since a split has at least one name
        raise InputError(f"got {len(names)} images in the split {split or ALL} of {layout.root}, expected some whose annotations can be "
                         f"read. The first problem: {data.problems[0]}")
    return read


def is_voc(folder):
    """Whether a folder has PASCAL VOC's layout, images beside their XML files excepted."""
    try:
        layout = find_layout(Path(folder), None)
    except InputError:
        return False
    return layout.annotations != layout.root


def has_lists(folder):
    """Whether a folder in PASCAL VOC's layout has several splits."""
    try:
        return find_layout(Path(folder), None).lists is not None
    except InputError:
        return True                                                 # a folder for each split


def find_layout(folder, split):
    """The ``Layout`` of a data set. The first of these that is there:

    1. Annotations and ImageSets/Main with lists, in the folder itself, in its VOC2007, or in the only folder of it that has them;
    2. a folder named as the split, with Annotations, or with images beside their XML files (Roboflow);
    3. Annotations without lists (Label Studio, LabelMe's converters);
    4. images beside their XML files (labelImg).

    Raises:
        InputError: there is none, or several folders in the first form, or a split was asked for where there are no lists.
    """
    try:
        folders = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    except OSError as error:
        raise InputError(f"got {folder}, which cannot be read ({error.strerror}), expected a folder. Check the path.") from error
    listed = listed_root(folder, folders)
    if listed:
        return layout_at(listed)
    parts = {path.name: path for path in folders if has_xml(path)}
    if split in parts and parts[split] != annotation_folder(folder):
        return layout_at(parts[split], tuple(annotation_folder(path) for path in parts.values() if path != parts[split]))
    if not has_xml(folder):
        names = f"; its folders with XML files ({', '.join(list(parts)[:20])}) can be given as the split" * bool(parts)
        raise InputError(f"got no Annotations and ImageSets/Main in {folder}, nor XML files beside images, expected a folder laid out as "
                         f"VOC2007{names}. Check the path.")
    if split not in (None, ALL):
        raise InputError(f"got the split {shown(split)}, expected {ALL}: {folder} has no lists in ImageSets/Main, so that its images are "
                         f"one split. Give {ALL}, or write lists.")
    return layout_at(folder)


def listed_root(folder, folders):
    """The folder itself, its VOC2007, or the only one of its ``folders``, that has lists; None if none has."""
    for path in (folder, folder / "VOC2007"):
        if lists_of(path):
            return path
    found = [path for path in folders if lists_of(path)]
    if len(found) > 1:
        raise InputError(f"got {len(found)} folders ({', '.join(path.name for path in found[:5])}) with Annotations and ImageSets/Main in "
                         f"{folder}, expected one. Give a folder laid out as VOC2007.")
    return found[0] if found else None


def layout_at(root, others=()):
    """The ``Layout`` of a folder that ``has_xml``."""
    annotations, lists = annotation_folder(root), lists_of(root)
    names = {path.name.lower(): path for path in sorted(root.iterdir(), reverse=True) if path.is_dir()}
    images = next((names[name] for name in IMAGE_FOLDERS if name in names), None)
    if annotations == root:
        images = root
    elif images is None:
        images = annotations if image_files(annotations) else root / "JPEGImages" if lists else root
    return Layout(root, annotations, images, lists, others)


def annotation_folder(root):
    """The folder of a root's XML files: Annotations, whatever its case, or the root itself."""
    found = [path for path in sorted(root.iterdir()) if path.name.lower() == "annotations" and path.is_dir()]
    return next((path for path in found if lists_of(root) or any(xml_files(path))), root)


def lists_of(root):
    """The folder of lists of a root that has Annotations, or None."""
    lists = root / "ImageSets" / "Main"
    return lists if (root / "Annotations").is_dir() and lists.is_dir() and any(lists.glob("*.txt")) else None


def has_xml(root):
    """Whether XML files are in a folder or in its Annotations."""
    return any(xml_files(annotation_folder(root)))


def xml_files(folder):
    """The annotation files of a folder."""
    return folder.glob("*.xml")


def image_path(name, annotation, files, known, folder):
    """The path of an image: the file of its XML file's name, else the one that the XML file names, unless that is another's."""
    if name not in files:
        for text in (annotation.filename, annotation.path):
            file = PureWindowsPath(text).name                       # of both systems' paths
            for own in (file, PureWindowsPath(file).stem):
                if own in files and own not in known:
                    return files[own]
    return files.get(name, folder / f"{name}.jpg")


def image_files(folder):
    """{name without suffix: path} of a folder's images; of files of the same name, the ``preferred`` one."""
    files = {}
    for path in images_in(folder) if folder.is_dir() else ():
        files[path.stem] = preferred(path, files.get(path.stem, path))
    return files


def found_classes(layout, read, box_origin):
    """VOC's class names if they include all names in the annotations, else these, sorted; ``BACKGROUND`` first."""
    found = {name for annotation in read.values() for name in annotation.names}
    for path in sorted(path for folder in (layout.annotations, *layout.others) for path in xml_files(folder)):
        if path.stem not in read or path.parent != layout.annotations:
            try:
                found.update(read_xml(path, box_origin).names)
            except InputError:                                      # reported when its split is loaded
                continue
    if not found:
        raise InputError(f"got no object in the annotations of {layout.root}, expected some. Check the files.")
    return list(VOC) if found <= set(VOC) else [VOC[0], *sorted(found)]

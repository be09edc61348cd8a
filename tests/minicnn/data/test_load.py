"""Data sets by name or folder."""

import numpy as np
import pytest

from minicnn.data import digits, load
from minicnn.errors import InputError


@pytest.mark.parametrize("split", load.SPLITS)
def test_digits_by_name_and_mnist_by_folder(monkeypatch, tmp_path, split):
    monkeypatch.setattr(load, "load_digits", lambda split: ("digits", split))
    monkeypatch.setattr(load, "load_mnist", lambda folder, split: (folder, split))
    assert load.load_data("digits", split) == ("digits", split)
    assert load.load_data(tmp_path, split) == (tmp_path, split)
    assert load.load_data(str(tmp_path), split) == (str(tmp_path), split)


def test_what_is_neither(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for source in (tmp_path / "none", tmp_path / "file", "Digits"):
        with pytest.raises(InputError, match="expected 'digits' or a folder"):
            load.load_data(str(source), "test")


def test_an_unknown_split():
    with pytest.raises(InputError, match="got the split 'dev', expected one of train, validation, test"):
        load.load_data("digits", "dev")


def test_generated_digits_are_as_load_data_promises(monkeypatch):
    monkeypatch.setitem(digits.COUNTS, "test", 10)
    images, labels = load.load_data("digits", "test")
    assert images.shape == (10, 1, 28, 28) and images.dtype == np.float32 and labels.dtype == np.int64


def test_annotated_data_by_what_is_there(monkeypatch, tmp_path):
    for name in ("load_voc", "load_coco", "load_scenes"):
        monkeypatch.setattr(load, name, lambda *args, name=name: (name, *args))
    assert load.load_annotated("scenes", "val", ["x"]) == ("load_scenes", "val", ["x"])
    coco = tmp_path / "coco" / "annotations" / "instances_val.json"
    coco.parent.mkdir(parents=True)
    coco.write_text("")
    (tmp_path / "train.json.gz").write_text("")
    for source, expected in ((tmp_path, "load_voc"), (tmp_path / "coco", "load_coco"), (coco, "load_coco"),
                             (tmp_path / "train.json.gz", "load_coco")):
        origin = (0,) if expected == "load_voc" else ()
        assert load.load_annotated(str(source), "val", ["x"], box_origin=0) == (expected, source, "val", ["x"], *origin)
        assert load.load_annotated(source, "val")[:4] == (expected, source, "val", None)


@pytest.mark.parametrize("source", ["none", "none.json", "file.txt", "Scenes", ""])
def test_annotated_data_that_are_not_there(tmp_path, monkeypatch, source):
    (tmp_path / "file.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="expected "):
        load.load_annotated(source, "val")


def test_the_split_that_is_meant(tmp_path):
    """A file is one split, a folder without lists the split "all"; where there are several, it is the usual one."""
    assert load.default_split("scenes", "test") == "test"
    (tmp_path / "one.json").write_text("")
    assert load.default_split(tmp_path / "one.json", "test") is None
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.xml").write_text("")
    assert load.default_split(tmp_path / "flat", "test") == "all"
    (tmp_path / "voc" / "Annotations").mkdir(parents=True)
    (tmp_path / "voc" / "Annotations" / "a.xml").write_text("")
    assert load.default_split(tmp_path / "voc", "test") == "all"
    (tmp_path / "voc" / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "voc" / "ImageSets" / "Main" / "val.txt").write_text("a")
    assert load.default_split(tmp_path / "voc", "test") == "test"

"""minicnn evaluate for detectors: from images and from files; what cannot be read, and what does not fit."""

import json
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from annotated_sets import case
from small_detector import CLASSES
from small_voc import NAMES, write_voc

from minicnn.cli.evaluate import evaluation_text
from minicnn.cli.tables import points
from minicnn.data import load_annotated
from minicnn.detection.detections import Detections
from minicnn.detection.evaluation import run_detector
from minicnn.detection.evaluation.evaluate import evaluate
from minicnn.detection.evaluation.run_detector import label_map
from minicnn.detection.evaluation.write_detections import comp4_texts, json_text
from minicnn.detection.faster_rcnn import FasterRCNN
from minicnn.errors import InputError
from minicnn.files import sha256

pytestmark = pytest.mark.usefixtures("read_once")
DATA = ("cat", "dog", "traffic light")          # the order of the data, not of the archive


@pytest.fixture(scope="module")
def made(tmp_path_factory, loaded):
    """A folder with the data set "voc", what the detector finds in it, as "comp4" and as "d.json"; and {image: boxes, scores, labels}."""
    folder = tmp_path_factory.mktemp("made")
    found = write_voc(folder / "voc", loaded)
    rows = [{"image": f"voc/JPEGImages/{name}.png", "detections": [
        one for one in Detections(boxes, labels, scores, [CLASSES[label] for label in labels]).document() if one["name"] in DATA]}
            for name, (boxes, scores, labels) in found.items()]
    (folder / "comp4").mkdir()
    for name, text in comp4_texts(rows, DATA).items():
        (folder / "comp4" / name).write_text(text)
    (folder / "d.json").write_text(json_text(rows))
    return folder, found


@pytest.fixture
def voc(here, made):
    """What the detector finds in the images of "voc", a copy to work with."""
    folder, found = made
    shutil.copytree(folder, here, dirs_exist_ok=True)
    return found


def expected(voc):
    """The evaluation of what the model finds, labels mapped by hand."""
    set_ = load_annotated("voc", "test")
    assert set_.class_names == ["__background__", *DATA]
    found = []
    for one in set_.images:
        boxes, scores, labels = voc[one.name]
        keep = np.array([CLASSES[label] in DATA for label in labels])
        found.append((boxes[keep], scores[keep], np.array([1 + DATA.index(CLASSES[label]) for label in labels[keep]])))
    return evaluate(set_, found, rng=np.random.default_rng(0)).document


def close(one, other, tolerance):
    """The same document, numbers within a tolerance."""
    if isinstance(other, dict):
        return set(one) == set(other) and all(close(one[key], other[key], tolerance) for key in other)
    if isinstance(other, list):
        return len(one) == len(other) and all(close(a, b, tolerance) for a, b in zip(one, other))
    return one == (pytest.approx(other, abs=tolerance) if isinstance(other, float) else other)


def test_from_images(run, voc, weights, monkeypatch):
    """Nothing is lost between the model and the metrics; the classes go by name; another thread reads one image ahead."""
    readers, read = set(), run_detector.read_annotated

    def watched(image):
        readers.add(threading.current_thread())
        return read(image)
    monkeypatch.setattr(run_detector, "read_annotated", watched)
    status, out, err = run("evaluate", weights, "--data", "voc", "--split", "test", "--json", "-")
    document, answer = json.loads(out), expected(voc)
    assert (status, err) == (0, "")
    assert document["file"] == str(weights) and document["data"] == "voc" and document["split"] == "test" and document["problems"] == []
    for key, value in answer.items():
        assert close(document[key], value, 1e-6), key
    assert 0.1 < document["mAP"]["voc07"] < 1 and set(document["mAP"]) == {"voc07", "voc10", "coco"}
    assert list(document["proposal_recall"]) == ["50", "100", "300"] and 0 < document["proposal_recall"]["300"] <= 1
    assert document["matches"]["pictures"] == NAMES and document["seconds"] > 0
    assert len(readers) == 1 and threading.main_thread() not in readers
    table = evaluation_text(document, "x.npz").splitlines()[-3:]
    assert table[0].split() == ["proposals", "50", "100", "300"] and table[2].split()[-1] == points(document["proposal_recall"]["300"])


@pytest.mark.parametrize("source", ["comp4", "d.json"])
def test_from_files(run, voc, source):
    status, out, err = run("evaluate", "--detections", source, "--data", "voc", "--json", "-")
    document = json.loads(out)
    assert (status, err) == (0, "") and document["detections"] == source and "file" not in document
    assert "proposal_recall" not in document
    for key, value in expected(voc).items():
        assert close(document[key], value, 1e-6), key


def test_what_detect_writes_is_taken(run, voc, weights):
    """Of one image; in the others, then, nothing is found."""
    documents = []
    for form, target in (("comp4", "found"), ("json", "found.json")):
        options = ["--score-threshold", 0.3, "--format", form, "--json", target]
        assert run("detect", "voc/JPEGImages/000002.png", "--weights", weights, *options)[0] == 0
        status, out, err = run("evaluate", "--detections", target, "--data", "voc", "--json", "-")
        assert (status, err) == (0, "")
        documents.append(json.loads(out))
    assert documents[0]["mAP"] == pytest.approx(documents[1]["mAP"]) and documents[0]["mAP"]["voc07"] > 0.05


def test_the_tables_fit_a_terminal(run, voc):
    status, out, err = run("evaluate", "--detections", "comp4", "--data", "voc")
    assert (status, err) == (0, "") and max(map(len, out.splitlines())) <= 80
    assert re.search(r"^class +objects +found +VOC07, % +VOC10, % +COCO, %$", out, re.M)
    answer = expected(voc)
    for name, row in answer["per_class"].items():
        assert re.search(rf"^{name} +{row['objects']} +{row['found']} +{points(row['voc07'])} ", out, re.M)
    for text in ("mean AP, %", "95 % interval", "AP small", "AR100", "background", "missed"):
        assert text in out
    assert re.search(rf"^VOC07 +{points(answer['mAP']['voc07'])} +\d", out, re.M)


def test_json_in_a_file_and_a_report(run, voc):
    status, out, err = run("evaluate", "--detections", "comp4", "--data", "voc", "--json", "e.json", "--report", "page/")
    assert (status, err) == (0, "") and out.splitlines()[-1] == "page/report.html"
    assert sorted(path.name for path in Path("page").iterdir()) == ["report.html"]
    text = Path("page/report.html").read_text("utf-8")
    worst = re.findall(r"<figcaption>(\d+): (\d+) missed[^<]*, (\d+) false", text)
    assert {name for name, *_ in worst} <= set(NAMES) and worst
    totals = [int(missed) + int(false) for _, missed, false in worst]
    assert totals == sorted(totals, reverse=True) and totals[-1] > 0
    assert json.loads(Path("e.json").read_text())["pictures"] == 3


def test_a_report_without_images(run, voc):
    """The metrics need no pixels; the page says that there are none."""
    for path in Path("voc/JPEGImages").iterdir():
        path.unlink()
    status, out, err = run("evaluate", "--detections", "comp4", "--data", "voc", "--report", "page")
    assert (status, err) == (0, "") and "the images could not be read" in Path("page/report.html").read_text("utf-8")


def test_images_that_cannot_be_read_or_are_not_those_annotated_are_left_out(run, voc, weights):
    Path("voc/JPEGImages/000002.png").write_bytes(b"no image")
    path = Path("voc/Annotations/000003.xml")
    path.write_text(path.read_text().replace("<width>90<", "<width>91<"))
    status, out, err = run("evaluate", weights, "--data", "voc", "--json", "-")
    document, lines = json.loads(out), err.splitlines()
    assert status == 1 and document["matches"]["pictures"] == ["000001"] and document["pictures"] == 1
    assert len(lines) == len(document["problems"]) == 2 and all(line.startswith("minicnn evaluate: error: ") for line in lines)
    assert "000002.png" in lines[0] and "expected 91 x 60 as in its annotation" in lines[1]


def test_what_the_data_set_skips_is_reported(run, voc):
    Path("voc/Annotations/000003.xml").write_text("<annotation>")
    status, out, err = run("evaluate", "--detections", "comp4", "--data", "voc", "--json", "-")
    document = json.loads(out)
    assert status == 1 and document["pictures"] == 2 and len(document["problems"]) == err.count("\n") == 2
    assert "000003" in document["problems"][0] and "not among the 2 images" in document["problems"][1]


def test_no_image_can_be_read(refused, run, voc, weights):
    for path in Path("voc/JPEGImages").iterdir():
        path.unlink()
    status, out, err = run("evaluate", weights, "--data", "voc", "--json", "-")
    assert status == 2 and out == "" and "got 3 images, none of which can be read" in err.splitlines()[-1]


def test_too_little_memory_for_a_image(run, voc, weights, monkeypatch):
    call, calls = FasterRCNN.__call__, []

    def second_fails(self, images):
        calls.append(images)
        if len(calls) == 3:                                             # the first is the trial
            raise MemoryError
        return call(self, images)
    monkeypatch.setattr(FasterRCNN, "__call__", second_fails)
    status, out, err = run("evaluate", weights, "--data", "voc", "--json", "-")
    assert status == 1 and json.loads(out)["pictures"] == 2 and "takes more memory than there is" in err


def test_an_interrupt(run, voc, weights, monkeypatch):
    def interrupted(model, image):
        raise KeyboardInterrupt
    monkeypatch.setattr(run_detector, "with_proposals", interrupted)
    status, out, err = run("evaluate", weights, "--data", "voc", "--json", "e.json")
    assert status == 130 and out == "" and not Path("e.json").exists()


def test_other_classes_than_the_archives(refused, voc, weights):
    for path in Path("voc/Annotations").iterdir():
        path.write_text(path.read_text().replace("traffic light", "horse"))
    for path in Path("voc/Annotations").iterdir():
        path.write_text(path.read_text().replace("cat", "yak"))
    line = refused("evaluate", weights, "--data", "voc")
    assert "detector.npz (not of the data: 'cat', 'traffic light'; missing: 'horse', 'yak')" in line


def test_the_label_map():
    assert label_map(CLASSES, ["__background__", *DATA], "x.npz").tolist() == [0, 1, 3, 0, 2]
    with pytest.raises(InputError, match="missing: 'bird', 'cow', 'dog', 'fox', 'hen', ..."):
        label_map(["b", "cat"], ["b", "cat", "dog", "cow", "hen", "fox", "bird", "pig"], "x.npz")


@pytest.mark.parametrize("options, expected", [
    ([], "got no --data"), (["--data", "none"], "'none'"), (["--data", "voc", "--split", "val"], "val"),
    (["--data", "voc", "--json", "none/x.json"], "none/x.json"), (["--data", "voc", "--report", "voc/ImageSets/Main/test.txt"], "test.txt"),
])
def test_places_that_cannot_be_used(refused, voc, weights, options, expected):
    assert expected in refused("evaluate", weights, *options)


@pytest.mark.parametrize("options, expected", [
    ([], "neither FILE nor --detections"), (["x.npz", "--detections", "comp4"], "FILE and --detections"),
    (["--detections", "voc"], "expected files comp4_det_test_CLASS.txt"), (["--detections", "none"], "cannot read none"),
    (["--detections", "bad.json"], "bad.json, which cannot be read"), (["--detections", "nan"], "line 1"),
    (["--detections", "turned"], "inside out"), (["--detections", "words"], "five numbers"), (["--detections", "other"], "none of which"),
    (["--detections", "fewer"], "missing: 'comp4_det_test_dog.txt'"),
    (["--detections", "more"], "not of the data: 'comp4_det_test_yak.txt'"),
])
def test_detections_that_cannot_be_used(refused, voc, options, expected):
    Path("bad.json").write_text('[{"image": "000001.png", "detec')
    lines = {"nan": "000001 nan 1 1 5 5", "turned": "000001 0.5 5 1 1 5", "words": "000001 0.5 a b c d", "other": "999999 0.5 1 1 5 5",
             "fewer": "", "more": ""}
    for folder, line in lines.items():
        Path(folder).mkdir()
        for name in (*DATA, "yak") if folder == "more" else DATA[::2] if folder == "fewer" else DATA:
            Path(folder, f"comp4_det_test_{name}.txt").write_text(f"{line}\n")
    assert expected in refused("evaluate", *options, "--data", "voc")


def test_a_classifier_has_no_report(refused, nets, here):
    assert "expected a detector" in refused("evaluate", nets / "small.npz", "--report", "page")
    assert not Path("page").exists()


def test_another_split_than_a_classifiers_data_have(refused, nets):
    assert "got the split 'dev', expected one of train, validation, test" in refused("evaluate", nets / "small.npz", "--split", "dev")


@pytest.mark.slow
def test_all_of_voc2007s_test_images(run, here):
    """254 590 detections and 4952 XML files."""
    folder, annotations = case("voc2007_test_tiny_yolo"), case("voc2007_test")
    before = {path: sha256(path) for path in folder.iterdir()}
    status, out, err = run("evaluate", "--detections", folder, "--data", annotations, "--split", "test", "--json", "-")
    document = json.loads(out)
    assert (status, err) == (0, "") and document["pictures"] == 4952
    assert document["mAP"]["voc07"] == pytest.approx(0.539744, abs=1e-5)
    answer = json.loads((folder / "expected.json").read_text())
    for name, row in document["per_class"].items():
        assert row["voc07"] == pytest.approx(answer["per_class"][name]["ap_11point"], abs=5e-6)
        assert row["voc10"] == pytest.approx(answer["per_class"][name]["ap_area"], abs=5e-6)
        low, high = row["intervals"]["voc07"]
        assert low < row["voc07"] < high
    assert before == {path: sha256(path) for path in folder.iterdir()}

"""minicnn evaluate for detectors: from images and from files; what cannot be read, and what does not fit."""

import json
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from annotated_sets import annotated, case, image
from PIL import Image
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


def test_a_folder_without_lists_is_evaluated_whole(run, refused, voc):
    shutil.rmtree("voc/ImageSets")
    for path in Path("voc/Annotations").iterdir():
        path.rename(Path("voc/JPEGImages") / path.name)
    for folder in ("voc", "voc/JPEGImages"):
        if folder == "voc":
            assert "(JPEGImages) can be given as the split" in refused("evaluate", "--detections", "d.json", "--data", folder)
            continue
        Path(folder, "unlabelled.png").write_bytes(b"")
        status, out, err = run("evaluate", "--detections", "d.json", "--data", folder, "--json", "-")
        document = json.loads(out)
        assert (status, document["split"], document["pictures"]) == (0, "all", 3) and document["mAP"]["voc07"] > 0.1
        assert err == "minicnn evaluate: voc/JPEGImages: images without an XML file, left out: 1\n"
        assert document["normalised"] == {"images without an XML file, left out": 1}
    assert "expected all" in refused("evaluate", "--detections", "d.json", "--data", "voc/JPEGImages", "--split", "test")


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
    *named, line = err.splitlines()
    assert (status, out, len(named)) == (2, "", 2) and "of whose 3 images 2 cannot be used" in line      # before the detector is run
    status, out, err = run("evaluate", weights, "--data", "voc", "--json", "-", "--allow-skipped")
    document, lines = json.loads(out), err.splitlines()
    assert status == 1 and document["matches"]["pictures"] == ["000001"] and document["pictures"] == 1
    assert document["skipped"] == {"images": 2, "objects": 0, "reasons": {"image cannot be read": 2}}
    assert lines.pop() == "minicnn evaluate: skipped: 2 images and 0 objects (image cannot be read: 2)" and lines == named
    assert len(lines) == len(document["problems"]) == 2 and all(line.startswith("minicnn evaluate: error: ") for line in lines)
    assert "000002.png" in lines[0] and "expected 91 x 60 as in its annotation" in lines[1]


def test_an_image_that_exif_turns_is_evaluated_as_it_is_detected(run, voc, weights):
    """Stored on its side, annotated with the stored size: from the model and from files the same, and the same as upright."""
    upright = np.asarray(Image.open("voc/JPEGImages/000002.png"))
    status, out, _ = run("evaluate", weights, "--data", "voc", "--json", "-")
    before = json.loads(out)
    exif = Image.Exif()
    exif[0x0112] = 6                                                    # upright: the stored pixels, turned clockwise
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save("voc/JPEGImages/000002.png", exif=exif)
    height, width = upright.shape[:2]
    path = Path("voc/Annotations/000002.xml")

    def stored(match):
        x1, y1, x2, y2 = (float(value) for value in re.findall(r">([\d.]+)<", match[0]))
        corners = zip(("xmin", "ymin", "xmax", "ymax"), (y1, width - x2 + 1, y2, width - x1 + 1))
        return "".join(f"<{name}>{value:g}</{name}>" for name, value in corners)
    text = re.sub(r"<xmin>.*?</ymax>", stored, path.read_text())
    path.write_text(text.replace(f"<width>{width}</width><height>{height}<", f"<width>{height}</width><height>{width}<"))
    status, out, err = run("evaluate", weights, "--data", "voc", "--json", "-")
    after = json.loads(out)
    assert status == 0 and "1 images are turned by their EXIF orientation" in err and sum(after["normalised"].values()) == 1
    assert after["mAP"] == before["mAP"] and after["objects"] == before["objects"]
    status, out, err = run("evaluate", "--detections", "d.json", "--data", "voc", "--json", "-")
    assert status == 0 and close(json.loads(out)["mAP"], before["mAP"], 1e-6)


def test_what_the_data_set_skips_is_reported(run, voc):
    Path("voc/Annotations/000003.xml").write_text("<annotation>")
    status, out, err = run("evaluate", "--detections", "comp4", "--data", "voc", "--json", "-")
    lines = err.splitlines()
    assert (status, out, len(lines)) == (2, "", 2) and "000003" in lines[0] and "voc, test, of whose 3 images 1 cannot be used" in lines[1]
    status, out, err = run("evaluate", "--detections", "comp4", "--data", "voc", "--json", "-", "--allow-skipped")
    document = json.loads(out)
    assert status == 1 and document["pictures"] == 2 and len(document["problems"]) == err.count("\n") - 1 == 2
    assert document["skipped"] == {"images": 1, "objects": 0, "reasons": {"annotation cannot be read": 1}}
    assert "000003" in document["problems"][0] and "not among the 2 images" in document["problems"][1]


def test_no_image_can_be_read(run, voc, weights):
    for path in Path("voc/JPEGImages").iterdir():
        path.unlink()
    for options, text in (((), "of whose 3 images 3 cannot be used"), (("--allow-skipped",), "got 0 images")):
        status, out, err = run("evaluate", weights, "--data", "voc", "--json", "-", *options)
        assert status == 2 and out == "" and text in err.splitlines()[-1]


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
    assert "detector.npz, which does not know 2 of the classes of the data's objects ('horse', 'yak')" in line


def test_the_label_map():
    assert label_map(CLASSES, annotated([], DATA), "x.npz").tolist() == [0, 1, 3, 0, 2]
    names = ["dog", "cow", "hen", "fox", "bird", "pig", "cat"]
    set_ = annotated([image("a", [(label, (1, 2, 3, 4)) for label in range(1, 7)])], names)
    assert label_map(["b", *names[::-1], "yak"], set_, "x.npz").tolist() == [0, 7, 6, 5, 4, 3, 2, 1, 0]
    assert label_map(["b", *names[:6]], set_, "x.npz").tolist() == [0, 1, 2, 3, 4, 5, 6]       # there are no cats
    with pytest.raises(InputError, match="6 of the classes of the data's objects .'bird', 'cow', 'dog', 'fox', 'hen', ..."):
        label_map(["b", "cat"], set_, "x.npz")


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
    (["--detections", "others"], "not of the data: 'comp4_det_test_yak.txt'; missing: 'comp4_det_test_dog.txt'"),
])
def test_detections_that_cannot_be_used(refused, voc, options, expected):
    Path("bad.json").write_text('[{"image": "000001.png", "detec')
    lines = {"nan": "000001 nan 1 1 5 5", "turned": "000001 0.5 5 1 1 5", "words": "000001 0.5 a b c d", "other": "999999 0.5 1 1 5 5",
             "others": ""}
    for folder, line in lines.items():
        Path(folder).mkdir()
        for name in (*DATA[::2], "yak") if folder == "others" else DATA:
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


FIGURES = ("pictures", "objects", "difficult", "mAP", "per_class", "intervals", "coco", "errors")


LAYOUTS = {
    "numeric names": ("1.png", "2.png", "3.png"), "nested": ("a/1.png", "b/1.png", "b/a/1.png"),
    "odd names": ("a,b 1.png", "caf\u00e9.jpg.PNG", "c'\"d.png"),
}


@pytest.fixture
def coco(here, made):
    """coco(files): write a COCO data set "coco" of the images of "voc" under these names, with ids in another order."""
    def write(files):
        categories = {name: number for number, name in enumerate(("dog", "traffic light", "cat"), start=5)}
        set_, images, annotations = load_annotated(made[0] / "voc", "test"), [], []
        for one, file, number in zip(set_.images, files, (3, 1, 2)):
            target = Path("coco/images", file)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(one.path, target)
            images.append({"id": number, "file_name": file, "width": one.width, "height": one.height})
            for (x1, y1, x2, y2), label in zip(one.boxes.tolist(), one.labels):
                annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": categories[set_.class_names[label]],
                                    "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0})
        Path("coco/annotations").mkdir()
        Path("coco/annotations/instances_test.json").write_text(json.dumps(
            {"images": images, "annotations": annotations, "categories": [{"id": key, "name": name} for name, key in categories.items()]}))
        return categories
    return write


def figures(run, *options):
    status, out, err = run("evaluate", *options, "--split", "test", "--json", "-")
    document = json.loads(out)
    assert (status, err, document["problems"]) == (0, "", [])
    return {key: document[key] for key in FIGURES}


@pytest.mark.parametrize("layout", ["voc", *LAYOUTS])
def test_what_detect_writes_has_the_figures_of_the_model(run, voc, coco, weights, layout):
    """JSON and CSV exactly; comp4 to 1e-6, or detect refuses the names. In each, some images were given by absolute paths."""
    data, files = ("voc", [f"{name}.png" for name in NAMES]) if layout == "voc" else ("coco", LAYOUTS[layout])
    if layout != "voc":
        coco(files)
    paths = [Path(data, "JPEGImages" if layout == "voc" else "images", file) for file in files]
    paths[1] = paths[1].absolute()
    expected = figures(run, weights, "--data", data)
    assert 0.05 < expected["mAP"]["voc07"] < 1
    for form in ("json", "csv"):
        assert run("detect", *paths, "--weights", weights, "--format", form, "--json", f"d.{form}")[0] == 0
        assert figures(run, "--detections", f"d.{form}", "--data", data) == expected
    status, _, err = run("detect", *paths, "--weights", weights, "--format", "comp4", "--json", "found")
    if layout in ("nested", "odd names"):
        assert status == 2 and "expected different names" in err or "expected no spaces" in err
    else:
        assert status == 0 and close(figures(run, "--detections", "found", "--data", data), expected, 1e-6)


def test_detections_from_within_a_folder(run, voc, coco, weights, monkeypatch):
    """Of 1.png in a/ and in b/: seen from a/, it is a/'s; from elsewhere it may be either, which is refused."""
    coco(LAYOUTS["nested"])
    monkeypatch.chdir("coco/images/a")
    assert run("detect", ".", "--weights", weights, "--format", "csv", "--json", "../../../d.csv")[0] == 0
    status, out, err = run("evaluate", "--detections", "../../../d.csv", "--data", "../..", "--split", "test", "--json", "-")
    assert (status, err) == (0, "") and sum(row["found"] for row in json.loads(out)["per_class"].values()) > 0
    monkeypatch.chdir("../../..")
    status, out, err = run("evaluate", "--detections", "d.csv", "--data", "coco", "--split", "test", "--json", "-")
    assert status == 2 and "'1.png' in d.csv, which may be " in err and "a/1.png" in err and "b/1.png" in err


def test_images_of_another_size_are_left_out_as_of_the_model(run, voc, weights):
    path = Path("voc/Annotations/000003.xml")
    path.write_text(path.read_text().replace("<width>90<", "<width>91<"))
    assert run("detect", "voc/JPEGImages", "--weights", weights, "--json", "d.json")[0] == 0
    documents = []
    for options in ([weights], ["--detections", "d.json"]):
        status, out, err = run("evaluate", *options, "--data", "voc", "--json", "-", "--allow-skipped")
        documents.append(json.loads(out))
        assert status == 1 and len(documents[-1]["problems"]) == 1 and err.endswith("(image cannot be read: 1)\n")
        assert documents[-1]["matches"]["pictures"] == ["000001", "000002"]
    assert "90 x 60 pixels, expected 91 x 60 as in its annotation" in documents[1]["problems"][0]
    assert all(documents[0][key] == documents[1][key] for key in (*FIGURES, "skipped"))
    for options in ([weights], ["--detections", "d.json"]):                         # one of three images is more than 5 %
        status, out, err = run("evaluate", *options, "--data", "voc", "--json", "-")
        assert (status, out) == (2, "") and "of whose 3 images 1 cannot be used" in err.splitlines()[-1]


def test_images_without_detections_need_no_row(run, voc):
    """Whoever wrote the file: an image that it does not name is one in which nothing was found."""
    Path("d.csv").write_text("image,label,name,score,x1,y1,x2,y2\n000002.png,1,cat,0.5,1,1,9,9\n")
    status, out, err = run("evaluate", "--detections", "d.csv", "--data", "voc", "--json", "-")
    document = json.loads(out)
    assert (status, err) == (0, "") and document["pictures"] == 3 and document["per_class"]["cat"]["detections"] == 1
    assert document["notes"] == ["2 of 3 images are not named in d.csv: nothing counts as found in them."]
    assert document["notes"][0] in run("evaluate", "--detections", "d.csv", "--data", "voc")[1].splitlines()


def test_a_detector_of_more_classes_than_the_data_is_measured_on_theirs(run, voc, weights):
    """In VOC's form and of the model, JSON and comp4: what it finds of other classes is left out, and named in one line."""
    path = Path("voc/Annotations")
    for file in path.iterdir():
        text = file.read_text()
        file.write_text(re.sub(r"\t<object><name>traffic light.*</object>\n", "", text))
    assert run("detect", "voc/JPEGImages", "--weights", weights, "--json", "d.json")[0] == 0
    assert run("detect", "voc/JPEGImages", "--weights", weights, "--format", "comp4", "--json", "found")[0] == 0
    expected, notes = None, set()
    for options in ([weights], ["--detections", "d.json"], ["--detections", "found"]):
        status, out, err = run("evaluate", *options, "--data", "voc", "--json", "-")
        document = json.loads(out)
        assert (status, err) == (0, "") and [name for name, row in document["per_class"].items() if row["objects"]] == ["cat", "dog"]
        notes.update(document["notes"])
        expected = expected or document
        assert close({key: document[key] for key in FIGURES}, {key: expected[key] for key in FIGURES}, 1e-6)
    line, = notes
    assert re.fullmatch(r"\d+ detections of 1 classes that the data does not have are left out: 'traffic light' \(\d+\)\.", line)


def test_cocos_results_have_the_figures_of_the_model(run, voc, coco, weights):
    """Images and categories go by their ids, which the data set gives; it is said that the files' names are numbers, too."""
    categories = coco(LAYOUTS["numeric names"])
    expected = figures(run, weights, "--data", "coco")
    results = [{"image_id": number, "category_id": categories[CLASSES[label]], "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
               for name, number in zip(NAMES, (3, 1, 2))
               for (x1, y1, x2, y2), score, label in zip(*(column.tolist() for column in voc[name]))
               if CLASSES[label] in categories]
    Path("results.json").write_text(json.dumps(results))
    assert close(figures(run, "--detections", "results.json", "--data", "coco"), expected, 1e-6)
    status, out, _ = run("evaluate", "--detections", "results.json", "--data", "coco", "--json", "-")
    assert "by their ids, although all are file names, too" in json.loads(out)["notes"][0]

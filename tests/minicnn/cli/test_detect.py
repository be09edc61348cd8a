"""minicnn detect: what it finds is what the model finds; every form of output; what goes wrong with one of many images."""

import copy
import csv
import io
import json
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from font_files import write_font
from numpy.testing import assert_array_equal
from small_detector import CLASSES, scene

import minicnn
from minicnn.cli.detect import listing
from minicnn.cli.main import main
from minicnn.data.images import read_image, write_image
from minicnn.detection import detect, label_font
from minicnn.detection.detect import drawn_names
from minicnn.detection.detections import Detections
from minicnn.detection.faster_rcnn import FasterRCNN
from minicnn.errors import InputError
from minicnn.layers import Conv2d

pytestmark = pytest.mark.usefixtures("read_once")


@pytest.fixture
def model(loaded):
    """A copy of the detector, whose settings a test may change."""
    return copy.deepcopy(loaded)


@pytest.fixture
def shots(here):
    """A folder with two images, to work beside."""
    (here / "shots").mkdir()
    for seed, name in enumerate(("one.png", "two.ppm")):
        write_image(here / "shots" / name, scene(60 + 30 * seed, 90, seed))
    return ["shots/one.png", "shots/two.ppm"]


def rounded(document):
    return [(one["label"], one["name"], round(one["score"], 4), np.round(one["box"], 2).tolist()) for one in document]


# results

def test_json_is_what_the_model_finds(run, weights, model, shots):
    status, out, err = run("detect", "shots", "--weights", weights, "--json", "-")
    rows = json.loads(out)
    assert (status, err) == (0, "") and [row["image"] for row in rows] == shots
    for row in rows:
        found = model.detect(row["image"])
        height, width, _ = read_image(row["image"]).shape
        assert list(row) == ["image", "width", "height", "detections", "milliseconds"]
        assert (row["height"], row["width"]) == (height, width)
        assert rounded(row["detections"]) == rounded(found.document()) and len(found) > 10
        assert all(list(one) == ["label", "name", "score", "box"] and one["name"] == CLASSES[one["label"]] for one in row["detections"])
        scores = [one["score"] for one in row["detections"]]
        assert scores == sorted(scores, reverse=True) and 0.05 < scores[-1] < 0.5 < scores[0]    # the model's own threshold
        assert list(row["milliseconds"]) == ["read", "transform", "backbone", "rpn", "heads", "total"]
        read, *parts, total = row["milliseconds"].values()                      # it is read while the one before is computed
        assert read > 0 and min(parts) > 0 and sum(parts) <= total


def test_the_threshold_is_for_results_lines_and_images(run, weights, model, shots):
    status, out, err = run("detect", shots[0], "--weights", weights, "--score-threshold", 0.3, "--json", "r.json", "--out", "drawn")
    document, found = json.loads(Path("r.json").read_text())[0], model.detect(shots[0])
    assert rounded(document["detections"]) == rounded(found.above(0.3).document()) and len(found.above(0.5)) < len(found.above(0.3))
    assert f"  {len(found.above(0.3))} object" in out
    assert_array_equal(read_image("drawn/one.png"), found.above(0.3).draw(shots[0]))
    assert (status, err) == (0, "")


def test_without_a_threshold_lines_and_images_show_what_is_above_a_half(run, weights, model, shots, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run("detect", *shots, "--weights", weights, "--out", "drawn/", "--json", "r.json")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[1::2] == ["  -> drawn/one.png", "  -> drawn/two.png"]
    for line, shot, name in zip(lines[::2], shots, ("one.png", "two.png"), strict=True):
        found = model.detect(shot).above(0.5)
        height, width, _ = read_image(shot).shape
        best = f"{found.names[0]} {found.scores[0]:.2f}"
        assert re.fullmatch(rf"{shot}  {width}x{height}  {len(found)} objects?: {best}.*  \d+\.\d\d s", line), line
        assert len(line) <= 80
        assert_array_equal(read_image(Path("drawn", name)), found.draw(shot))
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["one.png", "two.png"]
    assert min(len(row["detections"]) for row in json.loads(Path("r.json").read_text())) > len(found)


def test_csv(run, weights, model, shots):
    status, out, err = run("detect", *shots, "--weights", weights, "--format", "csv")             # by itself to standard output
    table = list(csv.DictReader(io.StringIO(out)))
    assert (status, err) == (0, "") and list(table[0]) == ["image", "label", "name", "score", "x1", "y1", "x2", "y2"]
    assert [row["image"] for row in table] == [shot for shot in shots for _ in range(len(model.detect(shot)))]
    status, lines, err = run("detect", *shots, "--weights", weights, "--format", "csv", "--json", "r.csv")
    assert Path("r.csv").read_text() == out and len(lines.splitlines()) == 2


def test_comp4(run, weights, model, shots):
    status, out, err = run("detect", *shots, "--weights", weights, "--format", "comp4", "--json", "voc/", "--score-threshold", 0.2)
    assert (status, err) == (0, "") and len(out.splitlines()) == 2
    files = {path.name: path.read_text().splitlines() for path in Path("voc").iterdir()}
    found = [one for shot in shots for one in model.detect(shot).above(0.2).document()]
    expected = {"comp4_det_test_cat.txt", "comp4_det_test_traffic light.txt", "comp4_det_test_dog.txt"}
    assert expected <= set(files) <= expected | {"comp4_det_test_N_A.txt"}
    assert sum(map(len, files.values())) == len(found)
    first = next(one for one in found if one["name"] == "cat")
    image, *numbers = files["comp4_det_test_cat.txt"][0].split()
    x1, y1, x2, y2 = first["box"]
    assert image in ("one", "two")
    assert list(map(float, numbers)) == pytest.approx([first["score"], x1 + 1, y1 + 1, x2, y2], abs=1e-3)


@pytest.mark.parametrize("option, attribute, size", [("--min-size", "min_size", 40), ("--max-size", "max_size", 40)])
def test_sizes(run, weights, model, shots, option, attribute, size):
    other = rounded(model.detect(shots[0]).document())
    setattr(model.transform, attribute, size)
    out = run("detect", shots[0], "--weights", weights, option, size, "--json", "-")[1]
    assert rounded(json.loads(out)[0]["detections"]) == rounded(model.detect(shots[0]).document()) != other


def test_nothing_found_is_said(run, weights, shots):
    status, out, err = run("detect", *shots, "--weights", weights, "--score-threshold", 1, "--json", "r.json")
    assert status == 0 and out.count("  no objects  ") == 2
    assert [row["detections"] for row in json.loads(Path("r.json").read_text())] == [[], []]


def test_arrays_and_ppm_need_no_pillow(run, weights, model, here, monkeypatch):
    x = (scene(60, 90) / 255).astype(np.float32)
    np.save(here / "x.npy", x)
    write_image(here / "y.ppm", scene(60, 90))
    expected = rounded(model.detect(x).document())
    monkeypatch.setitem(sys.modules, "PIL", None)
    status, out, err = run("detect", "x.npy", "y.ppm", "--weights", weights, "--json", "-")
    assert (status, err) == (0, "")
    assert [rounded(row["detections"]) for row in json.loads(out)] == [expected, expected]
    status, out, err = run("detect", "x.npy", "--weights", weights, "--out", "drawn")
    assert status == 2 and "pip install pillow" in err and not Path("drawn").exists()


# one of many

def test_a_bad_image_is_reported_and_the_rest_goes_on(run, weights, shots):
    Path("bad.jpg").write_bytes(b"no image")
    Path("huge.ppm").write_bytes(b"P6 60000 60000 255\n")
    status, out, err = run("detect", "none.png", shots[0], "bad.jpg", "huge.ppm", shots[1], "--weights", weights, "--json", "r.json",
                           "--out", "drawn")
    assert status == 1
    for line, name in zip(err.splitlines(), ("none.png", "bad.jpg", "huge.ppm"), strict=True):
        assert line.startswith("minicnn detect: error: got ") and name in line
    assert [line.split()[0] for line in out.splitlines()[::2]] == shots
    assert [row["image"] for row in json.loads(Path("r.json").read_text())] == shots
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["one.png", "two.png"]


def test_what_a_folder_holds_is_detected_in_reported_or_counted(run, weights, shots):
    Path("shots/one.png").rename("shots/one.jfif")                  # the format follows from the first bytes
    Path("shots/a.heic").write_bytes(b"no image")
    Path("shots/gone.jpg").symlink_to("card/1.jpg")
    Path("shots/notes.txt").touch()
    Path("shots/below").mkdir()
    status, out, err = run("detect", "shots", "--weights", weights)
    assert status == 1
    assert [line.split()[0] for line in out.splitlines()] == ["shots/one.jfif", "shots/two.ppm"]
    others, heic, gone = err.splitlines()
    assert others == "minicnn detect: left out of shots: 1 other file (1 .txt) and 1 folder"
    assert "error: got shots/a.heic, an image in HEIC, which Pillow cannot read" in heic
    assert "error: got shots/gone.jpg, a link to card/1.jpg, which does not exist" in gone


def test_nothing_but_bad_images(run, weights, here):
    status, out, err = run("detect", "none.png", "--weights", weights, "--json", "-")
    assert status == 1 and json.loads(out) == [] and err.count("\n") == 1


# interrupted and resumed

@pytest.fixture
def computed(monkeypatch):
    """The names of the images that the detector ran on; assigning ``stop`` raises that error in place of the image of that number."""
    detect_image = detect.detect_image

    class Computed(list):
        stop, error = None, KeyboardInterrupt

    def counted(model, path, *arguments):
        if len(names) == names.stop:
            raise names.error
        names.append(Path(path).name)
        return detect_image(model, path, *arguments)
    names = Computed()
    monkeypatch.setattr(detect, "detect_image", counted)
    return names


@pytest.fixture
def many(here):
    """A folder with four images."""
    (here / "many").mkdir()
    for seed in range(4):
        write_image(here / "many" / f"{seed}.ppm", scene(40 + 8 * seed, 60, seed))
    return "many"


def untimed(path):
    """The text of a file of results without milliseconds."""
    return re.sub(r'"milliseconds": {[^}]*}', "", Path(path).read_text())


@pytest.mark.parametrize("form", ["json", "csv"])
def test_an_interrupted_run_is_resumed_to_the_file_of_one_that_was_not(run, weights, many, computed, form):
    command = ["detect", many, "--weights", weights, "--format", form, "--json"]
    assert run(*command, "whole")[0] == 0
    computed.clear()
    computed.stop = 2
    status, out, err = run(*command, "part", "--resume")                    # there is nothing to resume yet
    assert status == 130 and len(out.splitlines()) == 2
    assert "0 of 4 images are in part already" in err
    assert "interrupted after 2 of 4 images, which are in part: add --resume to the same command to go on\n" in err
    assert Path("whole").read_text().startswith(Path("part").read_text()) or form == "json"
    computed.stop = 3
    assert run(*command, "part", "--resume")[0] == 130                      # once more, an image later
    computed.stop = None
    status, out, err = run(*command, "part", "--resume")
    assert (status, err) == (0, "minicnn detect: 3 of 4 images are in part already\n") and len(out.splitlines()) == 1
    assert computed == ["0.ppm", "1.ppm", "2.ppm", "3.ppm"]                 # each once
    assert untimed("part") == untimed("whole")


def test_an_interrupt_writes_the_comp4_files_and_the_drawn_images_of_what_is_finished(run, weights, model, shots, computed):
    computed.stop = 1
    status, out, err = run("detect", *shots, "--weights", weights, "--format", "comp4", "--json", "voc", "--out", "drawn")
    assert status == 130 and err.endswith("interrupted after 1 of 2 images, which are in voc\n")
    lines = [line for path in Path("voc").iterdir() for line in path.read_text().splitlines()]
    assert len(lines) == len(model.detect(shots[0])) and {line.split()[0] for line in lines} == {"one"}
    assert [path.name for path in Path("drawn").iterdir()] == ["one.png"]
    assert_array_equal(read_image("drawn/one.png"), model.detect(shots[0]).above(0.5).draw(shots[0]))


def test_an_interrupt_prints_what_is_finished(run, weights, shots, computed):
    computed.stop = 1
    status, out, err = run("detect", *shots, "--weights", weights, "--json", "-")
    assert (status, err) == (130, "\nminicnn detect: interrupted after 1 of 2 images\n")
    assert [row["image"] for row in json.loads(out)] == shots[:1]


def test_a_sigterm_keeps_what_is_finished_and_exits_with_143(run, weights, shots, computed, monkeypatch):
    detect_image = detect.detect_image
    monkeypatch.setattr(detect, "detect_image", lambda *args: signal.raise_signal(signal.SIGTERM) if computed else detect_image(*args))
    status, out, err = run("detect", *shots, "--weights", weights, "--json", "r.json")
    assert status == 143 and "terminated after 1 of 2 images, which are in r.json: add --resume" in err
    assert [row["image"] for row in json.loads(Path("r.json").read_text())] == shots[:1]


def test_an_interrupt_before_the_first_result_leaves_the_file_as_it_was(run, weights, shots, computed):
    Path("r.json").write_text("other")
    computed.stop = 0
    status, out, err = run("detect", *shots, "--weights", weights, "--json", "r.json")
    assert status == 130 and err.endswith("interrupted after 0 of 2 images\n") and Path("r.json").read_text() == "other"


def test_another_error_keeps_what_is_finished_too(run, weights, shots, computed):
    computed.stop, computed.error = 1, RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        run("detect", *shots, "--weights", weights, "--json", "r.json")
    assert [row["image"] for row in json.loads(Path("r.json").read_text())] == shots[:1]


def test_a_row_whose_drawn_image_is_missing_is_done_again(run, weights, shots, computed):
    command = ["detect", *shots, "--weights", weights, "--out", "drawn", "--json", "r.json"]
    run(*command)
    Path("drawn/one.png").unlink()
    computed.clear()
    assert run(*command, "--resume")[0] == 0 and computed == ["one.png"]
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["one.png", "two.png"]
    assert [row["image"] for row in json.loads(Path("r.json").read_text())] == shots


def test_images_without_detections_are_done_again_for_csv_and_those_that_failed_for_both(run, weights, shots, computed):
    for form, expected in (("csv", ["one.png", "two.ppm"]), ("json", [])):
        command = ["detect", *shots, "none.png", "--weights", weights, "--score-threshold", 1, "--format", form, "--json", "r"]
        assert run(*command)[0] == 1
        before = untimed("r")
        computed.clear()
        status, out, err = run(*command, "--resume")
        assert status == 1 and "none.png" in err and computed == expected and untimed("r") == before


@pytest.mark.parametrize("options", [[], ["--json", "-"], ["--format", "csv"], ["--format", "comp4", "--json", "voc"]])
def test_resuming_needs_a_file(refused, weights, shots, options):
    assert "expected a file of results" in refused("detect", *shots, "--weights", weights, "--resume", *options)


def test_a_file_of_another_run_is_not_resumed(refused, run, weights, shots):
    assert run("detect", *shots, "--weights", weights, "--json", "r.json")[0] == 0
    command = ["detect", "--weights", weights, "--json", "r.json", "--out", "drawn", "--resume"]
    assert "1 rows of the image 'shots/two.ppm'" in refused(*command, shots[0])
    assert "which the threshold 0.3 leaves out" in refused(*command, *shots, "--score-threshold", 0.3)
    assert "cannot be read as csv" in refused(*command, *shots, "--format", "csv")


def test_a_name_that_is_not_utf8_does_not_spoil_the_results(run, weights, here):
    name = "caf\udce9.ppm"                                          # Latin-1 on the disk
    write_image(here / name, scene(40, 50))
    status, out, err = run("detect", name, "--weights", weights, "--json", "-")
    assert status == 0 and json.loads(out)[0]["image"] == "caf?.ppm"
    assert run("detect", name, "--weights", weights)[0] == 0


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("options, on_terminal, bar", [(["--json", "-"], True, True), ([], True, False), ([], False, True)])
def test_a_bar_where_lines_do_not_show_progress(weights, shots, monkeypatch, options, on_terminal, bar):
    out, err = Terminal() if on_terminal else io.StringIO(), Terminal()
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    ticks = iter(range(1000))
    monkeypatch.setattr("minicnn.progress.time.perf_counter", lambda: float(next(ticks)))       # a second a call
    assert main(["detect", "none.png", *shots, "--weights", str(weights), *options]) == 1
    assert ("detect  2/3" in err.getvalue()) == bar
    assert "\r\x1b[Kminicnn detect: error: got none.png" in err.getvalue()
    assert "\x1b" not in out.getvalue()


# the lines

def test_a_line_lists_as_many_objects_as_fit():
    found = Detections(np.zeros((4, 4), np.float32), np.arange(1, 5), np.array([0.98, 0.91, 0.6, 0.5], np.float32),
                       ["person", "dog", "cat", "traffic light"])
    assert listing(found, 60) == "4 objects: person 0.98, dog 0.91, cat 0.60, ... +1"
    assert listing(found, 50) == "4 objects: person 0.98, dog 0.91, cat 0.60, ... +1"
    assert listing(found, 49) == "4 objects: person 0.98, dog 0.91, ... +2"
    assert listing(found, 80) == "4 objects: person 0.98, dog 0.91, cat 0.60, traffic light 0.50"
    assert listing(found, -9) == "4 objects: person 0.98, ... +3"
    assert listing(found.above(0.95), 0) == "1 object: person 0.98" and listing(found.above(1), 0) == "no objects"


@pytest.mark.parametrize("paths, expected", [
    (["a/x.jpg", "a/y.JPEG", "z.png"], ["x.jpg", "y.JPEG", "z.png"]),
    (["a/x.gif", "x.npy.ppm"], ["x.png", "x.npy.png"]),
    (["a/x.jpg", "b/x.jpg", "y.jpg"], ["a_x.jpg", "b_x.jpg", "y.jpg"]),
    (["a/x.jpg", "b/X.JPG"], ["a_x.jpg", "b_X.JPG"]),
    (["a/x.jpg", "x.png"], ["x.jpg", "x.png"]),
    (["a/x.png", "a/x.gif", "a/x.tif"], ["a_x.png", "a_x_2.png", "a_x_3.png"]),
    (["c/a/x.jpg", "d/a/x.jpg", "a_x.jpg"], ["a_x.jpg", "a_x_2.jpg", "a_x_3.jpg"])])
def test_drawn_images_have_names_of_their_own(paths, expected):
    assert drawn_names([Path(path) for path in paths]) == expected


def test_images_of_the_same_name_do_not_overwrite_each_other(run, weights, model, here):
    for seed, folder in enumerate("ab"):
        (here / folder).mkdir()
        write_image(here / folder / "x.png", scene(60, 90, seed))
    status, out, err = run("detect", "a", "b", "--weights", weights, "--out", "drawn")
    assert status == 0 and "-> drawn/a_x.png\n" in out and "-> drawn/b_x.png\n" in out
    for folder in "ab":
        assert_array_equal(read_image(f"drawn/{folder}_x.png"), model.detect(f"{folder}/x.png").above(0.5).draw(f"{folder}/x.png"))


# fonts

def test_a_label_that_no_font_can_draw_is_told_once_before_the_work(run, weights, loaded, shots, monkeypatch):
    model = copy.deepcopy(loaded)
    model.record["class_names"] = ["__background__", "\U00012000", "dog", "\U00012000 \U00012001", "cat"]       # cuneiform
    monkeypatch.setattr(label_font, "SYSTEM", ())
    monkeypatch.setenv("PATH", "")                                  # without fontconfig
    minicnn.save("private.npz", model)
    status, out, err = run("detect", *shots, "--weights", "private.npz", "--out", "drawn")
    line, = err.splitlines()
    assert status == 0 and line.startswith("minicnn detect: the label '") and line.endswith("by --font or font= (and 1 more names like it)")


def test_a_font_of_the_users(run, refused, weights, model, shots):
    font = write_font(Path("x.ttf"), "cat dog")
    status, out, err = run("detect", shots[0], "--weights", weights, "--out", "drawn", "--font", font)
    assert (status, err) == (0, "")
    found = model.detect(shots[0]).above(0.5)
    assert_array_equal(read_image("drawn/one.png"), found.draw(shots[0], font))
    assert not np.array_equal(found.draw(shots[0], font), found.draw(shots[0]))
    assert "cannot be read as a font" in refused("detect", *shots, "--weights", weights, "--out", "other", "--font", shots[0])


# large images

@pytest.fixture
def large(here, monkeypatch):
    """large.png and .ppm of 120 x 180 pixels, which count as large: half as wide and high they are the scene."""
    for name, value in (("reduction", 6000), ("images", 6000), ("array_files", 6000)):
        monkeypatch.setattr(f"minicnn.data.{name}.MAX_PIXELS", value)
    for suffix in (".png", ".ppm"):
        write_image(here / f"large{suffix}", np.kron(scene(60, 90), np.ones((2, 2, 1), np.uint8)))
    return ["large.png", "large.ppm"]


def test_a_large_image_is_read_reduced_and_its_boxes_are_in_pixels_of_the_file(run, weights, model, large):
    status, out, err = run("detect", *large, "--weights", weights, "--json", "r.json", "--out", "drawn")
    expected = model.detect(scene(60, 90))
    assert (status, err) == (0, "")
    for row, line, name in zip(json.loads(Path("r.json").read_text()), out.splitlines()[::2], large, strict=True):
        assert list(row) == ["image", "width", "height", "reduced", "detections", "milliseconds"]
        assert (row["width"], row["height"], row["reduced"]) == (180, 120, 2)
        np.testing.assert_allclose([one["box"] for one in row["detections"]], 2 * expected.boxes, atol=0.02)      # rounding, twice
        assert line.startswith(f"{name}  180x120 reduced by 2  ")
    for path in Path("drawn").iterdir():
        assert_array_equal(read_image(path), expected.above(0.5).draw(scene(60, 90)))


@pytest.mark.parametrize("images, kind", [(5, "int"), (None, "NoneType"), (np.zeros((40, 50, 3), np.uint8), "ndarray"),
                                          ([np.zeros((40, 50, 3), np.uint8)], "ndarray")], ids=["int", "None", "array", "list"])
def test_in_python_what_is_no_path_is_refused(model, images, kind):
    with pytest.raises(InputError, match=f"^got a {kind} for an image file, expected a path. Call model.detect"):
        next(detect.detect_images(model, images))


def test_in_python_too_boxes_are_in_pixels_of_the_file(model, large):
    expected = model.detect(scene(60, 90))
    for found in (model.detect(large[0]), model.detect(large)[1], next(detect.detect_images(model, large)).detections):
        np.testing.assert_allclose(found.boxes, 2 * expected.boxes, atol=0.02)         # rounding, twice
    assert_array_equal(model.detect(large[0]).draw(large[0]), expected.draw(scene(60, 90)))


# refused before the work

@pytest.mark.parametrize("argv, expected", [
    (["shots", "--format", "comp4"], "--json FOLDER"), (["shots", "--format", "comp4", "--json", "-"], "--json FOLDER"),
    (["shots", "shots/one.txt", "--format", "comp4", "--json", "voc"], "2 images named one"),
    (["shots", "--json", "none/r.json"], "none/r.json"), (["shots", "--json", "shots"], "folder"),
    (["shots", "--out", "shots/one.png"], "one.png"), (["shots", "--out", "shots"], "shots/one.png is an image to detect in"),
    (["shots", "--format", "comp4", "--json", "shots/one.png"], "one.png"),
    (["empty"], "empty"), (["none*.jpg"], "none*.jpg")])
def test_what_cannot_be_done_is_refused_before_the_work(refused, weights, shots, monkeypatch, argv, expected):
    Path("empty").mkdir()
    monkeypatch.setattr(FasterRCNN, "detect", lambda *args: pytest.fail("ran on an image"))
    assert expected in refused("detect", *argv, "--weights", weights)


@pytest.mark.parametrize("options, expected", [
    (["--score-threshold", "1.5"], "0 to 1"), (["--score-threshold", "nan"], "0 to 1"), (["--score-threshold", "x"], "x"),
    (["--min-size", "0"], "at least 1"), (["--max-size", "2.5"], "2.5"), (["--format", "xml"], "xml")])
def test_options_that_make_no_sense(run, weights, shots, options, expected):
    status, out, err = run("detect", *shots, "--weights", weights, *options)
    assert status == 2 and out == "" and err.count("\n") == 1 and expected in err


def test_layers_that_do_not_fit_each_other_are_told_before_the_work(refused, model, shots, here):
    model.backbone.replace_layer("2", Conv2d(32, 64, 3, padding=1))
    minicnn.save("wrong.npz", model)
    assert "got wrong.npz, whose layers do not fit each other" in refused("detect", *shots, "--weights", "wrong.npz", "--out", "drawn")


def test_a_classifier_is_no_detector(refused, shots, here):
    minicnn.save(here / "lenet.npz", minicnn.build("lenet5", rng=np.random.default_rng(0)))
    assert "lenet5" in refused("detect", *shots, "--weights", here / "lenet.npz")
    assert "none.npz" in refused("detect", *shots, "--weights", "none.npz")


def test_a_image_too_large_for_the_memory_is_reported_and_the_rest_goes_on(run, weights, model, shots, monkeypatch):
    detect_one, calls = FasterRCNN.detect, []

    def first_fails(self, images):
        if not calls:
            calls.append(images)
            raise MemoryError
        return detect_one(self, images)
    monkeypatch.setattr(FasterRCNN, "detect", first_fails)
    status, out, err = run("detect", *shots, "--weights", weights, "--json", "-")
    assert status == 1 and len(json.loads(out)) == len(shots) - 1
    assert err.count("\n") == 1 and "takes more memory than there is" in err


@pytest.mark.parametrize("which", ["weights", "picture"])
def test_results_do_not_replace_what_is_read(refused, weights, shots, which):
    assert "which is read too" in refused("detect", *shots, "--weights", weights, "--json", weights if which == "weights" else shots[0])


def test_names_in_a_line_are_harmless_to_the_terminal():
    found = Detections(np.zeros((1, 4), np.float32), np.array([1]), np.array([0.9], np.float32), ["a\x1b[2Jb\nc"])
    assert listing(found, 80) == "1 object: a?[2Jb?c 0.90"


@pytest.fixture
def published(here, monkeypatch):
    """A weight file that is taken for one of torchvision's own."""
    from torch_files import weight_file

    from minicnn.files import sha256
    from minicnn.weight_files import convert
    architecture = "fasterrcnn_mobilenet_v3_large_320_fpn"
    arrays = minicnn.build(architecture, rng=np.random.default_rng(0), num_classes=91, box_head_width=2).named_arrays()
    (here / "model.pth").write_bytes(weight_file(dict(arrays)))
    monkeypatch.setenv("MINICNN_CACHE", str(here / "cache"))
    monkeypatch.setitem(convert.PUBLISHED, sha256("model.pth")[:8], architecture)
    return "model.pth"


@pytest.mark.parametrize("verb, options", [("detect", ["photo.npy", "--weights", "model.pth"]), ("info", ["model.pth"]),
                                           ("bench", ["model.pth", "--runs", "1", "--size", "32x32", "--backend", "numpy"])])
def test_torchs_weights_stand_for_an_archive(run, here, published, verb, options):
    np.save("photo.npy", np.zeros((32, 32, 3), np.uint8))
    for words in ("converted once into", "converted before into"):
        status, out, err = run(verb, *options)
        assert status == 0 and out and err.startswith("minicnn: model.pth holds weights of torch, read as fasterrcnn_mobilenet_v3_large")
        assert words in err.splitlines()[0]


def test_files_whose_names_are_known_late_do_not_replace_the_weights_or_each_other(refused, weights, shots, here):
    for folder, name, options in (("voc", "comp4_det_test_cat.txt", ["--format", "comp4", "--json", "voc"]),
                                  ("drawn", "one.png", ["--out", "drawn"])):
        (here / folder).mkdir()
        (here / folder / name).symlink_to(weights)
        assert "which is " in (line := refused("detect", *shots, "--weights", weights, *options)) and "read too" in line
    (here / "x").mkdir()
    assert "one.png to write two things to" in refused("detect", *shots, "--weights", weights, "--out", "x", "--json", "x/one.png")

"""minicnn train and finetune of a detector: the files, what they say, what they refuse, and that Ctrl-C and kill cost nothing."""

import json
import re
import shutil
import signal
import sys

import numpy as np
import pytest
import toy_detector
from numpy.testing import assert_array_equal
from subprocesses import HUNG

import minicnn
from minicnn.archive import read_archive
from minicnn.data.annotated import FROM_0
from minicnn.data.scenes import write_scenes
from minicnn.detection.training.train import Training, train_detector
from minicnn.models import BUILDERS


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The small detector of the tests stands among the real ones."""
    monkeypatch.setitem(sys.modules, "minicnn.detection.toy_detector", toy_detector)
    monkeypatch.setitem(BUILDERS, "toy", "minicnn.detection.toy_detector:toy_detector")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder in VOC's form: 24 small images."""
    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(folder, (80, 64), 24, 0)
    return folder


FAST = ("--epochs", 1, "--trainable-backbone-layers", 2, "--warmup-steps", 2)


def test_a_detector_is_trained_and_found_again(run, scenes, here):
    status, out, err = run("train", "toy", "--data", scenes, *FAST, "--seed", 3, "--out", "net.npz", "--json", "-")
    document = json.loads(out)
    assert status == 0 and document["file"] == "net.npz" and document["images"] == 19 and len(document["classes"]) == 13
    assert list(document["losses"][0]) == ["loss", "loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"]
    assert err.startswith("epoch 1/1  loss ") and all(len(line) <= 80 for line in err.splitlines())
    assert [path.name for path in here.iterdir()] == ["net.npz"]
    record = minicnn.load("net.npz").record
    assert record["class_names"] == ["__background__", *document["classes"]]
    made = record["provenance"]
    assert made["split"] == "trainval" and made["seed"] == 3 and made["recipe"]["batch_size"] == 2 and made["losses"] == document["losses"]
    assert run("info", "net.npz")[0] == 0


def test_the_report_has_the_losses_and_images(run, scenes, here):
    status, out, _ = run("train", "toy", "--data", scenes, *FAST, "--split", "train", "--out", "net.npz", "--report", "page",
                         "--validation", "test")
    assert status == 0 and out.startswith("net.npz: toy, 13 classes, loss ") and out.endswith("-> page/report.html\n")
    assert all(len(line) <= 80 for line in out.splitlines())
    text = (here / "page" / "report.html").read_text()
    assert text.count("<img ") == 5 and text.count("<svg ") == 1 and "loss_rpn_box_reg" in text


def test_one_list_of_coco_has_no_splits(run, refused, here):
    values = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    np.save("one.npy", values)
    (here / "one.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "one.npy", "height": 48, "width": 64}], "categories": [{"id": 1, "name": "ball"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 5, 20, 20], "area": 400, "iscrowd": 0}]}))
    for option in ("--split", "--validation"):
        line = refused("train", "toy", "--data", "one.json", *FAST, option, "val", "--out", "net.npz")
        assert f"got {option} val for one.json, which is one list of images" in line
    assert run("train", "toy", "--data", "one.json", *FAST, "--out", "net.npz")[0] == 0
    assert minicnn.load("net.npz").record["provenance"]["split"] is None


def test_a_folder_without_lists_is_one_split(run, refused, scenes, here):
    (here / "flat").mkdir()
    for path in [*(scenes / "Annotations").iterdir(), *(scenes / "JPEGImages").iterdir()]:
        shutil.copy(path, here / "flat")
    status, out, _ = run("train", "toy", "--data", "flat", *FAST, "--out", "net.npz", "--json", "-")
    assert status == 0 and json.loads(out)["images"] == 24 and minicnn.load("net.npz").record["provenance"]["split"] == "all"
    assert "expected all" in refused("train", "toy", "--data", "flat", *FAST, "--split", "val", "--out", "x.npz")


def test_another_detector_gives_its_backbone_and_its_settings(run, scenes, here):
    assert run("train", "toy", "--data", scenes, *FAST, "--min-size", 40, "--out", "first.npz")[0] == 0
    assert run("train", "toy", "--data", scenes, "--epochs", 1, "--trainable-backbone-layers", 0, "--seed", 9, "--init", "first.npz",
               "--out", "second.npz")[0] == 0
    first, second = minicnn.load("first.npz"), minicnn.load("second.npz")
    for (path, one), (_, other) in zip(first.backbone.named_arrays(), second.backbone.named_arrays()):
        assert_array_equal(one, other, err_msg=path)
    assert second.transform.min_size == 40 and second.record["provenance"]["init"]["file"] == "first.npz"
    assert not np.array_equal(first.roi_heads.box_head.fc6.weight, second.roi_heads.box_head.fc6.weight)


def test_settings_from_a_file_and_classes_by_name(run, scenes, here):
    (here / "config.json").write_text('{"anchor_sizes": [[10, 20, 30]], "class_names": "voc", "architecture": "toy"}')
    names = minicnn_classes(scenes)
    assert run("train", "toy", "--data", scenes, *FAST, "--config", "config.json", "--classes", *names, "extra", "--out", "x.npz")[0] == 0
    model = minicnn.load("x.npz")
    assert model.rpn.anchor_sizes == [[10, 20, 30]] and model.record["class_names"] == ["__background__", *names, "extra"]


def minicnn_classes(scenes):
    return minicnn.data.load_annotated(scenes, "trainval").class_names[1:]


def test_a_backbone_that_does_not_fit(refused, scenes, here):
    minicnn.save("lenet.npz", minicnn.build("lenet5", rng=np.random.default_rng(0)))
    assert "expected a backbone's" in refused("train", "toy", "--data", scenes, *FAST, "--init", "lenet.npz", "--out", "x.npz")
    (here / "text").write_text("no weights")
    assert "text" in refused("train", "toy", "--data", scenes, *FAST, "--init", "text", "--out", "x.npz")
    (here / "cut.npz").write_bytes((here / "lenet.npz").read_bytes()[:-100])
    assert "cut.npz, which cannot be read" in refused("train", "toy", "--data", scenes, *FAST, "--init", "cut.npz", "--out", "x.npz")


def test_more_stages_than_the_backbone_has(refused, scenes, here):
    assert "expected 0 to 3" in refused("train", "toy", "--data", scenes, "--trainable-backbone-layers", 4, "--out", "x.npz")


def test_fine_tuning_goes_on_with_the_same_classes(run, refused, scenes, here):
    assert run("train", "toy", "--data", scenes, *FAST, "--out", "net.npz")[0] == 0
    status, out, err = run("finetune", "net.npz", "--data", scenes, "--split", "train", *FAST, "--out", "tuned.npz", "--json", "-")
    assert status == 0 and json.loads(out)["images"] == 17
    before, after = read_archive("net.npz"), read_archive("tuned.npz")
    assert before[1]["layers"] == after[1]["layers"] and after[1]["provenance"]["source"]["file"] == "net.npz"
    assert any(not np.array_equal(array, after[0][name]) for name, array in before[0].items())
    shutil.copytree(scenes, "other")
    for path in (here / "other" / "Annotations").iterdir():
        path.write_text(path.read_text().replace("<name>circle", "<name>ufo"))
    assert "ufo" in refused("finetune", "net.npz", "--data", "other", *FAST, "--out", "x.npz")


def test_features_are_kept_between_runs_and_refused_when_stale(run, refused, scenes, here):
    options = ("--data", scenes, "--epochs", 2, "--trainable-backbone-layers", 1, "--cache-features", "kept", "--out", "net.npz")
    assert run("train", "toy", *options)[0] == 0
    first, times = (here / "net.npz").read_bytes(), {path: path.stat().st_mtime_ns for path in (here / "kept").glob("*.npz")}
    assert run("train", "toy", *options)[0] == 0
    assert times and all(path.stat().st_mtime_ns == then for path, then in times.items())
    assert (here / "net.npz").read_bytes() == first
    assert "Delete the folder" in refused("train", "toy", *options, "--seed", 4)
    assert "expected one size" in refused("train", "toy", *options, "--min-sizes", 32, 40)


def broken(folder, image=None, xml=None):
    """Change the first training image, or its annotation; returns its id."""
    name = (folder / "ImageSets" / "Main" / "train.txt").read_text().split()[0]
    for place, suffix, change in (("JPEGImages", "jpg", image), ("Annotations", "xml", xml)):
        path = folder / place / f"{name}.{suffix}"
        if change:
            data = change(path.read_bytes())
            path.unlink() if data is None else path.write_bytes(data)
    return name


@pytest.mark.parametrize("verb", ["train", "finetune"])
def test_images_that_cannot_be_learnt_from_are_named_in_one_run(run, scenes, here, verb):
    shutil.copytree(scenes, "data")
    names = (here / "data" / "ImageSets" / "Main" / "trainval.txt").read_text().split()[:5]
    paths = [here / "data" / "JPEGImages" / f"{name}.jpg" for name in names]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    paths[2].write_text("no image")
    paths[3].write_bytes(b"")
    xml = here / "data" / "Annotations" / f"{names[4]}.xml"
    xml.write_text(xml.read_text().replace("<width>80", "<width>81"))
    what = "toy" if verb == "train" else "net.npz"
    assert verb == "train" or run("train", "toy", "--data", scenes, *FAST, "--out", "net.npz")[0] == 0
    status, out, err = run(verb, what, "--data", "data", *FAST, "--out", "x.npz")
    *named, line = err.splitlines()
    assert (status, out) == (2, "") and not list(here.glob("x*")) and len(named) == 5
    assert all(name in text for name, text in zip(names, named))
    assert [text in found for text, found in zip(("not exist", "decoded", "recognise", "empty", "expected 81 x 64"), named)] == [True] * 5
    assert "of whose 19 images 5 cannot be used; skipped are 5 images and 0 objects (image cannot be read: 5)" in line
    status, out, err = run(verb, what, "--data", "data", *FAST, "--out", "x.npz", "--allow-skipped", "--json", "-")
    assert status == 1 and json.loads(out)["images"] == 14 and json.loads(out)["skipped"]["images"] == 5
    assert err.splitlines()[-1] == f"minicnn {verb}: skipped: 5 images and 0 objects (image cannot be read: 5)"


def test_a_resumed_training_leaves_out_the_same_images(run, scenes, here, monkeypatch):
    shutil.copytree(scenes, "data")
    broken(here / "data", image=lambda data: None)
    options = ("train", "toy", "--data", "data", *FAST[2:], "--epochs", 2, "--allow-skipped", "--out")
    assert run(*options, "whole.npz")[0] == 1
    run_epoch, epochs = Training.run_epoch, []

    def stopped(self):
        epochs.append(run_epoch(self))
        if len(epochs) == 1:
            self.save()
            raise KeyboardInterrupt
    monkeypatch.setattr(Training, "run_epoch", stopped)
    assert run(*options, "resumed.npz")[0] == 130
    assert run(*options, "resumed.npz", "--resume")[0] == 1 and len(epochs) == 2
    arrays, others = read_archive("whole.npz")[0], read_archive("resumed.npz")[0]
    for name, array in arrays.items():
        assert_array_equal(array, others[name], err_msg=name)


@pytest.mark.parametrize("name, text, expected", [("empty", "", "empty"), ("outside", "../../secret\n", "secret"), ("none", None, "none")])
def test_splits_that_cannot_be_learnt_from(refused, scenes, here, name, text, expected):
    shutil.copytree(scenes, "data")
    if text is not None:
        (here / "data" / "ImageSets" / "Main" / f"{name}.txt").write_text(text)
    assert expected in refused("train", "toy", "--data", "data", "--split", name, *FAST, "--out", "x.npz")


def test_what_is_skipped_is_told_and_summed_up(run, scenes, here):
    shutil.copytree(scenes, "data")
    broken(here / "data", xml=lambda data: data.replace(b"<xmin>", b"<xmin>9", 1))
    status, out, err = run("train", "toy", "--data", "data", *FAST, "--out", "x.npz", "--json", "-")
    document, lines = json.loads(out), err.splitlines()
    assert status == 1 and lines[0].startswith("minicnn train: error: ") and "object 1" in lines[0] and "skipped" in lines[0]
    assert document["skipped"] == {"images": 0, "objects": 1, "reasons": {"box that is empty or outside the image": 1}}
    assert document["problems"] == [lines[0].removeprefix("minicnn train: error: ")] and document["normalised"] == {}
    assert lines[-1] == "minicnn train: skipped: 0 images and 1 object (box that is empty or outside the image: 1)"


@pytest.mark.parametrize("verb", ["train", "finetune"])
def test_too_much_that_is_skipped_is_refused_before_the_work(run, scenes, here, verb):
    shutil.copytree(scenes, "data")
    names = (here / "data" / "ImageSets" / "Main" / "train.txt").read_text().split()
    for name in names[:2]:
        (here / "data" / "Annotations" / f"{name}.xml").write_text("no XML")
    options = ["toy"]
    if verb == "finetune":
        assert run("train", "toy", "--data", scenes, *FAST, "--out", "net.npz")[0] == 0
        options = ["net.npz"]
    status, out, err = run(verb, *options, "--data", "data", *FAST, "--out", "x.npz")
    *named, line = err.splitlines()
    assert (status, out) == (2, "") and not list(here.glob("x*"))
    assert [name in text for name, text in zip(names, named, strict=False)] == [True, True]
    assert "got data, trainval, of whose 19 images 2 cannot be used" in line and "--allow-skipped" in line
    status, _, err = run(verb, *options, "--data", "data", *FAST, "--out", "x.npz", "--allow-skipped")
    assert status == 1 and err.endswith(f"minicnn {verb}: skipped: 2 images and 0 objects (annotation cannot be read: 2)\n")


def test_files_that_count_from_0_are_pointed_out(run, scenes, here):
    """Less 1, the boxes at the upper and left sides begin at 0; with the origin given, all are as they were but for a pixel."""
    shutil.copytree(scenes, "data")
    for path in (here / "data" / "Annotations").iterdir():
        path.write_text(re.sub(r"<([xy]min|[xy]max)>([\d.]+)<", lambda found: f"<{found[1]}>{float(found[2]) - 1:g}<", path.read_text()))
    names = (here / "data" / "ImageSets" / "Main" / "trainval.txt").read_text().split()
    first = here / "data" / "Annotations" / f"{names[0]}.xml"
    first.write_text(re.sub(r"<xmin>[\d.]+<", "<xmin>0<", first.read_text(), count=1))
    status, out, err = run("train", "toy", "--data", "data", *FAST, "--out", "x.npz", "--json", "-")
    assert status == 0 and "boxes begin at 0" in err and err.count("--box-origin 0") == 1
    assert json.loads(out)["normalised"][FROM_0] >= 1 and json.loads(out)["skipped"]["objects"] == 0
    status, out, err = run("train", "toy", "--data", "data", *FAST, "--out", "y.npz", "--json", "-", "--box-origin", 0)
    assert status == 0 and "--box-origin" not in err and json.loads(out)["normalised"] == {}


def test_a_classifier_skips_nothing(refused, here):
    assert "got --allow-skipped for lenet5, a classifier" in refused("train", "lenet5", "--allow-skipped", "--out", "x.npz")


def test_classes_that_are_not_the_datas(refused, scenes, here):
    line = refused("train", "toy", "--data", scenes, *FAST, "--classes", "cat", "dog", "--out", "x.npz")
    assert "expected" in line


@pytest.fixture
def unfinished(monkeypatch):
    """unfinished(run, *argv): a training that ends with Ctrl-C after its epochs, so that its checkpoint stays."""
    def unfinished(run, *argv):
        def stop(*args):
            train_detector(*args)
            raise KeyboardInterrupt
        with monkeypatch.context() as patch:
            patch.setattr("minicnn.cli.train.train_detector", stop)
            assert run(*argv)[0] == 130
    return unfinished


def test_a_checkpoint_of_other_files_and_settings_is_refused(run, refused, scenes, here, unfinished):
    for name, seed in (("a.npz", 1), ("b.npz", 2)):
        assert run("train", "toy", "--data", scenes, *FAST, "--seed", seed, "--out", name)[0] == 0
    (here / "config.json").write_text('{"rpn_nms_thresh": 0.6}')
    command = ["train", "toy", "--data", scenes, *FAST, "--out", "net.npz"]
    options = {"--init": ("a.npz", "b.npz", "other weights"), "--config": ("config.json", None, "settings rpn.nms_thresh"),
               "--min-size": (40, 44, "settings transform.min_size"), "--max-size": (60, 56, "settings transform.max_size")}
    given = [part for name, (value, _, _) in options.items() for part in (name, value)]
    unfinished(run, *command, *given)
    for name, (_, value, expected) in options.items():
        others = [part for key, (own, _, _) in options.items() for part in (key, value if key == name else own) if
                  (value if key == name else own) is not None]
        assert expected in refused(*command, *others, "--resume")
    status, _, err = run(*command, *given, "--resume")
    assert status == 0 and err.startswith("resuming after epoch 1, step 0 from net.checkpoint.npz\n")
    tune = ["finetune", "a.npz", "--data", scenes, *FAST, "--out", "tuned.npz"]
    unfinished(run, *tune)
    assert "other weights" in refused("finetune", "b.npz", *tune[2:], "--resume")


@pytest.mark.parametrize("verb", ["train", "finetune"])
def test_a_checkpoint_that_is_there_is_replaced_only_by_restart(run, refused, scenes, here, unfinished, verb):
    run("train", "toy", "--data", scenes, *FAST, "--out", "whole.npz")
    command = [verb, "toy" if verb == "train" else "whole.npz", "--data", scenes, *FAST, "--out", "net.npz"]
    unfinished(run, *command)
    assert "--resume to go on from it, or --restart to begin anew" in refused(*command)
    assert "not allowed with" in run(*command, "--resume", "--restart")[2]
    assert run(*command, "--restart", "--seed", 1)[0] == 0 and not (here / "net.checkpoint.npz").exists()
    status, _, err = run(*command, "--resume")
    assert status == 0 and "no checkpoint net.checkpoint.npz: beginning anew\n" in err


def test_a_resumed_run_writes_the_bytes_of_one_that_was_not_interrupted(run, scenes, here, unfinished):
    command = ["train", "toy", "--data", scenes, *FAST, "--out", "net.npz"]
    written = []
    for end in ((), ("--resume",), ("--restart",)):
        if end:
            unfinished(run, *command)
        assert run(*command, *end)[0] == 0
        written.append((here / "net.npz").read_bytes())
    assert written[0] == written[1] == written[2]


STOPPED = """
import os, signal, sys
from minicnn.cli.main import main

calls = 0

def count(frame, event, arg):
    global calls
    calls += event == "call"
    if calls == {number}:
        sys.setprofile(None)
        os.kill(os.getpid(), signal.{name})

sys.setprofile(count)
status = main()
sys.setprofile(None)
print(calls)
sys.exit(status)
"""


@pytest.mark.slow
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGKILL"])
def test_stopped_at_twenty_random_moments_it_ends_with_the_same_bytes(start, open_process, scenes, here, signal_name):
    """A moment is a call of a Python function, so that it does not depend on the machine's speed."""
    command = ["train", "fasterrcnn_mobilenet_v3_large_320_fpn", "--data", scenes, "--split", "train", "--min-size", 48, "--max-size", 64,
               "--epochs", 6, "--trainable-backbone-layers", 1]

    def stopped_at(number, *options):
        code = STOPPED.format(number=number, name=signal_name)
        process = open_process([sys.executable, "-c", code, *command, *options])
        return process.communicate(timeout=HUNG)[0], process.returncode
    first = start(*command, "--out", "whole.npz")                # compiles what is not yet compiled, which calls many functions, too
    assert first.communicate(timeout=HUNG) and first.returncode == 0
    (here / "whole.npz").unlink()
    out, status = stopped_at(-1, "--out", "whole.npz")
    assert status == 0
    calls, rng, stops = int(out.split()[-1]), np.random.default_rng(0), 0
    for _ in range(20):
        _, status = stopped_at(int(rng.uniform(0.02, 0.3) * calls), "--out", "stopped.npz", "--resume")
        stops += status != 0
        if (here / "stopped.npz").exists():
            break
        assert status in (130, -getattr(signal, signal_name))       # the latter also where SIGINT comes while modules are imported
    assert stops >= 3
    if not (here / "stopped.npz").exists():
        last = start(*command, "--out", "stopped.npz", "--resume")
        assert last.communicate(timeout=HUNG) and last.returncode == 0
    arrays, others = read_archive("whole.npz")[0], read_archive("stopped.npz")[0]
    assert list(arrays) == list(others)
    for name, array in arrays.items():
        assert_array_equal(array, others[name], err_msg=name)
    unfinished = "" if signal_name == "SIGINT" else "."             # what a killed process was writing
    assert {path.name for path in here.iterdir() if not unfinished or not path.name.startswith(unfinished)} == {"stopped.npz", "whole.npz"}

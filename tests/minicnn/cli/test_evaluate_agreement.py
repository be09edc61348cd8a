"""minicnn evaluate --against: end to end, at 80 columns, and what is refused."""

import json
import re
import shutil
from pathlib import Path

import pytest
from small_detector import CLASSES, scene
from small_voc import write_voc

import minicnn
from minicnn.data.images import write_image

pytestmark = pytest.mark.usefixtures("read_once")


@pytest.fixture(scope="module")
def other(weights, loaded, tmp_path_factory):
    """The file of a detector that finds some other objects than ``weights``."""
    model = minicnn.load(weights)
    model.roi_heads.box_predictor.cls_score.bias[1:] += [-1.0, 0.6, 0, 0.3]
    path = tmp_path_factory.mktemp("other") / "other.npz"
    minicnn.save(path, model)
    return path


@pytest.fixture
def photos(here):
    """A folder with three images."""
    Path("photos").mkdir()
    for seed, name in enumerate(("a.ppm", "b.ppm", "c.ppm")):
        write_image(f"photos/{name}", scene(60, 90, seed))
    return Path("photos")


def test_a_folder_without_labels(run, weights, other, photos):
    command = ("evaluate", other, "--against", weights, "--data", "photos")
    status, out, err = run(*command, "--json", "a.json", "--report", "page")
    document = json.loads(Path("a.json").read_text())
    assert (status, err) == (0, "") and out.endswith(f"\n\n{Path('page', 'report.html')}\n")
    assert max(map(len, out.splitlines()[2:])) <= 80 and f"agreement {100 * document['agreement']:.2f} %" in out
    assert document["file"] == str(other) and document["against"] == str(weights) and document["split"] is None
    lost, invented = document["lost"], document["invented"]
    assert len(lost) == document["original"]["lost"] > 0 and len(invented) == document["network"]["invented"] > 0
    text = Path("page/report.html").read_text("utf-8")
    rows = [re.findall("<td>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", text)]
    assert sum(len(row) == 7 for row in rows) == min(len(lost), 100) + min(len(invented), 100)
    assert "<svg" in text and "found by both" in text and str(photos / "a.ppm") in text
    assert run("evaluate", weights, "--against", weights, "--data", "photos/*.ppm")[1].count("agreement 100.00 %") == 1


def test_a_data_set_and_an_image_that_cannot_be_read(run, refused, weights, loaded, other, here):
    write_voc(here / "voc", loaded)
    Path("voc/JPEGImages/000002.png").write_bytes(b"no image")
    command = ("evaluate", other, "--against", weights, "--data", "voc")
    status, out, err = run(*command, "--json", "-")
    assert status == 2 and out == "" and "of whose 3 images 1 cannot be used" in err.splitlines()[-1]
    status, out, err = run(*command, "--allow-skipped", "--json", "-")
    document = json.loads(out)
    assert status == 1 and document["pictures"] == 2 and document["split"] == "test" and document["skipped"]["images"] == 1
    assert "000002.png" in err.splitlines()[0] and "skipped: 1 image" in err.splitlines()[-1]


@pytest.mark.parametrize("options, expected", [
    ([], "got no --data"), (["--data", "photos", "--detections", "d.json"], "--detections and --against"),
    (["--data", "photos", "--box-origin", "0"], "--box-origin"), (["--data", "photos", "--split", "val"], "the split val"),
    (["--data", "none"], "does not exist"), (["--data", "photos", "--json", "photos/a.ppm"], "photos/a.ppm to write to"),
    (["--data", "photos", "--json", "none/a.json"], "none/a.json"),
])
def test_options_that_do_not_fit(refused, weights, photos, options, expected):
    assert expected in refused("evaluate", weights, "--against", weights, *options)


def test_networks_that_do_not_fit(refused, weights, other, photos, monkeypatch):
    assert "without FILE" in refused("evaluate", "--against", weights, "--data", "photos")
    shutil.copy(other, "own.npz")
    assert "own.npz to write to" in refused("evaluate", weights, "--against", "own.npz", "--data", "photos", "--json", "own.npz")
    load = minicnn.load

    def renamed(path):
        model = load(path)
        if str(path) == str(other):
            model.record["class_names"] = [*CLASSES[:-1], "wolf"]
        return model
    monkeypatch.setattr(minicnn, "load", renamed)
    assert "class names differ" in refused("evaluate", other, "--against", weights, "--data", "photos")

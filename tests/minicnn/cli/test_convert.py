"""minicnn convert: what it writes and prints, and that nothing is written after an error."""

import hashlib
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from torch_files import legacy_file, weight_file

import minicnn
from minicnn.cli.parser import build_parser
from minicnn.data.class_names import VOC

ARCHITECTURE = "fasterrcnn_mobilenet_v3_large_320_fpn"
SMALL = {"num_classes": 3, "box_head_width": 4}
PARAMETERS = 19_386_354 - 14_362_055 + 50_275       # torchvision's number; its box head of 1024 and 91 classes; ours of 4 and 3
REAL = Path(__file__).parents[4] / "shared" / "weights" / "fasterrcnn_vgg16_voc.pth"


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return dict(minicnn.build(ARCHITECTURE, rng=rng, **SMALL).named_arrays())


@pytest.fixture(scope="module")
def data(arrays):
    return weight_file(arrays, legacy_file)


@pytest.fixture
def net(here, data):
    """A weight file in the current folder."""
    (here / "net.pth").write_bytes(data)
    return "net.pth"


def test_what_is_written_is_loaded_as_it_was(run, here, net, arrays):
    status, out, err = run("convert", net, "--arch", ARCHITECTURE, "-o", "net.npz")
    assert (status, err) == (0, "")
    assumed, line = out.splitlines()
    assert assumed.startswith("assumed, since weights do not show it: min_size 320, max_size 640, ")
    assert line == f"net.npz: {ARCHITECTURE}, 3 classes, {PARAMETERS:,} parameters"
    model = minicnn.load("net.npz")
    assert model.architecture == ARCHITECTURE
    assert model.architecture_arguments == {**SMALL, "norm": "frozen"}
    for name, array in model.named_arrays():
        assert array.dtype == np.float32
        assert_array_equal(array, arrays[name])


def test_the_file_says_where_it_comes_from(run, here, net, data):
    argv = ["convert", net, "--arch", ARCHITECTURE, "-o", "net.npz"]
    assert run(*argv)[0] == 0
    provenance = minicnn.load("net.npz").record["provenance"]
    assert provenance["source"] == {"file": "net.pth", "sha256": hashlib.sha256(data).hexdigest()}
    assert shlex.split(provenance["command"]) == ["minicnn", *argv] and provenance["versions"]["minicnn"] == minicnn.__version__
    build_parser().parse_args(shlex.split(provenance["command"])[1:])


def test_half_the_bytes(run, here, net, arrays):
    for dtype in ("float32", "float16"):
        assert run("convert", net, "--arch", ARCHITECTURE, "-o", f"{dtype}.npz", "--dtype", dtype)[0] == 0
    assert 0.5 < (here / "float16.npz").stat().st_size / (here / "float32.npz").stat().st_size < 0.53      # norms stay whole
    for name, array in minicnn.load("float16.npz").named_arrays():
        assert array.dtype == np.float32
        assert_array_equal(array, arrays[name].astype(np.float16 if array.ndim > 1 else np.float32))


def test_json(run, here, net):
    (here / "net.json").write_text(json.dumps({"architecture": ARCHITECTURE, "class_names": ["nothing", "cat", "Käse"], "min_size": 64}))
    status, out, err = run("convert", net, "--config", "net.json", "-o", "net.npz", "--json", "-")
    document, record = json.loads(out), minicnn.load("net.npz").record
    assert (status, err) == (0, "")
    assert document["file"] == "net.npz" and document["architecture"] == ARCHITECTURE and document["parameters"] == PARAMETERS
    assert document["arguments"] == {"min_size": 64, **SMALL, "norm": "frozen"}
    assert len(document["notes"]) == 1 and document["provenance"]["assumed"]["max_size"] == 640
    assert "min_size" not in document["provenance"]["assumed"]
    assert document["class_names"] == record["class_names"] == ["nothing", "cat", "Käse"]
    assert document["provenance"] == record["provenance"]


def test_notes_are_said_and_kept_in_the_document(run, here, net, monkeypatch):
    model = minicnn.build("fasterrcnn_resnet50_fpn", norm="frozen", norm_eps=1e-5, **SMALL)
    monkeypatch.setattr("minicnn.weight_files.convert.read_state_dict", lambda path, key: dict(model.named_arrays()))
    status, out, err = run("convert", net, "-o", "net.npz", "--json", "net.json")
    assert (status, err) == (0, "") and out.count("\n") == 3 and "--bn-eps 0" in out.splitlines()[0]
    assert json.loads((here / "net.json").read_text())["notes"] == out.splitlines()[:2]
    status, out, _ = run("convert", net, "-o", "net.npz", "--bn-eps", "0")
    assert status == 0 and out.count("\n") == 2
    assert minicnn.load("net.npz").backbone.body.bn1.eps == 0


def test_a_weight_too_large_for_float16_leaves_no_file(run, refused, here, arrays):
    large = {name: array.copy() for name, array in arrays.items()}
    large["backbone.body.4.block.1.0.weight"][3, 0, 2, 2] = -70_000
    large["backbone.body.4.block.1.1.running_var"][0] = 70_000          # a norm's stays float32
    (here / "net.pth").write_bytes(weight_file(large))
    line = refused("convert", "net.pth", "--arch", ARCHITECTURE, "-o", "net.npz", "--dtype", "float16")
    assert "70000 in backbone.body.4.block.1.0.weight" in line and "Use float32" in line
    assert run("convert", "net.pth", "--arch", ARCHITECTURE, "-o", "net.npz")[0] == 0


@pytest.mark.parametrize("options, expected", [
    (["-o", "none/net.npz"], "none/net.npz"), (["-o", "."], "folder"), (["-o", "net.pth/x.npz"], "cannot write"),
    (["-o", "net.npz", "--json", "none/x.json"], "none/x.json"),
])
def test_places_that_cannot_be_written_are_refused_before_the_reading(refused, net, monkeypatch, options, expected):
    monkeypatch.setattr("minicnn.cli.convert.convert", lambda *arguments: pytest.fail("it was read"))
    assert expected in refused("convert", net, "--arch", ARCHITECTURE, *options)


@pytest.mark.parametrize("options, expected", [
    ([], "--arch"), (["--arch", "resnet99"], "'resnet99'"), (["--arch", "fasterrcnn_vgg16"], "expected fasterrcnn_vgg16"),
    (["--arch", ARCHITECTURE, "--config", "none.json"], "none.json"), (["--arch", ARCHITECTURE, "--bn-eps", "-1"], "--bn-eps"),
    (["--arch", ARCHITECTURE, "--bn-eps", "nan"], "--bn-eps"), (["--arch", ARCHITECTURE, "--bn-eps", "2"], "norm_eps=2.0"),
    (["--arch", ARCHITECTURE, "--dtype", "float8"], "float8"),
])
def test_options_that_do_not_fit(run, here, net, options, expected):
    status, out, err = run("convert", net, "-o", "net.npz", *options)
    assert (status, out) == (2, "") and err.count("\n") == 1 and expected in err
    assert sorted(path.name for path in here.iterdir()) == ["net.pth"]


@pytest.mark.parametrize("content", [None, b"", b"<html>not found</html>", "cut"])
def test_files_that_are_not_weight_files(refused, here, net, data, content):
    (here / net).unlink()
    if content is not None:
        (here / net).write_bytes(data[:len(data) // 2] if content == "cut" else content)
    assert "net.pth" in refused("convert", net, "--arch", ARCHITECTURE, "-o", "net.npz")


def test_int8_files_are_written_told_and_used(run, here, net):
    assert run("convert", net, "--arch", ARCHITECTURE, "-o", "whole.npz")[0] == 0
    status, out, err = run("convert", net, "--arch", ARCHITECTURE, "--dtype", "int8", "-o", "net.npz", "--json", "-")
    document = json.loads(out)
    assert (status, err) == (0, "") and document["dtype"] == "int8" and document["parameters"] == PARAMETERS
    assert document["file_bytes"] == Path("net.npz").stat().st_size < 0.28 * Path("whole.npz").stat().st_size
    status, out, _ = run("info", "net.npz")
    assert status == 0 and f"weights as int8 in a file of {document['file_bytes']:,} bytes; " in out
    assert next(line for line in out.splitlines() if line.startswith("layer ")).split()[2:] == ["parameters", "bytes", "MACs"]
    whole, small = (json.loads(run("info", name, "--json", "-")[1]) for name in ("whole.npz", "net.npz"))
    assert {key for key in whole if whole[key] != small[key]} == {"file", "sha256", "stored", "provenance"}     # bytes are as float32
    fc6 = "roi_heads.box_head.fc6"
    assert small["stored"]["layers"][fc6] == 4 * 12544 + 4 * 4 * 98 + 4 * 4 and whole["stored"]["layers"][fc6] == 4 * 50180
    model = minicnn.load("whole.npz")
    for name, array in minicnn.load("net.npz").named_arrays():             # no image was seen: biases and norms stay
        assert array.ndim > 1 or np.array_equal(array, dict(model.named_arrays())[name])


def test_the_real_detector(run, here):
    if not REAL.is_file():
        pytest.skip(f"the real detector is not in {REAL.parent}")
    status, out, err = run("convert", REAL, "--config", REAL.with_suffix(".json"), "-o", "voc.npz", "--dtype", "float16")
    assert (status, err) == (0, "") and out.splitlines()[-1] == "voc.npz: fasterrcnn_vgg16, 21 classes, 43,961,332 parameters"
    model = minicnn.load("voc.npz")
    assert sum(array.size for _, array in model.named_parameters()) == 43_961_332
    assert model.rpn.head.cls_logits.out_channels == 15 and model.rpn.post_nms_top_n == 300
    assert model.transform.min_size == 400 and model.transform.max_size == 667
    assert model.record["class_names"] == list(VOC)
    assert model.record["provenance"]["source"] == {
        "file": "fasterrcnn_vgg16_voc.pth", "sha256": hashlib.sha256(REAL.read_bytes()).hexdigest()}


def test_the_weight_file_is_not_overwritten(refused, here):
    Path("x.safetensors").write_bytes(b"weights")
    assert "read too, expected another file" in refused("convert", "x.safetensors", "-o", "x.safetensors")
    assert Path("x.safetensors").read_bytes() == b"weights"

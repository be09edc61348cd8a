"""Opening a network's file: torch's weights are converted into the cache, once, and what cannot be converted says how."""

import json
import shlex
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from torch_files import legacy_file, weight_file, zip_file

import minicnn
from minicnn import InputError
from minicnn.cli.main import main
from minicnn.compression.info import info
from minicnn.files import sha256
from minicnn.network_files import is_weight_file, load, outline
from minicnn.weight_files import convert as converting

ARCHITECTURE = "fasterrcnn_mobilenet_v3_large_320_fpn"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def arrays():
    """A detector's, of COCO's 91 classes."""
    return dict(minicnn.build(ARCHITECTURE, rng=np.random.default_rng(0), num_classes=91, box_head_width=2).named_arrays())


@pytest.fixture(scope="module")
def data(arrays):
    return weight_file(arrays)


@pytest.fixture
def published(tmp_path, monkeypatch, data):
    """A weight file that is taken for one of torchvision's own."""
    return publish(tmp_path / "net.pth", data, monkeypatch)


def publish(path, data, monkeypatch):
    path.write_bytes(data)
    monkeypatch.setitem(converting.PUBLISHED, sha256(path)[:8], ARCHITECTURE)
    return path


def told(capsys):
    """The only line on standard error."""
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("minicnn: ")
    return err


def test_torchs_weights_are_converted_into_the_cache_once(published, cache, arrays, capsys, monkeypatch):
    model = minicnn.load(published)
    line = told(capsys)
    kept, = cache.rglob("*.npz")
    assert f"{published} holds weights of torch, read as {ARCHITECTURE}, converted once into {kept}" in line and "assumed" not in line
    monkeypatch.setattr(converting, "convert", lambda *_: pytest.fail("it was converted again"))
    again = minicnn.load(published, backend="reference")
    assert f"converted before into {kept}" in told(capsys)
    for one in (model, again, minicnn.load(kept)):
        assert one.architecture == ARCHITECTURE and one.class_name(1) == "person" and not one.training
        assert one.record["provenance"]["source"]["sha256"] == sha256(published)
        for name, array in one.named_arrays():
            assert_array_equal(array, arrays[name])
    assert again.backend == "reference" and list(cache.rglob("*")) == [kept.parent, kept]


@pytest.mark.parametrize("write", [zip_file, legacy_file])
def test_every_format_is_converted_whatever_the_name(tmp_path, arrays, monkeypatch, write):
    for name in ("net.pth", "net", "net.npz"):
        assert load(publish(tmp_path / name, weight_file(arrays, write), monkeypatch)).architecture == ARCHITECTURE


def test_other_weights_and_another_version_are_converted_by_themselves(published, tmp_path, cache, arrays, monkeypatch):
    other = {name: array + 1 for name, array in arrays.items()}
    second = publish(tmp_path / "second.pth", weight_file(other), monkeypatch)
    for _ in range(2):
        assert_array_equal(load(published).rpn.head.cls_logits.bias, arrays["rpn.head.cls_logits.bias"])
        assert_array_equal(load(second).rpn.head.cls_logits.bias, other["rpn.head.cls_logits.bias"])
    assert len(list(cache.rglob("*.npz"))) == 2
    monkeypatch.setattr("minicnn.network_files.__version__", "99.0")
    load(second)
    assert len(list(cache.rglob("*.npz"))) == 3 and len(list(cache.rglob("*-99.0.npz"))) == 1


def test_a_damaged_conversion_is_made_anew(published, cache, capsys):
    load(published)
    kept, = cache.rglob("*.npz")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:1000])
    told(capsys)
    load(published)
    assert "converted once into" in told(capsys) and kept.read_bytes() == whole


@pytest.mark.parametrize("place", ["a file", "no home"])
def test_without_a_cache_it_is_converted_in_memory(published, tmp_path, capsys, monkeypatch, place, arrays):
    (tmp_path / "a file").write_bytes(b"")
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "a file" / "cache"))
    if place == "no home":
        monkeypatch.delenv("MINICNN_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home directory.")))
    before = sorted(tmp_path.rglob("*"))
    for _ in range(2):
        assert_array_equal(load(published).rpn.head.cls_logits.bias, arrays["rpn.head.cls_logits.bias"])
        assert "converted in memory, for this run alone (" in told(capsys)
    assert sorted(tmp_path.rglob("*")) == before


def test_two_runs_at_once_make_one_conversion(published, cache, arrays):
    start, models = threading.Barrier(2), []

    def run():
        start.wait()
        models.append(load(published))
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(models) == 2 and len(list(cache.rglob("*.npz"))) == 1 and len([path for path in cache.rglob("*") if path.is_file()]) == 1
    for model in (*models, load(published)):
        assert_array_equal(model.rpn.head.cls_logits.bias, arrays["rpn.head.cls_logits.bias"])


def test_what_is_assumed_is_told_every_time(tmp_path, data, capsys, monkeypatch):
    monkeypatch.setattr(converting, "find_architecture", lambda *_: ARCHITECTURE)
    (tmp_path / "net.pth").write_bytes(data)
    for _ in range(2):
        load(tmp_path / "net.pth")
        assert "; assumed, since weights do not show it: min_size 320, max_size 640, image_mean" in told(capsys)


@pytest.mark.parametrize("beside, command", [(None, "minicnn convert net.pth --arch ARCH -o net.npz"),
                                             ("net.json", "minicnn convert net.pth --arch ARCH --config net.json -o net.npz")])
def test_where_it_leaves_a_choice_the_command_is_told(tmp_path, cache, data, monkeypatch, capsys, beside, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pth").write_bytes(data)
    if beside:
        (tmp_path / beside).write_text(json.dumps({"architecture": ARCHITECTURE}))
    with pytest.raises(InputError, match="Add --arch with one of the two") as caught:
        load("net.pth")
    assert str(caught.value).endswith(f"The command is: {command}") and "\n" not in str(caught.value)
    assert not cache.exists() and capsys.readouterr() == ("", "")
    (tmp_path / "net.json").unlink(missing_ok=True)
    assert main(shlex.split(command.replace("ARCH", ARCHITECTURE).replace("--config net.json", ""))[1:]) == 0
    assert load("net.npz").architecture == ARCHITECTURE


def test_a_detector_whose_classes_have_no_names_is_converted_by_the_user(tmp_path, cache, monkeypatch):
    arrays = dict(minicnn.build(ARCHITECTURE, num_classes=3, box_head_width=2).named_arrays())
    path = publish(tmp_path / "my net.pth", weight_file(arrays), monkeypatch)
    with pytest.raises(InputError, match="got the weights of 3 classes without names") as caught:
        load(path)
    assert str(caught.value).endswith(f"The command is: minicnn convert '{path}' -o 'my net.npz'")
    assert not cache.exists()


@pytest.mark.parametrize("name, start, expected", [
    ("net.pth", b"version https://git-lfs.github.com/spec/v1", "git-LFS"), ("net.safetensors", b"<html>", "web page"),
    ("net.pt", b"", "empty"), ("net", b"\x80\x02K\x05.", "a pickle that is not torch's"),
])
def test_a_damaged_weight_file_is_told_as_by_convert(tmp_path, cache, name, start, expected):
    (tmp_path / name).write_bytes(start)
    with pytest.raises(InputError, match=expected) as caught:
        load(tmp_path / name)
    with pytest.raises(InputError) as same:
        converting.convert(tmp_path / name)
    assert str(caught.value) == str(same.value) and not cache.exists()


def test_archives_and_what_is_nothing_are_no_weight_files(tmp_path):
    minicnn.save(tmp_path / "net.pth", minicnn.build("lenet5"))             # an archive under another name
    np.savez(tmp_path / "arrays.npz", w=np.zeros(3))
    (tmp_path / "text.npz").write_bytes(b"text")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04" + bytes(50))
    for name in ("net.pth", "arrays.npz", "text.npz", "cut.npz", "none.pth", "."):
        assert not is_weight_file(tmp_path / name)
    assert load(tmp_path / "net.pth").architecture == "lenet5"
    with pytest.raises(InputError, match="without minicnn.json, .* minicnn convert model.pth -o model.npz"):
        load(tmp_path / "arrays.npz")


def test_outlines_and_info_take_weights_too(published):
    assert outline(published).architecture == ARCHITECTURE
    document, direct = info(published), info(outline(published))
    assert document["file"] == "net.pth" and document["sha256"] == sha256(published) and document["stored"]["dtype"] == "float32"
    of_file = ("file", "sha256", "stored")
    assert {name: value for name, value in document.items() if name not in of_file} == direct and direct["parameters"] > 10**6

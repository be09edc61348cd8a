"""Whole weight files: recorded ones give the arrays that torch reads; other files are refused in one line."""

import io
import json
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from torch_files import Code, built, call, encode, legacy_file, name, storage, tensor, zip_file

import minicnn
from minicnn import InputError
from minicnn.weight_files.read import read_state_dict
from minicnn.weight_files.state_dict import mappings

RECORDED = Path(__file__).parents[2] / "recorded" / "weight_files"
VOC = Path(__file__).parents[4] / "shared" / "weights" / "fasterrcnn_vgg16_voc.pth"
FILES = sorted(path.name for path in RECORDED.iterdir() if path.suffix != ".npz")
NUMBERS = np.arange(6, dtype="<f4")
TENSOR = tensor(storage(), (2, 3), (3, 1))


def as_zip(value):
    return zip_file(value, {"0": NUMBERS.tobytes()})


def as_legacy(value):
    return legacy_file(value, {"0": (6, NUMBERS.tobytes())} if b"FloatStorage" in encode(value) else {})


both = pytest.mark.parametrize("write", [as_zip, as_legacy])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.pth"


@pytest.fixture(scope="module")
def expected():
    with np.load(RECORDED / "expected.npz") as file:
        return dict(file)


def refused(path, data, *expected):
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_state_dict(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1000
    for text in (str(path), *expected):
        assert text in message


# what torch reads

@pytest.mark.parametrize("file", FILES)
def test_a_recorded_file_holds_what_torch_reads(file, expected):
    arrays = read_state_dict(RECORDED / file)
    names = [key.removeprefix(f"{file}/") for key in expected if key.startswith(f"{file}/")]
    assert sorted(arrays) == sorted(names) and len(names) > 1
    for key, array in arrays.items():
        assert array.dtype == expected[f"{file}/{key}"].dtype and array.dtype.isnative
        assert array.shape == expected[f"{file}/{key}"].shape
        assert_array_equal(array, expected[f"{file}/{key}"])


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith(".pth")])
def test_names_stand_in_the_files_order(file, expected):
    assert list(read_state_dict(RECORDED / file)) == [key.partition("/")[2] for key in expected if key.startswith(f"{file}/")]


@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth"])
def test_shared_storages_are_shared(file):
    arrays = read_state_dict(RECORDED / file)
    assert np.shares_memory(arrays["weight"], arrays["tied"]) and np.shares_memory(arrays["weight"], arrays["slice"])
    assert not np.shares_memory(arrays["weight"], arrays["parameter"])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ""])
def test_the_format_is_told_from_the_content(path, expected, suffix):
    path = path.with_suffix(suffix)
    for file in ("zip.pth", "legacy.pth", "net.safetensors"):
        path.write_bytes((RECORDED / file).read_bytes())
        assert_array_equal(read_state_dict(path)["weight"], expected[f"{file}/weight"])


@both
def test_a_state_dict_is_found_under_the_usual_keys(path, write):
    for key in ("model", "state_dict", "model_state_dict", "net", "ema", "model_ema", "model_weights"):
        path.write_bytes(write({"epoch": 5, "optimizer": {"state": {0: {}}}, key: {"w": TENSOR}}))
        assert list(read_state_dict(path)) == ["w"]
    path.write_bytes(write({"model": TENSOR}))
    assert list(read_state_dict(path)) == ["model"]             # a tensor of that name


@both
def test_module_in_front_of_all_names_is_taken_off(path, write):
    path.write_bytes(write({"module.a": TENSOR, "module.module.b": TENSOR}))
    assert list(read_state_dict(path)) == ["a", "module.b"]
    path.write_bytes(write({"module.a": TENSOR, "module._orig_mod.b": TENSOR}))
    assert list(read_state_dict(path)) == ["a", "_orig_mod.b"]
    path.write_bytes(write({"module._orig_mod.a": TENSOR, "module._orig_mod.b": TENSOR}))
    assert list(read_state_dict(path)) == ["a", "b"]
    path.write_bytes(write({"module." * 500_000 + "a": TENSOR}))        # half a million prefixes would take a copy each
    assert len(read_state_dict(path)) == 1
    path.write_bytes(write({"module.a": TENSOR, "b": TENSOR}))
    assert list(read_state_dict(path)) == ["module.a", "b"]


LAST = "roi_heads.box_predictor.cls_score.weight"           # ends so in every Faster R-CNN of torchvision


@both
def test_the_network_is_found_in_a_checkpoint_of_torchvisions_reference_training(path, write):
    scheduler = {"milestones": call("collections.Counter", {16: 1, 22: 1}), "gamma": 0.1, "last_epoch": 3}
    optimizer = {"state": {0: {"momentum_buffer": TENSOR}}, "param_groups": [{"lr": 0.02, "params": [0]}]}
    args = built(Code(name("argparse.Namespace") + b")\x81"), {"lr": 0.02, "model": "fasterrcnn_resnet50_fpn", "weights": None})
    path.write_bytes(write({"model": {LAST: TENSOR}, "optimizer": optimizer, "lr_scheduler": scheduler, "args": args, "epoch": 3,
                            "scaler": {}}))
    arrays = read_state_dict(path)
    assert list(arrays) == [LAST]
    assert_array_equal(arrays[LAST], NUMBERS.reshape(2, 3))


@both
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "net.module.", "ema_model.module.", "a.b."])
@pytest.mark.parametrize("keys", [(), ("model",), ("state_dict",), ("net",), ("ema",), ("anything",), ("checkpoint", "model"),
                                  ("a", "b", "c")])
def test_keys_and_prefixes_are_found_by_how_names_end(path, write, keys, prefix):
    value = {f"{prefix}{LAST}": TENSOR, f"{prefix}backbone.fpn.0.bias": TENSOR, f"{prefix}other": TENSOR,
             **({"n_averaged": TENSOR, "criterion.weight": TENSOR} if prefix else {})}
    for key in reversed(keys):
        value = {"epoch": 3, key: value, "optimizer": {"state": {0: {"exp_avg": TENSOR}}}}
    path.write_bytes(write(value))
    assert list(read_state_dict(path)) == [LAST, "backbone.fpn.0.bias", "other"]


def test_safetensors_may_have_a_prefix_too(tmp_path):
    path, names = tmp_path / "net.safetensors", (f"model.{LAST}", "model.b", "step")
    places = {one: [24 * i, 24 * i + 24] for i, one in enumerate(names)}
    header = json.dumps({one: {"dtype": "F32", "shape": [6], "data_offsets": place} for one, place in places.items()}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + 3 * NUMBERS.tobytes())
    assert list(read_state_dict(path)) == [LAST, "b"]


@both
def test_of_two_networks_the_user_chooses(path, write):
    twice = {"model": {LAST: TENSOR}, "model_ema": {"n_averaged": TENSOR, f"module.{LAST}": TENSOR, "module.b": TENSOR}}
    refused(path, write({**twice, "epoch": 5}), "got 2 networks (model, model_ema.module), expected one", "--key")
    assert list(read_state_dict(path, "model")) == [LAST]
    for key in ("model_ema", "model_ema.module"):
        assert list(read_state_dict(path, key)) == [LAST, "b"]
    with pytest.raises(InputError, match="got the key 'ema', expected one of model, model_ema.module"):
        read_state_dict(path, "ema")
    refused(path, write({LAST: TENSOR, f"teacher.{LAST}": TENSOR}), "got 2 networks ('', teacher)")
    assert list(read_state_dict(path, "teacher")) == [LAST]
    refused(path, write({str(number): {LAST: TENSOR} for number in range(9)}), "got 9 networks (0, 1, 2, 3 and 5 more)")


@both
def test_one_state_dict_under_two_keys_is_one_network(path, write):
    shared = Code(b"}(" + encode(LAST) + TENSOR + b"uq\x63")
    path.write_bytes(write({"model": shared, "best": Code(b"h\x63")}))
    assert list(read_state_dict(path)) == [LAST]


def test_dicts_that_hold_themselves_are_searched_once(path):
    """Forty dicts, each twice in the one before, and a dict within itself; and wide ones, each fifty times in the one before."""
    inner = {}
    for _ in range(3):
        inner = {str(number): inner for number in range(50)}
    assert len(list(mappings(inner))) == 4
    code = b"}q\x01" + b"".join(b"}(X\1\0\0\0ah\x01X\1\0\0\0bh\x01uq\x01" for _ in range(40)) + b"X\1\0\0\0ch\x01s"
    refused(path, as_zip(Code(code)), "holds the keys a, b, c")


def test_thousands_of_networks_are_counted_without_reading_each(path):
    """Taking each one's names apart would compare 10^9 of them."""
    names = b"".join(encode(f"{number}.{LAST}") + (TENSOR + b"q\x07" if not number else b"h\x07") for number in range(30_000))
    refused(path, as_zip(Code(b"}(" + names + b"u")), "got 30000 networks (0, 1, 2, 3 and 29996 more)")


@pytest.mark.parametrize("start, expected", [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "got a pointer of git-LFS in place of the file, expected a weight file"),
    (b"<!DOCTYPE html><html>", "a web page"), (b"\x89HDF\r\n\x1a\n", "Keras"), (b"\x1f\x8b\x08", "gzip"), (b"", "got an empty file"),
])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_of_other_kinds_are_named(path, start, expected, suffix):
    if start or suffix == ".pth":
        refused(path.with_suffix(suffix), start + bytes(200 * bool(start)), expected)


def test_torchscript_and_our_own_archives_are_named(path):
    refused(path, zip_file({"w": TENSOR}, {"0": NUMBERS.tobytes()}, **{"constants.pkl": b"", "code/net.py": b""}),
            "got a TorchScript program", "torch.jit.load(FILE).state_dict()")
    minicnn.save(path.with_suffix(".npz"), minicnn.build("lenet5"))
    refused(path, path.with_suffix(".npz").read_bytes(), "an archive of minicnn, which needs no conversion")


def test_the_real_detector():
    if not VOC.is_file():
        pytest.skip(f"the real detector is not in {VOC.parent}")
    tracemalloc.start()
    try:
        arrays = read_state_dict(VOC)
        assert tracemalloc.get_traced_memory()[1] < VOC.stat().st_size * 1.05           # one copy
    finally:
        tracemalloc.stop()
    assert len(arrays) == 40 and sum(array.size for array in arrays.values()) == 43_961_332
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_torch_and_safetensors_are_not_needed():
    code = (f"import sys; sys.modules['torch'] = sys.modules['safetensors'] = None\n"
            f"from minicnn.weight_files.read import read_state_dict\n"
            f"print(*(len(read_state_dict({str(RECORDED)!r} + '/' + file)) for file in {FILES!r}))")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert len(result.stdout.split()) == len(FILES), result.stderr


# files that are no state dicts

@pytest.mark.parametrize("data", [b"", b"a text\n", b"\x89PNG\r\n\x1a\n" + bytes(99), bytes(1000), b"\xff\xd8\xff" + bytes(99)])
def test_other_files_are_refused_with_the_formats_that_are_read(path, data):
    refused(path, data, "expected torch's zip format (PK), torch's legacy format")


def test_other_pickles_and_zips_are_refused(path):
    refused(path, b"\x80", "a pickle with no end")
    refused(path, pickle.dumps({"w": 1}, 2), "a pickle that is not torch's")
    refused(path, pickle.dumps({"w": NUMBERS}, 2), "a pickle that is not torch's")
    refused(path, b"PK\x03\x04" + bytes(50), "cannot be read")
    stream = io.BytesIO()
    np.savez(stream, w=NUMBERS)
    refused(path, stream.getvalue(), "0 entries data.pkl")


def test_a_missing_file_and_a_folder(tmp_path):
    for path, expected in ((tmp_path / "none.pth", "No such file"), (tmp_path, "cannot be read"), (tmp_path / "a" / "b", "cannot be read")):
        with pytest.raises(InputError, match=expected):
            read_state_dict(path)


def test_a_name_that_says_safetensors_is_believed(tmp_path):
    refused(tmp_path / "net.safetensors", b"a text", "header")


@both
@pytest.mark.parametrize("value, expected", [
    ({"epoch": 5, "mine": {"w": TENSOR}}, "holds the keys epoch, mine, expected a state dict, or one under model, state_dict"),
    ({}, "holds the keys (none)"), ({"model": {}}, "the keys model"), ({"model": {"model": {"w": TENSOR}}}, "the keys model"),
    ({"a\nb" * 100: 1}, "a\\nb"), (dict.fromkeys(map(str, range(1000)), 1), "0, 1, 2"),
    ([TENSOR], "an object of type list"), (TENSOR, "of type Tensor"), (5, "of type int"), (None, "of type NoneType"),
    ({"w": TENSOR, "epoch": 5}, "got epoch of type int in the state dict, expected names and tensors"),
    ({"w": TENSOR, "layer": {"w": TENSOR}}, "got layer of type dict"), ({"w": TENSOR, 5: TENSOR}, "got 5"),
    ({"w": TENSOR, "s": storage()}, "got s of type Storage"), ({"w": TENSOR, "p": call("torch.nn.parameter.Parameter")}, "got p"),
    ({"model": {"w": TENSOR, "extra": None}}, "got extra"), ({"w": name("os.system")}, "the keys w"),
    ({"w": TENSOR, "v": call("os.system", "true")}, "got v of type os.system in the state dict"), (name("os.system"), "of type os.system"),
    ({"model": {"w": TENSOR}, "ema": {"w": TENSOR}}, "got 2 networks (model, ema), expected one. Choose one of them with --key"),
])
def test_what_is_no_state_dict_is_told(path, write, value, expected):
    refused(path, write(value), expected)


@both
@pytest.mark.parametrize("size, stride, offset", [((2, 3), (3, 1), 1), ((2, 3), (-3, 1), 5), ((-2, 3), (3, 1), 0), ((2**40,), (0,), 0),
                                                  ((2, 3), (3, 1), -1), ((2**62, 4), (0, 0), 0), ((2,), (1, 1), 0)])
def test_tensors_that_do_not_fit_are_refused(path, write, size, stride, offset):
    refused(path, write({"w": tensor(storage(), size, stride, offset)}), "expected")


@both
def test_a_pickle_that_runs_something_is_refused_unrun(path, write):
    mark = path.parent / "mark"
    for code in (call("os.system", f"touch {mark}"), call("builtins.eval", f"open({str(mark)!r}, 'w')"),
                 tensor(call("os.system", f"touch {mark}"), (1,), (1,)), tensor(f"touch {mark}", (1,), (1,))):
        refused(path, write({"w": code}), "got a ")
    assert not mark.exists()


def test_more_numbers_than_memory_are_told(path, monkeypatch):
    def fail(*shape):
        raise MemoryError

    monkeypatch.setattr("minicnn.weight_files.tensors.np.empty", fail)
    refused(path, as_legacy({"w": TENSOR}), "more numbers than fit in memory")


# damage

@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth", "legacy_protocol4.pth", "training.pth", "python2.pth", "net.safetensors"])
def test_a_truncated_file_is_refused_wherever_it_ends(path, file):
    data = (RECORDED / file).read_bytes()
    for length in {*range(0, len(data), 1 + len(data) // 100), *range(len(data) - 40, len(data))}:
        refused(path, data[:length])


@pytest.mark.parametrize("file, times", [("big_endian.pth", 300), ("zip.pth", 50), ("legacy.pth", 300), ("python2.pth", 300),
                                         ("net.safetensors", 300)])
def test_flipped_bytes_are_refused_or_harmless(path, file, times):
    """Whatever byte is damaged: no other exception, and little memory."""
    good, rng = (RECORDED / file).read_bytes(), np.random.default_rng(0)
    tracemalloc.start()
    try:
        for _ in range(times):
            data = bytearray(good)
            for place in rng.integers(0, len(good), rng.integers(1, 5)):
                data[place] = rng.integers(256)
            path.write_bytes(data)
            try:
                arrays = read_state_dict(path)
            except InputError as error:
                assert "\n" not in str(error)
            else:
                assert sum(np.array(array).nbytes for array in arrays.values()) <= 32 * len(good)       # twice 16: bfloat16 doubles
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()

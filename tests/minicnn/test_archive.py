"""Archives: what is saved is loaded bit for bit; damaged and malicious files are refused in one line."""

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
from numeric_checks import BACKENDS
from numpy.testing import assert_array_equal

import minicnn
from minicnn import InputError
from minicnn.archive import DESCRIPTION, describe, load_finite_arrays, load_outline, read_archive, write_archive
from minicnn.compression.channels import prune_group
from minicnn.compression.low_rank import LowRank
from minicnn.functional import dispatch
from minicnn.layers import Layer


def generator():
    return np.random.default_rng(0)


@pytest.fixture
def model():
    return minicnn.build("lenet5", rng=generator(), num_classes=10)


@pytest.fixture
def content(model):
    """Arrays and description of a valid file, for tests to damage."""
    return dict(model.named_arrays()), describe(model)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.npz"


def prune(model):
    """Remove some filters of every group, which leaves the widths 4-13-100-80."""
    for remove, group in zip(([0, 3], [1, 5, 15], range(20), [0, 1, 2, 83]), model.channel_groups()):
        prune_group(model, group, np.array(remove))


def refused(path, *expected):
    """Loading raises an InputError of one line that holds what is expected and names the file."""
    with pytest.raises(InputError) as caught:
        minicnn.load(path)
    message = str(caught.value)
    assert "\n" not in message
    for text in (str(path), *expected):
        assert text in message


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


def write_entries(path, entries, description=None):
    """An archive with entries of any bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        if description is not None:
            archive.writestr(DESCRIPTION, json.dumps({"format": 1, **description}))
        for name, data in entries.items():
            archive.writestr(name, data)


# what goes in comes out

@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("name", ["lenet5", "lenet5_caffe"])
def test_round_trip_is_bit_equal_and_rebuilt_from_the_file_alone(path, name, pruned):
    model = minicnn.build(name, rng=generator(), num_classes=7)
    model.record.update(class_names=["null", "Käse 🧀", "三"], surgery=[{"round": 1, "removed": {"conv1": [3]}}],
                        provenance={"seed": 3}, measured={"test": {"accuracy": 0.5}})
    if pruned:
        prune(model)
    minicnn.save(path, model)
    again = minicnn.load(path)
    assert again.architecture == name and again.record == model.record and describe(again) == describe(model)
    assert [key for key, _ in again.named_arrays()] == [key for key, _ in model.named_arrays()]
    for (_, got), (_, expected) in zip(again.named_arrays(), model.named_arrays()):
        assert got.dtype == expected.dtype == np.float32
        assert got.tobytes() == expected.tobytes()
    x = generator().random((3, 1, 28, 28), np.float32)
    assert_array_equal(again(x), model(x))
    assert not any(layer.training for _, layer in again.named_layers())
    assert json.loads(zipfile.ZipFile(path).read(DESCRIPTION).decode())["class_names"][1] == "Käse 🧀"


@pytest.mark.usefixtures("backend")
def test_split_layers_are_rebuilt_from_the_file_alone(path, model):
    model.conv2 = LowRank(model.conv2).layers((4, 9))
    model.replace_layer("conv2.1", LowRank(model.get_layer("conv2.1")).layers((3, 5)))
    model.fc1 = LowRank(model.fc1).layers((30, 30))
    minicnn.save(path, model)
    again = minicnn.load(path)
    assert describe(again) == describe(model) and [key for key, _ in again.named_layers()] == [key for key, _ in model.named_layers()]
    assert again.get_layer("conv2.1.1").weight.shape == (5, 3, 5, 5)
    x = generator().random((3, 1, 28, 28), np.float32)
    assert_array_equal(again(x), model(x))


RELU = {"kind": "ReLU", "arguments": {}}


@pytest.mark.parametrize("paths", [["fc3.1"], ["fc3", "fc3.0"], ["fc3.0", "fc3.00"], ["fc3.0", "fc3.2"], ["fc3.1", "fc3.0"], ["fc3."],
                                   ["fc3.x"], ["fc3.0", "fc3.0.0"], ["fc3" + ".0" * 5000], [".fc3"], [""], ["."], ["fc3..0"]], ids=str)
def test_parts_that_no_split_has(path, content, paths):
    arrays, description = content
    layers = [entry for entry in description["layers"] if entry["path"] != "fc3"]
    write_archive(path, arrays, {**description, "layers": [*layers, *({"path": one, **RELU} for one in paths)]})
    refused(path, "expected")


def test_the_arrays_are_an_ordinary_npz(path, model):
    minicnn.save(path, model)
    with np.load(path, allow_pickle=False) as file:
        assert_array_equal(file["conv1.weight"], model.conv1.weight)


def test_the_same_content_gives_the_same_bytes(tmp_path, model, monkeypatch):
    minicnn.save(tmp_path / "a.npz", model)
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    minicnn.save(tmp_path / "b.npz", minicnn.load(tmp_path / "a.npz"))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_float16_rounds_weights_halves_the_file_and_computes_in_float32(tmp_path, model):
    minicnn.save(tmp_path / "whole.npz", model)
    minicnn.save(tmp_path / "half.npz", model, "float16")
    with np.load(tmp_path / "half.npz") as file:
        assert file["fc1.weight"].dtype == np.float16 and file["fc1.bias"].dtype == np.float32
    sizes = [(tmp_path / name).stat().st_size for name in ("half.npz", "whole.npz")]
    assert 0.5 < sizes[0] / sizes[1] < 0.53
    again, own = minicnn.load(tmp_path / "half.npz"), dict(model.named_arrays())
    for path, array in again.named_arrays():
        assert array.dtype == np.float32
        assert_array_equal(array, own[path].astype(np.float16) if array.ndim > 1 else own[path])
    assert not np.array_equal(again.fc1.weight, model.fc1.weight) and describe(again) == describe(model)
    x = generator().random((3, 1, 28, 28), np.float32)
    assert again(x).dtype == np.float32 and np.abs(again(x) - model(x)).max() < 1e-3


def test_a_model_computes_on_the_backend_it_is_loaded_for(path, model):
    class Asking(Layer):
        traceable = False

        def __call__(self, x):
            seen.append(dispatch.backend())
            return x

    minicnn.save(path, model)
    seen, x = [], np.zeros((1, 1, 28, 28), np.float32)
    for name in (*BACKENDS, None):
        loaded = minicnn.load(path, backend=name)
        loaded.replace_layer("relu1", Asking())
        loaded(x)
    assert seen == [*BACKENDS, dispatch.backend()]
    with pytest.raises(InputError, match="^got the backend 'torch', expected one of reference, numpy, numba"):
        minicnn.load("no file is read", backend="torch")


def test_another_dtype_is_refused(path, model):
    with pytest.raises(InputError, match="got dtype 'float64', expected 'float32', 'float16' or 'int8'"):
        minicnn.save(path, model, "float64")
    assert not path.exists()


@pytest.mark.parametrize("value", [65520, -1e6])            # the least that is rounded to infinity, and a negative one
def test_a_weight_beyond_float16_is_refused_and_the_old_file_stays(path, model, value):
    minicnn.save(path, model)
    old = path.read_bytes()
    model.conv2.weight[1, 2, 3, 4] = value
    with pytest.raises(InputError, match="got weights up to .* in conv2.weight, expected at most 65504 for float16. Use float32"):
        minicnn.save(path, model, "float16")
    assert path.read_bytes() == old and list(path.parent.iterdir()) == [path]
    minicnn.save(path, model)                               # float32 takes it
    model.conv2.weight[1, 2, 3, 4] = 65519                  # which is rounded to 65504
    model.conv2.bias[0] = value                             # a bias stays float32
    minicnn.save(path, model, "float16")
    again = minicnn.load(path)
    assert again.conv2.weight[1, 2, 3, 4] == 65504 and again.conv2.bias[0] == value


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("bug")])
def test_an_error_while_writing_leaves_the_old_file_whole_and_nothing_else(path, model, monkeypatch, error):
    minicnn.save(path, model)
    old = path.read_bytes()
    write, count = np.lib.format.write_array, []

    def fail_at_third(*args, **options):
        count.append(1)
        if len(count) == 3:
            raise error
        write(*args, **options)
    monkeypatch.setattr(np.lib.format, "write_array", fail_at_third)
    with pytest.raises(InputError if isinstance(error, OSError) else type(error)):
        minicnn.save(path, model)
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


# arrays that do not fit

@pytest.mark.parametrize("change, expected", [
    (lambda arrays: arrays.pop("conv2.bias"), "missing conv2.bias (16,)"),
    (lambda arrays: arrays.update(conv9=np.zeros(3, np.float32)), "extra conv9"),
    (lambda arrays: arrays.update({"fc1.weight": np.zeros((120, 401), np.float32)}),
     "fc1.weight is (120, 401), expected (120, 400)"),
    (lambda arrays: arrays["conv1.weight"].__setitem__((5, 0, 4, 4), np.nan), "NaN or infinity in conv1.weight"),
    (lambda arrays: arrays["fc3.bias"].__setitem__(9, -np.inf), "NaN or infinity in fc3.bias"),
    (lambda arrays: arrays.update({"fc3.bias": np.full(10, 1e300)}), "NaN or infinity in fc3.bias"),   # infinite in float32
    (lambda arrays: arrays.update({"fc3.bias": np.zeros(10, complex)}), "complex128"),
    (lambda arrays: arrays.update({"fc3.bias": np.array(["a"] * 10)}), "<U1"),
    (lambda arrays: arrays.update({"fc3.bias": np.zeros(10, [("a", "f4")])}), "got ["),
])
def test_arrays_that_do_not_fit(path, content, change, expected):
    arrays, description = content
    change(arrays)
    write_archive(path, arrays, description)
    refused(path, expected)


def test_loading_moves_the_arrays_into_the_network(model):
    arrays = {name: array.astype(np.float64) + 1 for name, array in model.named_arrays()}
    expected, empty = dict(arrays), minicnn.build("lenet5")
    load_finite_arrays(empty, arrays)
    assert arrays == {}
    for name, array in empty.named_arrays():
        assert array.dtype == np.float32
        assert_array_equal(array, expected[name].astype(np.float32))


# pickles

class Bomb:
    """Runs when it is unpickled."""

    exploded = False

    def __reduce__(self):
        return setattr, (Bomb, "exploded", True)


@pytest.mark.parametrize("name", ["fc3.bias.npy", "extra.npy"])
def test_a_pickle_is_never_run(path, content, name):
    arrays, description = content
    entries = {f"{key}.npy": npy(array) for key, array in arrays.items()}
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": (10,)})
    write_entries(path, {**entries, name: stream.getvalue() + pickle.dumps(Bomb())}, description)
    refused(path, "object", "pickle", "Do not trust")
    write_entries(path, {**entries, name: pickle.dumps(Bomb())}, description)      # a bare pickle, as numpy.load takes it
    refused(path, "cannot be read")
    assert not Bomb.exploded
    assert pickle.loads(pickle.dumps(Bomb())) is None and Bomb.exploded             # it would have
    Bomb.exploded = False


def test_an_object_array_of_numpy_is_refused(path, content):
    arrays, description = content
    text = np.frombuffer(json.dumps({"format": 1, **description}).encode(), np.uint8)
    np.savez(path, **{**arrays, "fc3.bias": np.array([Bomb()] * 10, object)})              # which pickles objects unasked
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(DESCRIPTION, text.tobytes())
    refused(path, "object", "pickle")
    assert not Bomb.exploded


# claims

def test_a_header_that_claims_more_than_the_entry_holds(path, content):
    arrays, description = content
    entries = {f"{key}.npy": npy(array) for key, array in arrays.items()}
    for shape in ((2**60,), (2**40, 2**40), (11,), (9,), (-2, -5)):
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
        write_entries(path, {**entries, "fc3.bias.npy": stream.getvalue() + bytes(40)}, description)
        refused(path)


@pytest.mark.parametrize("entry", ["fc3.bias.npy", DESCRIPTION])
def test_a_directory_that_claims_more_than_the_file_holds(path, content, entry):
    """The zip's directory and the array's header claim the same wrong size; only the length of the file contradicts them."""
    arrays, description = content
    entries = {f"{key}.npy": npy(array) for key, array in arrays.items()}
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (2**29,)})
    entries["fc3.bias.npy"] = stream.getvalue() + bytes(40)
    write_entries(path, entries, description)
    data, name = bytearray(path.read_bytes()), entry.encode()
    place = data.rindex(name) - 46                                  # of the entry in the zip's directory
    assert data[place:place + 4] == b"PK\x01\x02"
    size = len(stream.getvalue()) + 2**31 if entry == "fc3.bias.npy" else 2**25
    data[place + 20:place + 28] = struct.pack("<II", size, size)    # compressed and plain size
    path.write_bytes(data)
    refused(path, "damaged")


def test_entries_that_overlap(path, content):
    """The same bytes of a small file under many names would fill the memory."""
    arrays, description = content
    write_entries(path, {"big.npy": npy(np.zeros(100_000)), **{f"{key}.npy": npy(array) for key, array in arrays.items()}},
                  description)
    with zipfile.ZipFile(path, "a") as archive:
        info = archive.NameToInfo["big.npy"]
        for number in range(200):
            entry = zipfile.ZipInfo(f"{number}.npy")
            for key in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(entry, key, getattr(info, key))
            archive.filelist.append(entry)
            archive.NameToInfo[entry.filename] = entry
        archive._didModify = True
    refused(path, "damaged")


def test_a_compressed_file(path, content):
    arrays, description = content
    np.savez_compressed(path, **arrays)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(DESCRIPTION, json.dumps({"format": 1, **description}))
    refused(path, "compressed")


@pytest.mark.parametrize("header",
                         [b"{'descr': (", b"{[]: 1}", b"{'descr': '<f4', 'shape': 5}", b"(((", b"x" * 9000, b"{" * 9000, b"\x00",
                                    b"{'descr': [('a', '((')], 'fortran_order': False, 'shape': (1,)}", b"'", b"1\n  2\n 3", b""])
def test_a_broken_array_header(path, content, header):
    arrays, description = content
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    write_entries(path, {**{f"{key}.npy": npy(array) for key, array in arrays.items()}, "fc3.bias.npy": data}, description)
    refused(path, "fc3.bias")


def test_another_version_of_array(path, content):
    arrays, description = content
    entries = {**{f"{key}.npy": npy(array) for key, array in arrays.items()}}
    write_entries(path, {**entries, "fc3.bias.npy": npy(arrays["fc3.bias"], version=(3, 0))}, description)
    refused(path, "version (3, 0)", "fc3.bias")
    write_entries(path, {**entries, "fc3.bias.npy": npy(arrays["fc3.bias"], version=(2, 0))}, description)
    assert minicnn.load(path).architecture == "lenet5"


# files that are no archives

@pytest.mark.parametrize("data", [b"", b"a text\n", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), bytes(1000), npy(np.zeros(3))])
def test_files_that_are_no_archives(path, data):
    path.write_bytes(data)
    refused(path)


def test_a_missing_file_and_a_folder(tmp_path):
    refused(tmp_path / "none.npz", "No such file")
    refused(tmp_path, "directory")
    refused(tmp_path / "none" / "net.npz")


def test_a_truncated_file_is_refused_wherever_it_ends(path, model):
    minicnn.save(path, model)
    data = path.read_bytes()
    for length in [1, 30, 1000, len(data) // 2, len(data) - 1000, len(data) - 30, len(data) - 1]:
        path.write_bytes(data[:length])
        refused(path, "cannot be read")


def test_a_flipped_byte_is_refused_or_harmless(path, content):
    """Never another exception, whatever byte is damaged."""
    arrays, description = content
    small = {name: array for name, array in arrays.items() if array.size < 200}
    write_archive(path, small, description)
    good, rng = path.read_bytes(), generator()
    for place in rng.integers(0, len(good), 400):
        data = bytearray(good)
        data[place] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            read_archive(path)
        except InputError as error:
            assert "\n" not in str(error)


# descriptions

def edit_layer(number, **arguments):
    return lambda description: description["layers"][number]["arguments"].update(arguments)


@pytest.mark.parametrize("change, expected", [
    (lambda d: d.update(architecture="resnet99"), "resnet99"),
    (lambda d: d.update(architecture=["lenet5"]), "description"),
    (lambda d: d.pop("architecture"), "description"),
    (lambda d: d.pop("surgery"), "description"),
    (lambda d: d.update(measured=[]), "description"),
    (lambda d: d.update(class_names=["a", 1]), "class_names"),
    (lambda d: d.update(arguments=5), "description"),
    (lambda d: d["arguments"].update(classes=3), "classes"),
    (lambda d: d["arguments"].update(num_classes=-1), "num_classes"),
    (lambda d: d["arguments"].update(num_classes=10**15), "num_classes"),
    (lambda d: d["arguments"].update(num_classes=2**70), "num_classes"),
    (lambda d: d.update(layers=None), "description"),
    (lambda d: d.update(layers=["conv1"]), "description"),
    (lambda d: d["layers"].pop(), "fc3"),
    (lambda d: d["layers"].append({"path": "fc4", "kind": "ReLU", "arguments": {}}), "fc4"),
    (lambda d: d["layers"][0].update(path=None), "description"),
    (lambda d: d["layers"][0].update(kind="Conv5d"), "Conv5d"),
    (lambda d: d["layers"][0].update(kind=[]), "description"),
    (edit_layer(0, groups=0), "groups"),
    (edit_layer(0, groups=-1), "groups"),
    (edit_layer(0, out_channels=2**62), "out_channels"),
    (edit_layer(0, out_channels=2**70), "out_channels"),
    (edit_layer(0, out_channels=-1), "out_channels"),
    (edit_layer(0, out_channels=7), "conv1.weight is (6, 1, 5, 5), expected (7, 1, 5, 5)"),
    (edit_layer(0, out_channels=1.5), "1.5"),
    (edit_layer(0, kernel_size="55"), "55"),
    (edit_layer(0, kernel_size=[5]), "[5]"),
    (edit_layer(0, stride=0), "stride"),
    (edit_layer(0, stride=[1, "x"]), "stride"),
    (edit_layer(0, padding=-3), "padding"),
    (edit_layer(0, dilation=None), "dilation"),
    (edit_layer(0, color="red"), "color"),
    (edit_layer(0, rng=3), "rng"),
    (edit_layer(2, kernel_size=0), "kernel_size"),
    (edit_layer(2, stride=0), "stride"),
    (edit_layer(2, kernel_size="x"), "kernel_size"),
])
def test_descriptions_that_cannot_be_built(path, content, change, expected):
    arrays, description = content
    description = json.loads(json.dumps(description))
    change(description)
    write_archive(path, arrays, description)
    refused(path, expected)


@pytest.mark.parametrize("text, expected", [
    (b"", "cannot be read"), (b"{", "cannot be read"), (b"\xff\xfe{", "cannot be read"), (b"[" * 100_000, "cannot be read"),
    (b"[]", "format"), (b"{}", "format"), (b'{"format": 3}', "format"), (b'{"format": "1"}', "format"),
    (b'{"format": [1]}', "format"), (b'{"format": 1}', "description"), (b'{"format": 2}', "description"),
])
def test_broken_descriptions(path, text, expected):
    write_entries(path, {DESCRIPTION: text})
    refused(path, expected)


def test_no_description(path, content):
    np.savez(path, **content[0])
    refused(path, f"without {DESCRIPTION}")


def test_a_description_too_large(path, monkeypatch):
    monkeypatch.setattr("minicnn.archive.DESCRIPTION_BYTES", 1000)
    write_entries(path, {DESCRIPTION: b" " * 1001})
    refused(path, "1001 bytes", "1000")


def test_an_outline_has_the_files_layers_and_reads_no_values(tmp_path):
    model = minicnn.build("lenet5", rng=generator())
    model.get_layer("conv1").weight[0, 0, 0, 0] = np.nan                # what load refuses
    minicnn.save(tmp_path / "a.npz", model)
    outline = load_outline(tmp_path / "a.npz")
    assert describe(outline) == describe(model) and not outline.get_layer("fc1").weight.any()
    assert {path: array.shape for path, array in outline.named_arrays()} == {path: array.shape for path, array in model.named_arrays()}
    arrays, description = read_archive(tmp_path / "a.npz")
    write_archive(tmp_path / "b.npz", {**arrays, "fc1.bias": arrays["fc1.bias"][:-1]}, description)
    with pytest.raises(InputError, match=r"fc1.bias is \(119,\), expected \(120,\)"):
        load_outline(tmp_path / "b.npz")

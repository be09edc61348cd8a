"""Live comparison with torch.load and with the safetensors package, on files that they write."""

import io
import itertools
from collections import OrderedDict

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minicnn.weight_files.read import read_state_dict

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:Detected pickle protocol")]

NEW = ("uint16", "uint32", "uint64")            # torch writes them in its older format, but cannot read them from it
DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", *NEW)
FORMATS = [{"_use_new_zipfile_serialization": zipped, "pickle_protocol": protocol}
           for zipped, protocol in itertools.product((True, False), (2, 3, 4, 5))]


def tensors(dtype):
    """Every layout of a tensor in its storage."""
    generator = torch.Generator().manual_seed(0)
    base = (torch.randn(4, 6, generator=generator) * 50).abs().to(getattr(torch, dtype))
    row = torch.arange(7).to(base.dtype)
    return {"base": base, "again": base, "transposed": base.T, "slice": base[1:, 2:].T, "steps": base[::2, 1::3], "row": row[3:],
            "element": row[5], "empty": base[:0], "hollow": base[:, :0], "expanded": row[2].expand(3, 2),
            "four": base.reshape(2, 2, 3, 2).permute(3, 1, 0, 2), "channels_last": base.reshape(1, 4, 2, 3).contiguous(
                memory_format=torch.channels_last), "alone": torch.tensor(3).to(base.dtype), "none": torch.empty(0).to(base.dtype)}


def assert_equal(path, expected):
    arrays = read_state_dict(path)
    assert list(arrays) == list(expected)
    for name, tensor in expected.items():
        tensor = tensor.detach()
        tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        assert arrays[name].dtype == tensor.numpy().dtype and arrays[name].shape == tuple(tensor.shape), name
        assert_array_equal(arrays[name], tensor.numpy(), err_msg=name)


@pytest.mark.parametrize("options", FORMATS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_layout(tmp_path, dtype, options):
    torch.save(tensors(dtype), tmp_path / "net.pth", **options)
    zipped = options["_use_new_zipfile_serialization"]
    assert_equal(tmp_path / "net.pth", torch.load(tmp_path / "net.pth", weights_only=False) if zipped or dtype not in NEW
                 else tensors(dtype))


@pytest.mark.parametrize("options", FORMATS, ids=str)
def test_a_model_and_its_training(tmp_path, options):
    """Parameters, buffers, _metadata, an optimizer's state beside them, and DataParallel's prefix."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(16, 2)).half()
    model[3].weight = torch.nn.Parameter(model[3].weight.float())
    model[3].extra = torch.nn.Parameter(torch.randn(2, 3))
    optimizer = torch.optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = model.state_dict(keep_vars=True)        # parameters stay parameters
    assert isinstance(state["3.extra"], torch.nn.Parameter)
    state["3.extra"].note = "a parameter with a state of its own"
    path = tmp_path / "net.pth"
    torch.save(state, path, **options)
    assert_equal(path, state)
    parallel = torch.nn.DataParallel(model).state_dict()
    for key in ("model", "state_dict", "model_state_dict"):
        torch.save({"epoch": 1, key: parallel, "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}, path, **options)
        assert_equal(path, state)


def test_a_whole_model_is_refused(tmp_path):
    model, path = torch.nn.Linear(2, 2), tmp_path / "net.pth"
    torch.save(model, path)
    with pytest.raises(ValueError, match="names torch.nn.modules.linear.Linear, which is not part of a tensor"):
        read_state_dict(path)
    torch.save(model, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="names torch.nn.modules.linear.Linear|holds a whole module"):
        read_state_dict(path)


def test_sparse_quantized_and_complex_tensors_are_refused_by_name(tmp_path):
    for tensor in (torch.eye(3).to_sparse(), torch.ones(2, dtype=torch.complex64), torch.ones(2).to(torch.float8_e5m2)):
        torch.save({"w": tensor}, tmp_path / "net.pth")
        with pytest.raises(ValueError, match="names torch"):
            read_state_dict(tmp_path / "net.pth")


def test_a_negation_that_is_still_to_be_done_is_refused(tmp_path):
    torch.save({"w": torch._neg_view(torch.ones(2))}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match="resolve_neg"):
        read_state_dict(tmp_path / "net.pth")


def test_safetensors_as_the_package_reads_it(tmp_path):
    package = pytest.importorskip("safetensors.torch")
    state = OrderedDict((f"{dtype}.{name}", tensor.contiguous().clone()) for dtype in DTYPES for name, tensor in tensors(dtype).items())
    path = tmp_path / "net.safetensors"
    package.save_file(state, path, {"format": "pt"})
    loaded = package.load_file(path)
    assert loaded.keys() == state.keys()
    arrays = read_state_dict(path)
    for name, tensor in loaded.items():
        tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        assert arrays[name].dtype == tensor.numpy().dtype
        assert_array_equal(arrays[name], tensor.numpy())


def test_a_file_without_checksums(tmp_path):
    path, before = tmp_path / "net.pth", torch.serialization.get_crc32_options()
    try:
        torch.serialization.set_crc32_options(False)
        torch.save(tensors("float32"), path)
    finally:
        torch.serialization.set_crc32_options(before)
    assert_equal(path, tensors("float32"))


def test_files_in_memory_have_another_folder(tmp_path):
    stream = io.BytesIO()
    torch.save({"w": torch.arange(6.0)}, stream)
    (tmp_path / "net.pth").write_bytes(stream.getvalue())
    assert_array_equal(read_state_dict(tmp_path / "net.pth")["w"], np.arange(6, dtype=np.float32))

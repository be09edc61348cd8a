"""Live comparison with torch.load and with the safetensors package, on files that they write."""

import argparse
import io
import itertools
import pathlib
from collections import OrderedDict

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minicnn.weight_files.other_networks import other_network
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
    for saved in (model, {"model": model, "epoch": 3}):
        torch.save(saved, path)
        with pytest.raises(ValueError, match=r"got a whole pickled network \(torch.nn.modules.linear.Linear\), expected its state dict"):
            read_state_dict(path)
        torch.save(saved, path, _use_new_zipfile_serialization=False)
        with pytest.raises(ValueError, match="got a whole pickled network|holds a whole module"):
            read_state_dict(path)


def quantized(dtype=torch.quint8):
    return torch.quantize_per_tensor(torch.ones(4), 0.1, 0, dtype)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("make, expected", [
    (lambda: torch.eye(3).to_sparse(), "sparse"), (lambda: torch.eye(3).to_sparse_csr(), "sparse"), (quantized, "quantised"),
    (lambda: quantized(torch.qint32), "quantised"),
    (lambda: torch.quantize_per_channel(torch.ones(4, 2), torch.ones(4), torch.zeros(4), 0, torch.qint8), "quantised"),
    (lambda: torch.empty(2, device="meta"), "without numbers"), (lambda: torch.ones(2, dtype=torch.complex64), "of type complex64"),
    *((lambda dtype=dtype: torch.ones(2).to(getattr(torch, dtype)), f"of type {dtype}")
      for dtype in ("float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e8m0fnu")),
])
def test_tensors_that_cannot_be_read_are_named_as_what_they_are(tmp_path, make, expected, zipped):
    path = tmp_path / "net.pth"
    torch.save({"w": make()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=f"got the tensor w, which is {expected}"):
        read_state_dict(path)
    torch.save({"other": {"w": make()}, "model": {"w": torch.ones(2, 3)}}, path, _use_new_zipfile_serialization=zipped)
    assert_array_equal(read_state_dict(path)["w"], np.ones((2, 3), np.float32))


@pytest.mark.parametrize("options", FORMATS, ids=str)
def test_a_checkpoint_of_torchvisions_reference_training(tmp_path, options):
    """As references/detection/train.py saves it: the scheduler's milestones are a Counter, the arguments a Namespace."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    model(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[16, 22], gamma=0.1)
    args = argparse.Namespace(data_path="coco", lr=0.02, device=torch.device("cpu"), path=pathlib.Path("a"), opset=None, gpu=0)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "lr_scheduler": scheduler.state_dict(), "args": args,
                "epoch": 25, "scaler": {}, "rng": np.random.default_rng(0).bit_generator.state, "seen": {1, 2}, "best": np.float64(0.5)},
               tmp_path / "net.pth", **options)
    assert_equal(tmp_path / "net.pth", model.state_dict())


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_named(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "net.pt")
    with pytest.raises(ValueError, match="got a TorchScript program"):
        read_state_dict(tmp_path / "net.pt")


@pytest.mark.slow
@pytest.mark.parametrize("build, expected", [
    ("maskrcnn_resnet50_fpn", "a Mask R-CNN on ResNet-50"), ("keypointrcnn_resnet50_fpn", "a Keypoint R-CNN on ResNet-50"),
    ("retinanet_resnet50_fpn", "a RetinaNet on ResNet-50"), ("fcos_resnet50_fpn", "an FCOS on ResNet-50"), ("ssd300_vgg16", "an SSD"),
    ("ssdlite320_mobilenet_v3_large", "an SSD"), ("resnet18", "a Faster R-CNN on ResNet-18"), ("resnet101", "a Faster R-CNN on ResNet-101"),
    ("mobilenet_v2", "a Faster R-CNN on MobileNetV2"),
])
def test_torchvisions_other_detectors_are_named(build, expected):
    detection = pytest.importorskip("torchvision.models.detection")
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    if build.startswith("resnet"):
        model = detection.FasterRCNN(resnet_fpn_backbone(backbone_name=build, weights=None), 3)
    elif build == "mobilenet_v2":
        from torchvision.models import mobilenet_v2
        backbone = mobilenet_v2(weights=None).features
        backbone.out_channels = 1280
        model = detection.FasterRCNN(backbone, 3, detection.anchor_utils.AnchorGenerator(((32,),), ((1.0,),)))
    else:
        model = getattr(detection, build)(weights=None, weights_backbone=None)
    assert other_network(model.state_dict()).startswith(expected)


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

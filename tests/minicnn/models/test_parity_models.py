"""Live comparison with torchvision: the same random weights give the same logits and maps, and the names are the same."""

import numpy as np
import pytest

import minicnn
from minicnn.functional.dispatch import run
from minicnn.layers import BatchNorm2d, Conv2d, FrozenBatchNorm2d, Linear
from minicnn.models.mobilenet import MobileNetV3Large
from minicnn.models.resnet import ResNet50

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("backend")]

TOLERANCE = 1e-4        # relative, over a tensor


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def randomized(model, rng):
    """Weights that keep activations near 1, and norms with statistics of their own."""
    for _, layer in model.named_layers():
        if isinstance(layer, (Conv2d, Linear)):
            fan_in = layer.weight[0].size
            layer.weight[...] = rng.standard_normal(layer.weight.shape, np.float32) * np.sqrt(np.float32(2 / fan_in))
            if layer.bias is not None:
                layer.bias[...] = rng.normal(0, 0.1, layer.bias.shape)
        elif isinstance(layer, (BatchNorm2d, FrozenBatchNorm2d)):
            for array, low, high in ((layer.weight, 0.4, 0.8), (layer.bias, -0.5, 0.5), (layer.running_mean, -0.5, 0.5),
                                     (layer.running_var, 0.5, 2)):
                array[...] = rng.uniform(low, high, array.shape)
    return model


def give(model, theirs):
    """Load our arrays into torchvision's network, which must have the same names in the same order, apart from its counters."""
    arrays = dict(model.named_arrays())
    state = theirs.state_dict()
    assert list(arrays) == [name for name in state if not name.endswith("num_batches_tracked")]
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()}, strict=False, assign=True)
    return theirs.eval()


def image(*shape):
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def assert_close(got, expected):
    expected = expected.numpy()
    assert got.shape == expected.shape and got.dtype == np.float32
    assert expected.std() > 1e-3                    # there is something to compare
    assert np.abs(got - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_vgg16():
    model = randomized(minicnn.build("vgg16", num_classes=10), np.random.default_rng(0))
    with torch.device("meta"):
        theirs = torchvision.models.vgg16(num_classes=10)
    give(model, theirs)
    for shape in ((2, 3, 64, 96), (1, 3, 97, 61)):
        x = image(*shape)
        with torch.no_grad():
            assert_close(model(x), theirs(torch.from_numpy(x)))
            assert_close(run(model.get_layer("features"), x), theirs.features(torch.from_numpy(x)))


@pytest.mark.parametrize("norm, torchs", [
    (BatchNorm2d, torch.nn.BatchNorm2d), (FrozenBatchNorm2d, torchvision.ops.FrozenBatchNorm2d)], ids=["batch", "frozen"])
@pytest.mark.parametrize("shape", [(1, 3, 65, 96), (2, 3, 64, 33)])
def test_the_maps_of_resnet50(norm, torchs, shape):
    model = randomized(ResNet50(norm), np.random.default_rng(0))
    network = torchvision.models.resnet50(norm_layer=torchs)
    stages = {f"layer{number}": str(number) for number in range(1, 5)}
    theirs = give(model, torchvision.models._utils.IntermediateLayerGetter(network, stages))
    x = image(*shape)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x))
    assert len(expected) == 4
    for got, one in zip(run(model, x), expected.values(), strict=True):
        assert_close(got, one)


@pytest.mark.parametrize("norm, torchs", [
    (BatchNorm2d, torch.nn.BatchNorm2d), (FrozenBatchNorm2d, torchvision.ops.FrozenBatchNorm2d)], ids=["batch", "frozen"])
@pytest.mark.parametrize("shape", [(1, 3, 65, 96), (2, 3, 96, 33)])
def test_the_maps_of_mobilenet(norm, torchs, shape):
    model = randomized(MobileNetV3Large(norm), np.random.default_rng(0))
    network = torchvision.models.mobilenet_v3_large(norm_layer=torchs).features
    theirs = give(model, torchvision.models._utils.IntermediateLayerGetter(network, {"13": "0", "16": "1"}))
    x = image(*shape)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x))
    assert len(expected) == 2
    for got, one in zip(run(model, x), expected.values(), strict=True):
        assert_close(got, one)

"""Live comparison with torch in float32: forward to 1e-5, gradients to 1e-4, and training steps side by side."""

from collections import OrderedDict

import numpy as np
import pytest
from numeric_checks import BACKWARD, FORWARD, assert_close
from numpy.testing import assert_array_equal
from torch_cases import CASES, Case, draw, norm, normal, ours, pool, resize, torchs

from minicnn import functional as F
from minicnn import layers, optim

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("backend")]

LARGE = [       # too large to record
    *(Case(f"conv2d {x} {weight}", "conv2d", {"x": normal(*x), "weight": normal(*weight), "bias": normal(weight[0])}, arguments)
      for x, weight, arguments in (((3, 3, 61, 47), (64, 3, 7, 7), {"stride": 2, "padding": 3}),
                                   ((1, 128, 25, 34), (96, 128, 3, 3), {"padding": 1}),
                                   ((3, 256, 13, 17), (15, 256, 1, 1), {}),
                                   ((3, 72, 29, 19), (72, 1, 5, 5), {"stride": 2, "padding": 2, "groups": 72}))),
    Case("linear fc6", "linear", {"x": normal(3, 12544), "weight": normal(64, 12544), "bias": normal(64)}, {}),
    pool("resnet", "max_pool2d", ("levels", (3, 16, 61, 47)), kernel_size=3, stride=2, padding=1),
    pool("large", "avg_pool2d", normal(3, 16, 61, 47), kernel_size=(5, 4), stride=3, padding=2, count_include_pad=False),
    pool("vgg", "adaptive_avg_pool2d", normal(1, 32, 25, 33), output_size=7),
    norm("large", "BatchNorm2d", 3, 16, 31, 29),
    resize(normal(1, 3, 161, 214), 799, 1063, mode="bilinear"),
    resize(normal(1, 3, 97, 131), 61, 70, mode="bilinear"),
    resize(normal(1, 16, 25, 34), 50, 67, mode="nearest"),
]


@pytest.mark.parametrize("case", [*CASES, *LARGE], ids=lambda case: case.name)
def test_operation(case):
    arrays = draw(case)
    grad_y, expected = torchs(case, arrays)
    got = ours(case, arrays, grad_y)
    assert got.keys() == expected.keys()
    for name in expected:
        assert_close(got[name], expected[name], BACKWARD if name.startswith("grad") else FORWARD, name)


def test_all_nearest_sizes_take_the_same_pixels():
    for n, out in [(2, 82), (3, 100), (7, 1000), (161, 799), (799, 161), (50, 25), (25, 13)]:
        x = np.arange(n, dtype=np.float32).reshape(1, 1, 1, n)
        assert_array_equal(F.interpolate(x, (1, out)), torch.nn.functional.interpolate(torch.tensor(x), (1, out)).numpy())


def test_max_pool_of_nan_and_of_ties_names_the_same_winners():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (3, 2, 9, 8)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    y, flat = torch.nn.functional.max_pool2d(torch.tensor(x), 3, 2, 1, return_indices=True)
    got, index = F.max_pool2d(x, 3, 2, 1)
    assert_array_equal(got, y.numpy())
    row, col = np.divmod(index.astype(int), 3)                       # in the window; torch's are in the image
    row, col = row + 2 * np.arange(5)[:, None] - 1, col + 2 * np.arange(4) - 1
    assert_array_equal(row * 8 + col, flat.numpy())


def test_cross_entropy_where_all_rows_are_ignored():
    x = torch.zeros(2, 3, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(x, torch.tensor([-100, -100]))
    loss.backward()
    target = np.array([-100, -100])
    assert_array_equal(F.cross_entropy(x.detach().numpy(), target), loss.item())
    assert_array_equal(F.cross_entropy_backward(x.detach().numpy(), target), x.grad.numpy())


def pair(ours, torchs):
    """Our network and torch's, which gets a copy of our arrays."""
    with torch.no_grad():
        own = dict(ours.named_arrays())
        for path, tensor in torchs.state_dict().items():
            if not path.endswith("num_batches_tracked"):
                tensor.copy_(torch.tensor(own.pop(path)))
    assert not own
    return ours, torchs


class TorchBlockLinear(torch.nn.Linear):
    """torch's layer that computes what the docstring of ``layers.BlockLinear`` promises."""

    def forward(self, x):
        return super().forward(x.unflatten(1, (-1, self.in_features))).flatten(1)


def lenet():
    rng, nn = np.random.default_rng(0), torch.nn
    return pair(
        layers.Sequential({
            "features": layers.Sequential([
                layers.Conv2d(1, 6, 5, padding=2, rng=rng), layers.BatchNorm2d(6), layers.ReLU(), layers.MaxPool2d(2),
                layers.Conv2d(6, 16, 5, rng=rng), layers.Hardswish(), layers.AvgPool2d(2)]),
            "classifier": layers.Sequential([
                layers.Flatten(), layers.BlockLinear(25, 9, rng=rng), layers.Linear(144, 84, rng=rng), layers.Sigmoid(),
                layers.Linear(84, 10, rng=rng)])}),
        nn.Sequential(OrderedDict({
            "features": nn.Sequential(
                nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(6, 16, 5), nn.Hardswish(), nn.AvgPool2d(2)),
            "classifier": nn.Sequential(
                nn.Flatten(), TorchBlockLinear(25, 9, bias=False), nn.Linear(144, 84), nn.Sigmoid(), nn.Linear(84, 10))})))


def test_lenet_trained_beside_torch():
    """20 steps from the same weights: losses agree to 1e-4 throughout, then evaluation (running statistics) as well."""
    rng = np.random.default_rng(1)
    model, twin = lenet()
    optimizer = optim.SGD(model, lr=0.05, momentum=0.9, weight_decay=5e-4)
    twin_optimizer = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    model.train()
    twin.train()
    losses = []
    for _ in range(20):
        target = rng.integers(0, 10, 16)
        x = rng.standard_normal((16, 1, 28, 28)).astype(np.float32) + target[:, None, None, None].astype(np.float32) / 5
        y, pullback = model.vjp(x, input_gradient=False)
        pullback(F.cross_entropy_backward(y, target))
        optimizer.step()

        twin_loss = torch.nn.functional.cross_entropy(twin(torch.tensor(x)), torch.tensor(target))
        twin_optimizer.zero_grad()
        twin_loss.backward()
        twin_optimizer.step()
        losses.append((F.cross_entropy(y, target), twin_loss.item()))
    for loss, twin_loss in losses:
        assert abs(loss - twin_loss) <= 1e-4 * twin_loss
    assert_close(model.eval()(x), twin.eval()(torch.tensor(x)).detach().numpy(), 1e-4)


@pytest.mark.parametrize("settings", [
    {}, {"momentum": 0.9}, {"weight_decay": 0.1}, {"momentum": 0.9, "weight_decay": 0.1},
    {"momentum": 0.8, "nesterov": True}, {"momentum": 0.8, "weight_decay": 0.1, "nesterov": True}], ids=str)
def test_sgd_over_several_steps(settings):
    """The learning rate changes in between: it multiplies the step, not the momentum buffer."""
    rng = np.random.default_rng(0)
    model, twin = pair(layers.Linear(5, 3, rng=rng), torch.nn.Linear(5, 3))
    optimizer, twin_optimizer = optim.SGD(model, 0.1, **settings), torch.optim.SGD(twin.parameters(), 0.1, **settings)
    for step in range(8):
        optimizer.lr = twin_optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
        for path, tensor in twin.named_parameters():
            gradient = rng.standard_normal(tensor.shape).astype(np.float32)
            model.add_gradients(**{path: gradient})
            tensor.grad = torch.tensor(gradient)
        optimizer.step()
        twin_optimizer.step()
        for path, tensor in twin.named_parameters():
            assert_close(getattr(model, path), tensor.detach().numpy(), FORWARD, path)


@pytest.mark.parametrize("schedule, twin", [
    (lambda k: optim.warmup(k, 6), lambda s: torch.optim.lr_scheduler.LinearLR(s, 1e-3, total_iters=6)),
    (lambda k: optim.warmup(k, 4, 0.25), lambda s: torch.optim.lr_scheduler.LinearLR(s, 0.25, total_iters=4)),
    (lambda k: optim.step_schedule(k, [3, 7]), lambda s: torch.optim.lr_scheduler.MultiStepLR(s, [3, 7])),
    (lambda k: optim.step_schedule(k, [2, 2, 5], 0.5), lambda s: torch.optim.lr_scheduler.MultiStepLR(s, [2, 2, 5], 0.5)),
    (lambda k: optim.cosine_schedule(k, 10), lambda s: torch.optim.lr_scheduler.CosineAnnealingLR(s, 10)),
], ids=["warmup", "warmup from 1/4", "steps", "two steps at once", "cosine"])
def test_schedule(schedule, twin):
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = twin(sgd)
    for k in range(11):
        assert abs(schedule(k) - sgd.param_groups[0]["lr"]) < 1e-12
        sgd.step()
        scheduler.step()


def test_initial_weights_have_torchs_bounds():
    """torch's default initialisation stays within 1 / sqrt(fan_in), and nearly reaches it; so does ours."""
    for model, twin in ((layers.Conv2d(8, 40, 3, groups=2, rng=np.random.default_rng(0)), torch.nn.Conv2d(8, 40, 3, groups=2)),
                        (layers.Linear(36, 400, rng=np.random.default_rng(0)), torch.nn.Linear(36, 400))):
        for path, tensor in twin.named_parameters():
            ours, torchs = np.abs(getattr(model, path)).max(), tensor.abs().max().item()
            assert 0.9 / 6 < ours <= 1 / 6 and 0.9 / 6 < torchs <= 1 / 6

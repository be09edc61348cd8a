"""Cases of the operations compared with torch: random arrays, and both sides' outputs and gradients.

``record_torch.py`` records torch's side, ``test_recorded.py`` compares ours with the record, ``parity/test_torch.py`` with torch
live. A new case goes into ``CASES``; then record again.
"""

import zlib
from typing import NamedTuple

import numpy as np

from minicnn import functional as F
from minicnn.layers import BatchNorm2d


class Case(NamedTuple):
    """An operation; {name: (distribution, shape)} of its arrays; its other arguments."""

    name: str
    operation: str
    arrays: dict
    arguments: dict


def normal(*shape):
    return "normal", shape


def levels(*shape):
    """Whole numbers from -3 to 3: ties for max pooling, and the kinks of ReLU, hardswish and smooth L1."""
    return "levels", shape


def conv(name, x, weight, with_bias=True, **arguments):
    arrays = {"x": normal(*x), "weight": normal(*weight)}
    return Case(f"conv2d {name}", "conv2d", {**arrays, "bias": normal(weight[0])} if with_bias else arrays, arguments)


def pool(name, operation, x, **arguments):
    return Case(f"{operation} {name}", operation, {"x": x}, arguments)


def norm(name, operation, *x, **arguments):
    positive = "positive", (x[1],)
    statistics = {"mean": normal(x[1]), "var": positive, "weight": normal(x[1]), "bias": normal(x[1])}
    return Case(f"{operation} {name}", operation, {"x": normal(*x), **statistics}, arguments)


def resize(x, *size, mode):
    return Case(f"interpolate {mode} {x[1][2:]} to {size}", "interpolate", {"x": x}, {"size": size, "mode": mode})


CASES = [
    conv("3x3 padded", (3, 2, 7, 5), (4, 2, 3, 3), padding=1),
    conv("without bias", (1, 3, 6, 5), (2, 3, 3, 3), with_bias=False),
    conv("1x1, stride leaves rest", (3, 4, 4, 7), (3, 4, 1, 1), stride=(2, 3)),
    conv("stride leaves rest", (3, 2, 8, 9), (2, 2, 3, 2), stride=(2, 3), padding=(1, 0)),
    conv("dilation", (1, 2, 9, 7), (2, 2, 3, 2), padding=(2, 1), dilation=(2, 3)),
    conv("groups", (3, 6, 4, 5), (4, 3, 3, 3), padding=1, groups=2),
    conv("depthwise", (3, 4, 6, 5), (4, 1, 3, 3), stride=2, padding=1, groups=4),
    conv("kernel as large as picture", (3, 2, 5, 4), (3, 2, 5, 4)),          # as the recorded file names it
    Case("linear", "linear", {"x": normal(3, 11), "weight": normal(5, 11), "bias": normal(5)}, {}),
    Case("linear without bias", "linear", {"x": normal(1, 11), "weight": normal(5, 11)}, {}),
    pool("2x2", "max_pool2d", normal(1, 2, 6, 8), kernel_size=2),
    pool("ties", "max_pool2d", levels(3, 2, 7, 8), kernel_size=3, stride=2, padding=1),
    pool("ties, overlapping", "max_pool2d", levels(1, 2, 5, 6), kernel_size=(3, 2), stride=1, padding=(1, 0)),
    pool("ceil", "max_pool2d", normal(3, 1, 7, 8), kernel_size=2, stride=(2, 3), ceil_mode=True),
    pool("ceil padded", "max_pool2d", levels(1, 2, 8, 7), kernel_size=(3, 4), stride=(2, 3), padding=(1, 2), ceil_mode=True),
    pool("wide stride", "max_pool2d", normal(1, 2, 7, 9), kernel_size=2, stride=(3, 4)),
    pool("2x2", "avg_pool2d", normal(3, 2, 5, 6), kernel_size=2),
    pool("padded", "avg_pool2d", normal(1, 2, 7, 8), kernel_size=3, stride=2, padding=1),
    pool("inside only", "avg_pool2d", normal(1, 2, 7, 8), kernel_size=3, stride=2, padding=1, count_include_pad=False),
    pool("ceil", "avg_pool2d", normal(3, 1, 8, 7), kernel_size=(3, 4), stride=(2, 3), padding=(1, 2), ceil_mode=True),
    pool("ceil, inside only", "avg_pool2d", normal(1, 2, 8, 7), kernel_size=(3, 4), stride=(2, 3), padding=(1, 2),
         ceil_mode=True, count_include_pad=False),
    pool("to one", "adaptive_avg_pool2d", normal(3, 2, 4, 5), output_size=1),
    pool("overlapping bins", "adaptive_avg_pool2d", normal(1, 2, 10, 7), output_size=(4, 5)),
    pool("to more", "adaptive_avg_pool2d", normal(1, 2, 3, 4), output_size=(7, 4)),
    norm("of one image", "batch_norm", 1, 3, 4, 5),
    norm("eps 0", "batch_norm", 3, 2, 4, 3, eps=0.0),
    norm("", "FrozenBatchNorm2d", 3, 2, 3, 5, eps=1e-3),
    norm("of one image", "BatchNorm2d", 1, 3, 4, 5),
    norm("momentum", "BatchNorm2d", 3, 2, 5, 4, momentum=0.3, eps=1e-3),
    norm("of four values", "BatchNorm2d", 4, 2, 1, 1),
    *(Case(f"{name} {kind[0]}", name, {"x": kind}, {}) for name in ("relu", "sigmoid", "hardsigmoid", "hardswish")
      for kind in (("wide", (3, 2, 3, 5)), levels(1, 2, 4, 5))),
    Case("softmax", "softmax", {"x": ("wide", (3, 7))}, {}),
    Case("cross_entropy", "cross_entropy", {"x": ("wide", (5, 4)), "target": ("labels", (5,))}, {}),
    Case("cross_entropy ignoring", "cross_entropy", {"x": ("wide", (7, 4)), "target": ("labels", (7,))}, {"ignore_index": 1}),
    *(Case(f"smooth_l1_loss {beta:.2f} {reduction}", "smooth_l1_loss", {"x": levels(5, 4), "target": levels(5, 4)},
           {"beta": beta, "reduction": reduction}) for beta in (1 / 9, 1.0, 0.0) for reduction in ("mean", "sum")),
    Case("smooth_l1_loss of any distance", "smooth_l1_loss", {"x": normal(3, 4), "target": normal(3, 4)}, {}),
    resize(normal(1, 1, 1, 2), 1, 82, mode="nearest"),             # where f32(2/82) 41 is below 1
    resize(normal(3, 2, 7, 5), 13, 10, mode="nearest"),            # the two sizes of neighbouring FPN levels
    resize(normal(1, 2, 9, 8), 4, 5, mode="nearest"),
    resize(normal(1, 1, 161, 1), 799, 1, mode="bilinear"),         # where two roundings of the position err by 4e-5
    resize(normal(3, 2, 7, 5), 13, 11, mode="bilinear"),
    resize(normal(1, 2, 9, 8), 4, 5, mode="bilinear"),
    resize(normal(1, 2, 1, 3), 3, 1, mode="bilinear"),
]


def draw(case):
    """The case's arrays, float32, always the same."""
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    kinds = {"normal": rng.standard_normal, "wide": lambda shape: 3 * rng.standard_normal(shape),
             "positive": lambda shape: rng.uniform(0.5, 2, shape), "levels": lambda shape: rng.integers(-3, 4, shape),
             "labels": lambda shape: rng.integers(0, 4, shape)}
    return {name: kinds[kind](shape).astype(np.float32) for name, (kind, shape) in case.arrays.items()}


def draw_gradient(case, shape):
    """A gradient of the case's output, float32."""
    return np.random.default_rng(zlib.crc32(case.name[::-1].encode())).standard_normal(shape).astype(np.float32)


# Our side: for each operation a function (name, grad_y, **arrays, **arguments) -> {"y": output, "grad_...": gradients}.

def ours(case, arrays, grad_y):
    """{name: array} of our output, gradients and whatever else is compared."""
    return OURS.get(case.operation, plain)(case.operation, grad_y, **arrays, **case.arguments)


def plain(operation, grad_y, x, **arguments):
    function, backward = getattr(F, operation), getattr(F, f"{operation}_backward")
    return {"y": function(x, **arguments), "grad_x": backward(grad_y, x, **arguments)}


def weighted(operation, grad_y, x, weight, bias=None, **arguments):
    gradients = getattr(F, f"{operation}_backward")(grad_y, x, weight, **arguments)
    y = getattr(F, operation)(x, weight, bias, **arguments)
    return {"y": y, **dict(zip(("grad_x", "grad_weight", "grad_bias")[:2 if bias is None else 3], gradients))}


def max_pool2d(operation, grad_y, x, **arguments):
    y, index = F.max_pool2d(x, **arguments)
    return {"y": y, "grad_x": F.max_pool2d_backward(grad_y, index, x.shape, **arguments)}


def average(operation, grad_y, x, **arguments):
    grad_x = getattr(F, f"{operation}_backward")(grad_y, x.shape, **{k: v for k, v in arguments.items() if k != "output_size"})
    return {"y": getattr(F, operation)(x, **arguments), "grad_x": grad_x}


def interpolate(operation, grad_y, x, size, mode):
    return {"y": F.interpolate(x, size, mode), "grad_x": F.interpolate_backward(grad_y, x.shape, mode)}


def batch_norm(operation, grad_y, x, mean, var, weight, bias, **arguments):
    gradients = F.batch_norm_backward(grad_y, x, mean, var, weight, **arguments)
    return {"y": F.batch_norm(x, mean, var, weight, bias, **arguments),
            **dict(zip(("grad_x", "grad_weight", "grad_bias") if operation == "batch_norm" else ("grad_x",), gradients))}


def batch_norm_layer(operation, grad_y, x, mean, var, weight, bias, **arguments):
    layer = BatchNorm2d(x.shape[1], **arguments).train()
    layer.load_arrays({"weight": weight, "bias": bias, "running_mean": mean, "running_var": var})
    y, pullback = layer.vjp(x)
    return {"y": y, "grad_x": pullback(grad_y), "grad_weight": layer.gradients["weight"], "grad_bias": layer.gradients["bias"],
            "running_mean": layer.running_mean, "running_var": layer.running_var}


def cross_entropy(operation, grad_y, x, target, **arguments):
    target = target.astype(np.int64)
    return {"y": F.cross_entropy(x, target, **arguments), "grad_x": F.cross_entropy_backward(x, target, **arguments) * grad_y}


def smooth_l1_loss(operation, grad_y, x, target, **arguments):
    return {"y": F.smooth_l1_loss(x, target, **arguments),
            "grad_x": F.smooth_l1_loss_backward(x, target, **arguments) * grad_y}


OURS = {
    "conv2d": weighted, "linear": weighted, "max_pool2d": max_pool2d, "avg_pool2d": average, "adaptive_avg_pool2d": average,
    "interpolate": interpolate, "batch_norm": batch_norm, "FrozenBatchNorm2d": batch_norm, "BatchNorm2d": batch_norm_layer,
    "softmax": lambda operation, grad_y, x: {"y": F.softmax(x)},
    "cross_entropy": cross_entropy, "smooth_l1_loss": smooth_l1_loss,
}


# torch's side: autograd computes every gradient.

def torchs(case, arrays):
    """grad_y, and torch's {name: array} with the names of ``ours``."""
    import torch
    from torch.nn import functional as T

    fixed = {"target", "mean", "var"} | ({"weight", "bias"} if case.operation == "FrozenBatchNorm2d" else set())
    leaves = {name: torch.tensor(array).requires_grad_(name not in fixed) for name, array in arrays.items()}
    if "mean" in leaves:
        y = torch_norm(case, **leaves, **case.arguments)
    elif case.operation == "cross_entropy":
        y = T.cross_entropy(leaves["x"], leaves["target"].long(), **case.arguments)
    elif case.operation == "softmax":
        y = T.softmax(leaves["x"], dim=-1)
    else:
        x, *others = leaves.values()
        y = getattr(T, case.operation)(x, *others, **case.arguments)
    grad_y = draw_gradient(case, tuple(y.shape))
    y.backward(torch.tensor(grad_y))
    results = {"y": y.detach().numpy()}
    if case.operation != "softmax":                                # ours is differentiated within cross_entropy only
        results |= {f"grad_{name}": leaf.grad.numpy() for name, leaf in leaves.items() if leaf.requires_grad}
    if case.operation == "BatchNorm2d":
        results |= {"running_mean": leaves["mean"].numpy(), "running_var": leaves["var"].numpy()}
    return grad_y, results


def torch_norm(case, x, mean, var, weight, bias, momentum=0.1, eps=1e-5):
    """torch's output of any of the three norms."""
    from torch.nn import functional as T
    from torchvision.ops import FrozenBatchNorm2d

    if case.operation != "FrozenBatchNorm2d":
        return T.batch_norm(x, mean, var, weight, bias, case.operation == "BatchNorm2d", momentum, eps)
    layer = FrozenBatchNorm2d(x.shape[1], eps)
    layer.load_state_dict({"weight": weight, "bias": bias, "running_mean": mean, "running_var": var})
    return layer(x)

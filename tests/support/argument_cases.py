"""Calls that torch refuses, or accepts though there is nothing in them: ours must do the same on every backend.

``functional/test_checks.py`` makes them with our functions, ``parity/test_arguments.py`` with torch's.
"""

from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    """An operation, its arrays by position, its other arguments by name, and a part of our message where it is refused."""

    operation: str
    arrays: tuple
    arguments: dict
    message: str = ""

    @property
    def name(self):
        arrays = " ".join(f"{array.shape}{'' if array.dtype == np.float32 else array.dtype}" for array in self.arrays)
        return f"{self.operation} {arrays} {self.arguments or ''}"


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def bad(operation, message, *arrays, **arguments):
    return Case(operation, arrays, arguments, message)


IMAGE, WEIGHT, FOUR, TWO = zeros(1, 2, 5, 5), zeros(4, 2, 3, 3), zeros(4), zeros(2)
POOLING = [bad(pool, *rest, **arguments) for pool in ("max_pool2d", "avg_pool2d") for rest, arguments in (
    (("stride of at least 1", IMAGE), {"kernel_size": 0}),
    (("stride of at least 1", IMAGE), {"kernel_size": 2, "stride": 0}),
    (("stride of at least 1", IMAGE), {"kernel_size": 2, "stride": (2, -1)}),
    (("padding of at least 0", IMAGE), {"kernel_size": 2, "stride": 2, "padding": -1}),
    (("at most half the kernel", IMAGE), {"kernel_size": 2, "stride": 2, "padding": 2}),
    (("no larger than the padded image", IMAGE), {"kernel_size": 7}),
    (("with pixels", zeros(1, 0, 5, 5)), {"kernel_size": 2}),
    (("with pixels", zeros(1, 2, 0, 5)), {"kernel_size": 2, "stride": 1, "padding": 1}))]

REFUSED = [
    *(bad(name, "floating dtype", zeros(2, 3, dtype=np.int64)) for name in ("hardsigmoid", "hardswish")),
    bad("conv2d", "stride, dilation and groups of at least 1", IMAGE, WEIGHT, stride=0),
    bad("conv2d", "stride, dilation and groups of at least 1", IMAGE, WEIGHT, stride=(1, -2)),
    bad("conv2d", "stride, dilation and groups of at least 1", IMAGE, WEIGHT, dilation=0),
    bad("conv2d", "stride, dilation and groups of at least 1", IMAGE, WEIGHT, dilation=(-1, 1)),
    bad("conv2d", "padding of at least 0", IMAGE, WEIGHT, padding=-1),
    bad("conv2d", "padding of at least 0", IMAGE, WEIGHT, padding=(0, -3)),
    bad("conv2d", "groups of at least 1", IMAGE, WEIGHT, groups=0),
    bad("conv2d", "groups of at least 1", IMAGE, WEIGHT, groups=-1),
    bad("conv2d", "expected 4 input channels", IMAGE, WEIGHT, groups=2),
    bad("conv2d", "KH, KW, stride", IMAGE, zeros(4, 2, 0, 3)),
    bad("conv2d", "H, W, O, KH, KW", IMAGE, zeros(0, 2, 3, 3)),
    bad("conv2d", "H, W, O, KH, KW", zeros(1, 2, 0, 5), WEIGHT, padding=2),
    bad("conv2d", r"got bias \(1,\), expected \(4,\)", IMAGE, WEIGHT, zeros(1)),
    bad("conv2d", "got x of uint8", IMAGE.astype(np.uint8), WEIGHT),
    bad("conv2d", "an integer, or two", IMAGE, WEIGHT, stride=(1, 1, 1)),
    bad("conv2d", "an integer, or two", IMAGE, WEIGHT, padding=1.5),
    bad("linear", r"expected x \(N, 4\)", zeros(3, 5), zeros(6, 4)),
    bad("linear", r"got bias \(5,\), expected \(6,\)", zeros(3, 4), zeros(6, 4), zeros(5)),
    bad("linear", "got x of int64", zeros(3, 4, dtype=np.int64), zeros(6, 4)),
    bad("softmax", "floating dtype", zeros(3, 2, dtype=np.int64)),
    bad("cross_entropy", r"got target \(3,\), expected \(5,\)", zeros(5, 4), zeros(3, dtype=np.int64)),
    bad("cross_entropy", "targets of int64 with 2 axes", zeros(5, 4), zeros(5, 1, dtype=np.int64)),
    bad("cross_entropy", "targets of int64 with 2 axes", zeros(5, 1), zeros(5, 1, dtype=np.int64)),
    bad("cross_entropy", "targets of int64 with 2 axes", zeros(5, 4), zeros(5, 4, dtype=np.int64)),
    bad("cross_entropy", "targets of float32 with 1 axes", zeros(5, 4), zeros(5)),
    bad("cross_entropy", r"got target \(5, 3\), expected \(5, 4\)", zeros(5, 4), zeros(5, 3)),
    bad("cross_entropy", "floating dtype", zeros(5, 4, dtype=np.int64), zeros(5, dtype=np.int64)),
    bad("smooth_l1_loss", r"got target \(3,\), expected \(3, 4\)", zeros(3, 4), zeros(3)),
    bad("smooth_l1_loss", "reduction='avg'", zeros(3, 4), zeros(3, 4), reduction="avg"),
    bad("smooth_l1_loss", "beta=-1", zeros(3, 4), zeros(3, 4), beta=-1.0),
    bad("smooth_l1_loss", "floating dtype", zeros(3, dtype=np.int64), zeros(3, dtype=np.int64)),
    bad("binary_cross_entropy_with_logits", r"got target \(4,\), expected \(3, 4\)", zeros(3, 4), zeros(4)),
    bad("binary_cross_entropy_with_logits", r"got target \(3, 1\), expected \(3, 4\)", zeros(3, 4), zeros(3, 1)),
    bad("binary_cross_entropy_with_logits", "target of int64", zeros(3), zeros(3, dtype=np.int64)),
    bad("binary_cross_entropy_with_logits", "x of int64", zeros(3, dtype=np.int64), zeros(3)),
    bad("dropout", "a probability from 0 to 1", zeros(3), p=1.1),
    bad("dropout", "a probability from 0 to 1", zeros(3), p=-0.1),
    bad("dropout", "floating dtype", zeros(3, dtype=np.int64), p=0.5),
    bad("batch_norm", r"got mean \(3,\), expected \(2,\)", IMAGE, zeros(3), TWO, TWO, TWO),
    bad("batch_norm", r"got weight \(1,\), expected \(2,\)", IMAGE, TWO, TWO, zeros(1), TWO),
    bad("batch_norm", "eps=-1", IMAGE, TWO, TWO, TWO, TWO, eps=-1.0),
    bad("batch_norm", "floating dtype", IMAGE.astype(np.int64), TWO, TWO, TWO, TWO),
    *POOLING,
    bad("adaptive_avg_pool2d", "at least 0", IMAGE, output_size=-1),
    bad("adaptive_avg_pool2d", "floating dtype", IMAGE.astype(np.int64), output_size=1),
    *(bad("interpolate", message, x, size=size, mode=mode) for mode in ("nearest", "bilinear") for message, x, size in (
        ("no side of 0", IMAGE, (0, 3)), ("no side of 0", IMAGE, (3, -1)), ("no side of 0", zeros(1, 2, 0, 5), (3, 3)),
        ("no side of 0", zeros(1, 0, 5, 5), (3, 3)), ("floating dtype", IMAGE.astype(np.int64), (3, 3)))),
    bad("interpolate", "got mode='cubic'", IMAGE, size=(3, 3), mode="cubic"),
]

EMPTY = [           # batches without images, rows without numbers
    *(Case(name, (zeros(0, 3),), {}) for name in ("relu", "sigmoid", "hardsigmoid", "hardswish")),
    Case("conv2d", (zeros(0, 2, 5, 5), WEIGHT, FOUR), {"padding": 1}),
    Case("linear", (zeros(0, 4), zeros(6, 4), zeros(6)), {}),
    Case("linear", (zeros(3, 0), zeros(6, 0), zeros(6) + 1), {}),
    Case("linear", (zeros(3, 4), zeros(0, 4)), {}),
    Case("softmax", (zeros(3, 0),), {}), Case("softmax", (zeros(0, 3),), {}),
    Case("cross_entropy", (zeros(0, 4), zeros(0, dtype=np.int64)), {}), Case("cross_entropy", (zeros(0, 4), zeros(0, 4)), {}),
    Case("smooth_l1_loss", (zeros(0, 4), zeros(0, 4)), {}), Case("smooth_l1_loss", (zeros(0, 4), zeros(0, 4)), {"reduction": "sum"}),
    Case("binary_cross_entropy_with_logits", (zeros(0), zeros(0)), {}),
    Case("dropout", (zeros(0, 3),), {"p": 0.5}), Case("dropout", (zeros(2, 3) + 1,), {"p": 1.0}),
    Case("batch_norm", (zeros(0, 2, 5, 5), TWO, TWO + 1, TWO, TWO), {}),
    Case("max_pool2d", (zeros(0, 2, 5, 5),), {"kernel_size": 3, "stride": 2, "padding": 1}),
    Case("avg_pool2d", (zeros(0, 2, 5, 5),), {"kernel_size": 3, "stride": 2, "padding": 1}),
    Case("adaptive_avg_pool2d", (zeros(0, 2, 5, 5),), {"output_size": 2}), Case("adaptive_avg_pool2d", (IMAGE,), {"output_size": 0}),
    *(Case("interpolate", (zeros(0, 2, 5, 5),), {"size": (3, 8), "mode": mode}) for mode in ("nearest", "bilinear")),
]

"""Checks that the tests of operations share: closeness over one tensor, gradients against differences, arguments not written."""

import importlib.util

import numpy as np

BACKENDS = ["reference", "numpy", *(["numba"] if importlib.util.find_spec("numba") else [])]        # the installed ones
FORWARD, BACKWARD = 1e-5, 1e-4      # float32 against torch, which sums products in another order
EXACT = 1e-12                       # float64 against the definition


def assert_close(got, expected, tolerance, what="array"):
    """Assert max |got - expected| <= tolerance max |expected|, the relative tolerance of docs/design.md, over one tensor."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{what} is {got.shape}, expected {expected.shape}"
    error, largest = (np.abs(a.astype(np.float64)).max(initial=0) for a in (got - expected, expected))
    assert error <= tolerance * largest, f"{what} differs by {error:.3g} where the largest is {largest:.3g}"


def check_gradients(forward, backward, *arrays, eps=1e-6):
    """Compare <v, J^T g> with a central difference of <g, f> along v, for one random v in each float64 array.

    Args:
        forward: (*arrays) -> y, an array or a number.
        backward: (grad_y, *arrays) -> one gradient for each array, in order.
    """
    rng = np.random.default_rng(1)                   # not 0: the tests draw x from seed 0, and grad_y must differ from x
    grad_y = rng.standard_normal(np.shape(forward(*arrays)))
    gradients = backward(grad_y, *arrays)
    assert len(gradients) == len(arrays)
    for place, (array, gradient) in enumerate(zip(arrays, gradients)):
        assert gradient.shape == array.shape and gradient.dtype == array.dtype == np.float64
        v = rng.standard_normal(array.shape)
        ahead, behind = (forward(*arrays[:place], array + step * v, *arrays[place + 1:]) for step in (eps, -eps))
        numeric = np.sum(grad_y * (ahead - behind)) / (2 * eps)
        # compared with |gradient|, since <v, gradient> may by chance be near 0
        assert abs(np.sum(v * gradient) - numeric) <= 1e-6 * np.linalg.norm(gradient), f"gradient {place}"


def check_arrays(call, *arrays):
    """Check that results do not depend on the arrays' memory order and keep their dtype, and that arguments are not written.

    Args:
        call: (*arrays) -> tuple of the results, forward and backward.
        arrays: the arguments, made float32 and float64 here.
    """
    for dtype, tolerance in ((np.float64, EXACT), (np.float32, FORWARD)):
        first = None
        for laid_out in zip(*(memory_orders(array.astype(dtype)) for array in arrays)):
            results = call(*laid_out)                # the arrays are read-only: writing one raises
            assert all(r.dtype == dtype or r.dtype.kind == "u" for r in results), [r.dtype for r in results]
            first = first or results
            for place, (got, expected) in enumerate(zip(results, first)):
                assert_close(got.astype(dtype), expected.astype(dtype), tolerance, f"result {place}")


def memory_orders(array):
    """Yield the same numbers in C order, with the batch innermost, and as every second element of a larger array; read-only."""
    innermost = np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 0, -1)), -1, 0)
    for laid_out in (np.ascontiguousarray(array), innermost, np.repeat(array, 2, axis=-1)[..., ::2]):
        laid_out.flags.writeable = False
        yield laid_out


def check_vjp(layer, vjp, *inputs, eps=1e-6):
    """Compare the gradients of a layer's parameters and inputs with differences along one random direction each, in float64.

    Args:
        layer: its parameters become float64, and its gradients are reset.
        vjp: (*inputs) -> results, a list of arrays or numbers, and their pullback: (list of gradients) -> a list of gradients, one for
            each input, None for one that has none.
    """
    for _, part in layer.named_layers():
        for name in (*part.parameter_names, *part.buffer_names):
            if getattr(part, name) is not None:
                setattr(part, name, getattr(part, name).astype(np.float64))
    rng = np.random.default_rng(1)
    results, pullback = vjp(*inputs)
    grads_y = [rng.standard_normal(np.shape(y)) for y in results]
    layer.zero_grad()
    grads_x = pullback(grads_y)
    gradients = dict(layer.named_gradients())
    parameters = {name: array for name, array in layer.named_parameters() if name in gradients}
    assert len(grads_x) == len(inputs)
    for name, array, gradient in [*((name, array, gradients[name]) for name, array in parameters.items()),
                                  *((f"input {i}", *pair) for i, pair in enumerate(zip(inputs, grads_x)) if pair[1] is not None)]:
        assert gradient.shape == array.shape and gradient.dtype == np.float64, name
        v, kept, totals = rng.standard_normal(array.shape), array.copy(), []
        for step in (eps, -eps):
            array[...] = kept + step * v
            totals.append(sum(np.sum(g * y) for g, y in zip(grads_y, vjp(*inputs)[0])))
        array[...] = kept
        numeric = (totals[0] - totals[1]) / (2 * eps)
        assert abs(np.sum(v * gradient) - numeric) <= 2e-6 * np.linalg.norm(gradient), name
    return gradients

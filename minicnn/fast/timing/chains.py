"""Estimates how long a convolution takes on this machine, and how long the Tucker chains that could replace it would take."""

from collections.abc import Sequence

from minicnn.errors import InputError
from minicnn.fast.timing.calibration import machine_rates
from minicnn.fast.timing.cost_model import milliseconds, planning_backend
from minicnn.layers import Conv2d, Sequential, tucker_chain
from minicnn.trace import Untraceable


def chain_milliseconds(layer: Conv2d, shape: Sequence[int], ranks: Sequence[int | tuple[int, int]], backend: str | None = None,
                       rates: dict[str, float] | None = None) -> tuple[float, list[float]]:
    """Estimate the milliseconds of a convolution and of its Tucker chains.

    Args:
        layer: ``Conv2d`` without groups, such as ``Conv2d(512, 512, 3, padding=1)``; its weights do not matter.
        shape: (N, C, H, W) of its input.
        ranks: for each chain (r_in, r_out), the channels between its convolutions, or one number for both.
        backend: "numpy" or "numba"; None: the one in use.
        rates: from ``calibrate``; None: those of this machine, which are measured now if they never were.

    Returns:
        whole: milliseconds of the layer.
        chains: list with the milliseconds of the chain for each of ``ranks``.

    Raises:
        InputError: the layer has groups, or the shape, a rank or the backend does not fit.

    >>> rates = {"product": 10, "direct": 12, "winograd": 16, "maps": 0.2, "patches": 0.1, "tiles": 0.3, "weights": 0.2, "steps": 0.05}
    >>> whole, (small, large) = chain_milliseconds(Conv2d(512, 512, 3, padding=1), (1, 512, 50, 68), [64, 256], "numpy", rates)
    >>> print(f"{whole:.1f} ms whole, {small:.1f} ms at rank 64, {large:.1f} ms at rank 256")
    37.8 ms whole, 4.0 ms at rank 64, 20.2 ms at rank 256
    """
    backend = planning_backend(backend)
    rates = machine_rates(backend) if rates is None else rates
    networks = [Sequential([layer])] + [tucker_chain(layer, rank) for rank in ranks]
    try:
        whole, *chains = (milliseconds(network, shape, backend, rates) for network in networks)
    except Untraceable as error:
        raise InputError(f"got an input of {shape} for {layer}, expected one that it can read ({error}). Give its (N, C, H, W).") from error
    return whole, chains


def break_even(layer: Conv2d, shape: Sequence[int], backend: str | None = None, rates: dict[str, float] | None = None) -> int:
    """The largest multiple of 8 that, as both ranks, makes the Tucker chain faster than the layer; 0 if none does.

    Arguments and errors are those of ``chain_milliseconds``.
    """
    ranks = list(range(min(layer.in_channels, layer.out_channels) // 8 * 8, 0, -8))
    whole, chains = chain_milliseconds(layer, shape, ranks, backend, rates)
    return next((rank for rank, chain in zip(ranks, chains) if chain < whole), 0)

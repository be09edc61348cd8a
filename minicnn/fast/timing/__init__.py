"""How long convolutions and networks take on this machine, estimated or measured."""

from minicnn.fast.timing.calibration import calibrate, machine_rates
from minicnn.fast.timing.chains import break_even, chain_milliseconds

__all__ = ["break_even", "calibrate", "chain_milliseconds", "machine_rates"]

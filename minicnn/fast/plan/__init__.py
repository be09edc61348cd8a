"""Plans: the steps that a finished network takes for one size of input."""

from minicnn.fast.plan.build import compile
from minicnn.fast.plan.steps import Plan

__all__ = ["Plan", "compile"]

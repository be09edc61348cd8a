"""Measuring a detector."""

"""Quartiles and ratios of measured times, and how tables show them."""

import statistics


def quartiles(values):
    """{"least", "lower_quartile", "upper_quartile", "most"} of at least two values."""
    low, _, high = statistics.quantiles(values, method="inclusive")
    return {"least": min(values), "lower_quartile": low, "upper_quartile": high, "most": max(values)}


def ratios(times, others):
    """Ratios of the times of the same turn."""
    return [a / b for a, b in zip(times, others)]


def with_quartiles(name, values):
    """{NAME: median, NAME_spread: quartiles}, as result files hold them."""
    return {name: statistics.median(values), f"{name}_spread": quartiles(values)}


def ratio_range(times, others):
    """{"of_medians": the ratio of the medians, "least", "most": of the ratios turn by turn}."""
    turn_by_turn = ratios(times, others)
    return {"of_medians": statistics.median(times) / statistics.median(others), "least": min(turn_by_turn), "most": max(turn_by_turn)}


def median_range(values):
    """{"median", "least", "most"}."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def text_with_quartiles(value, ends, text="{:.2f}".format):
    """The median and the quartiles as a table shows them: 0.52 (0.50 to 0.55).

    Args:
        value: the median.
        ends: of ``quartiles``.
        text: function that formats a number.
    """
    return f"{text(value)} ({text(ends['lower_quartile'])} to {text(ends['upper_quartile'])})"

"""Several budgets at once: kept, named where they cannot be, and near what exhaustive search finds."""

import itertools
import re

import numpy as np
import pytest
from calibration_cases import generator

from minicnn.compression.budget import Budget, Candidate
from minicnn.compression.several_budgets import Choice, meet_budgets
from minicnn.errors import InputError

PATHS = tuple("abcde")


def random_layer(rng, count=6):
    """The whole layer, then ever narrower ones that lose more; the times are not quite in the order of the parameters."""
    parameters, milliseconds = int(rng.integers(20, 400)), 10 * rng.random() + 0.5
    shares, errors = np.sort(0.05 + 0.9 * rng.random(count))[::-1], np.cumsum(2 * rng.random() * rng.random(count))
    return [Candidate(None, 0.0, parameters, parameters, milliseconds), *(
        Candidate((8, 8), float(error), 1 + int(parameters * share), 1, milliseconds * min(1.0, share * rng.uniform(0.6, 1.4)))
        for share, error in zip(shares, errors))]


def problem(seed, count=6):
    """Candidates of five layers, and budgets of the first four's parameters, of all parameters and of the time."""
    rng = generator(seed)
    candidates = {path: random_layer(rng, count) for path in PATHS}

    def budget(name, cost, share, paths=PATHS, fixed=50):
        return Budget(name, cost, share, fixed + sum(getattr(candidates[path][0], cost) for path in paths), fixed, paths)
    return candidates, [budget("convolutions", "parameters", 0.6, PATHS[:4], 0), budget("file", "parameters", rng.uniform(0.4, 0.8)),
                        budget("time", "milliseconds", rng.uniform(0.3, 0.8), fixed=0)]


def kept(chosen, budgets, slack=0.0):
    """Whether {path: candidate} keeps to all budgets."""
    return all(budget.fixed + sum(getattr(chosen[path], budget.cost) for path in budget.paths) <= budget.share * budget.full * (1 + slack)
               for budget in budgets)


def choices(candidates):
    return (dict(zip(candidates, choice)) for choice in itertools.product(*candidates.values()))


def error(chosen):
    return sum(candidate.error for candidate in chosen.values())


def test_no_choice_loses_much_less_and_only_what_nobody_can_meet_is_refused():
    ratios = []
    for seed in range(24):
        candidates, budgets = problem(seed, 5)
        best = min((error(chosen) for chosen in choices(candidates) if kept(chosen, budgets)), default=None)
        try:
            found = meet_budgets(candidates, budgets)
        except InputError:
            assert best is None
            continue
        assert kept(found, budgets, 1e-12) and best is not None
        ratios.append(error(found) / best)
    assert len(ratios) > 20 and np.mean(np.isclose(ratios, 1)) > 0.7 and np.mean(ratios) < 1.05


@pytest.mark.parametrize("seed", range(4))
def test_at_the_multipliers_no_choice_that_costs_as_little_loses_less(seed):
    candidates, budgets = problem(seed, 4)
    choice = Choice(candidates, budgets)
    numbers = choice.by_multipliers()
    totals, lost = choice.totals(numbers), choice.errors[choice.layers, numbers].sum()
    for other in itertools.product(*map(range, choice.counts)):
        if (choice.totals(np.array(other)) <= totals).all():
            assert choice.errors[choice.layers, other].sum() >= lost - 1e-9


def test_what_no_budget_needs_stays_whole_and_the_same_comes_again():
    candidates, budgets = problem(0)
    assert all(one.ranks is None for one in meet_budgets(candidates, [budget._replace(share=1.0) for budget in budgets]).values())
    assert meet_budgets(candidates, budgets) == meet_budgets(candidates, budgets)


def test_one_binding_budget_beside_a_loose_one_is_met_as_alone():
    candidates = {"a": [Candidate(None, 0.0, 100, 0, 1.0), Candidate((8, 8), 0.5, 50, 0, 1.0)],
                  "b": [Candidate(None, 0.0, 100, 0, 1.0), Candidate((8, 8), 0.1, 50, 0, 1.0)]}
    file, time = Budget("file", "parameters", 0.75, 200, 0, ("a", "b")), Budget("time", "milliseconds", 1.0, 2.0, 0, ("a", "b"))
    found = meet_budgets(candidates, [file, time])
    assert (found["a"].ranks, found["b"].ranks) == (None, (8, 8))


def test_a_budget_that_cannot_be_met_is_named_with_the_nearest_that_can():
    candidates, (convolutions, file, time) = problem(0)
    with pytest.raises(InputError, match=r"got a target of 0.01 of the time, expected at least (0\.\d+): ") as caught:
        meet_budgets(candidates, [convolutions, file, time._replace(share=0.01)])
    nearest = float(re.search(r"least (0\.\d+)", str(caught.value))[1])
    assert meet_budgets(candidates, [convolutions._replace(share=1), file._replace(share=1), time._replace(share=nearest)])


def test_budgets_that_can_be_met_alone_but_not_together_are_refused_beside_each_other():
    """The small form is slow, the fast one large."""
    candidates = {"a": [Candidate(None, 0.0, 100, 0, 10.0), Candidate((8, 8), 0.1, 20, 0, 9.0), Candidate((8, 16), 0.2, 70, 0, 3.0)]}
    budgets = [Budget("file", "parameters", 0.5, 100, 0, ("a",)), Budget("time", "milliseconds", 0.5, 10.0, 0, ("a",))]
    with pytest.raises(InputError, match=r"of the (time|file), expected at least (0\.\d+) beside 0.5 of the (file|time): ") as caught:
        meet_budgets(candidates, budgets)
    name, nearest = re.search(r"of the (\w+), expected at least (0\.\d+)", str(caught.value)).groups()
    assert meet_budgets(candidates, [budget._replace(share=float(nearest)) if budget.name == name else budget for budget in budgets])

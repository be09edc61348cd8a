"""Which ranks meet several budgets at once, such as one of storage and one of time: Lagrange multipliers, then exchanges.

Each budget has a multiplier, the price of its cost. At given multipliers every layer takes the candidate with the lowest sum of error and
priced costs, which lies on the lower convex hull of its candidates; no choice that costs as little by all budgets has a lower error
(Everett). The multiplier of the first budget is found by bisection: the lowest at which the budget is kept, where for each trial those of
the other budgets are found in the same way. What this leaves of the budgets is spent by exchanges (ours): of one layer, or of two
together, as long as an exchange lowers the error and the budgets are kept; so candidates above the hull are used, too.

Reference: Everett, Generalized Lagrange multiplier method for solving problems of optimum allocation of resources (1963).
"""

import itertools

import numpy as np

BRACKET = 4.0               # ratio of multipliers tried one after the other, until a budget is kept and broken
PRECISION = 1.001           # ratio at which bisection ends
LEAST, MOST = 1e-15, 1e15   # multipliers, error per share of the network's cost
ROUNDING = 1e-12            # relative: what sums of costs and errors may differ by
SWEEPS = 20                 # through all pairs of layers, at most


def meet_budgets(candidates, budgets):
    """The candidates with which a network keeps to several budgets, at a low error.

    Args:
        candidates: {path: list of ``budget.Candidate``}. budgets: list of ``budget.Budget``.

    Returns:
        {path: ``Candidate``}.

    Raises:
        InputError: a budget is out of reach, by itself or beside the others; the message has the nearest share that is not.
    """
    for budget in budgets:
        least = budget.fixed + sum(min(getattr(candidate, budget.cost) for candidate in candidates[path]) for path in budget.paths)
        if least > budget.share * budget.full:
            raise budget.refusal(least)
    choice = Choice(candidates, budgets)
    found = choice.exchanged(choice.by_multipliers())
    over = choice.over(choice.totals(found))
    if over.any():
        worst = int(over.argmax())
        beside = " and ".join(f"{budget.share:g} of the {budget.name}" for budget in budgets if budget is not budgets[worst])
        raise budgets[worst].refusal(budgets[worst].fixed + choice.totals(found)[worst], f" beside {beside}")
    return {path: candidates[path][number] for path, number in zip(candidates, found)}


class Choice:
    """The problem as arrays; a choice is the number of a candidate for each layer, (L,).

    ``errors``: (L, C), infinite where a layer has fewer than C candidates; ``costs``: (B, L, C), 0 for a layer that does not count in a
    budget; ``room``: (B,), what the layers may cost; ``full``: (B,), the cost of the whole network.
    """

    def __init__(self, candidates, budgets):
        self.counts = [len(layer) for layer in candidates.values()]
        self.errors = np.full((len(candidates), max(self.counts)), np.inf)
        self.costs = np.zeros((len(budgets), *self.errors.shape))
        for number, (path, layer) in enumerate(candidates.items()):
            self.errors[number, :len(layer)] = [candidate.error for candidate in layer]
            for budget, costs in zip(budgets, self.costs):
                if path in budget.paths:
                    costs[number, :len(layer)] = [getattr(candidate, budget.cost) for candidate in layer]
        self.room = np.array([budget.share * budget.full - budget.fixed for budget in budgets])
        self.full = np.array([budget.full for budget in budgets], float)
        self.present = np.isfinite(self.errors)
        self.layers = np.arange(len(self.errors))
        self.multipliers = np.ones(len(budgets))                    # last found: where the next search begins

    def totals(self, chosen):
        """The costs of a choice, (B,)."""
        return self.costs[:, self.layers, chosen].sum(axis=1)

    def over(self, totals):
        """The shares of the network's costs by which budgets are exceeded, (B, ...); what rounding makes does not count."""
        rest = totals - self.room.reshape(-1, *[1] * (totals.ndim - 1))
        over = rest / self.full.reshape(-1, *[1] * (totals.ndim - 1))
        return np.where(over > ROUNDING, over, 0.0)

    def by_multipliers(self):
        """A choice at multipliers at which all budgets are kept, or the cheapest by the last one that cannot be with those after it."""
        everything = list(range(len(self.room)))
        for first in reversed(everything):
            cheapest = self.solve(np.where(self.present, self.costs[first] / self.full[first], np.inf), everything[first + 1:])
            if not self.keeps(cheapest, first):
                return cheapest
        return self.solve(self.errors, everything)

    def keeps(self, chosen, budget):
        """Whether a choice keeps to a budget, given by its number."""
        return not self.over(self.totals(chosen))[budget]

    def solve(self, errors, budgets):
        """The choice with the lowest sum of ``errors`` (L, C), priced so that these budgets are kept, as far as they can be."""
        if not budgets:
            return errors.argmin(axis=1)
        first, *others = budgets
        prices = self.costs[first] / self.full[first]

        def trial(multiplier):
            chosen = self.solve(errors + multiplier * prices, others)
            return chosen, self.keeps(chosen, first)
        chosen, kept = trial(0.0)
        return chosen if kept else self.bisect(trial, first)

    def bisect(self, trial, budget):
        """The choice at the lowest multiplier at which ``trial`` keeps a budget."""
        multiplier, low, high = self.multipliers[budget], None, None
        while (low is None or high is None) and LEAST < multiplier < MOST:
            chosen, kept = trial(multiplier)
            if kept:
                best, high, multiplier = chosen, multiplier, multiplier / BRACKET
            else:
                low, multiplier = multiplier, multiplier * BRACKET
        if low is None or high is None:
            return chosen
        while high / low > PRECISION:
            chosen, kept = trial((low * high) ** 0.5)
            if kept:
                best, high = chosen, (low * high) ** 0.5
            else:
                low = (low * high) ** 0.5
        self.multipliers[budget] = high
        return best

    def exchanged(self, chosen):
        """A choice after all exchanges of one or two layers that bring it nearer to the budgets or, within them, lower its error."""
        chosen = chosen.copy()
        for _ in range(SWEEPS):
            if not any([self.exchange(chosen, *pair) for pair in itertools.combinations_with_replacement(self.layers, 2)]):
                break
        return chosen

    def exchange(self, chosen, one, other):
        """Change the candidates of two layers (or of one, twice the same) for the best ones, in place; returns whether that helps."""
        wide, now = self.costs[:, one, :self.counts[one], None], (chosen[one], chosen[other] if one != other else 0)
        high = self.costs[:, other, None, :self.counts[other]] if one != other else np.zeros((len(self.room), 1, 1))
        sums = (self.totals(chosen) - wide[:, now[0], 0] - high[:, 0, now[1]])[:, None, None] + wide + high
        errors = self.errors[one, :self.counts[one], None] + (self.errors[other, None, :self.counts[other]] if one != other else 0)
        over = self.over(sums).sum(axis=0)
        least = over.min()
        best = np.unravel_index(np.where(over <= least, errors, np.inf).argmin(), over.shape)
        if not (least < over[now] - ROUNDING or least <= over[now] and errors[best] < errors[now] - ROUNDING * abs(errors[now])):
            return False
        chosen[one] = best[0]
        if one != other:
            chosen[other] = best[1]
        return True

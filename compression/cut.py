"""Step 2: make a detector smaller by pruning and decomposition, in place."""

from minicnn.compression.channels import check_patterns
from minicnn.compression.hybrid import Cut, check_within_reach, prune_and_decompose
from minicnn.compression.rounds import check_reachable, prune_to


def cut(model, options, *, rng, observation=None, cost_model=None, on_round=None) -> Cut:
    """Prune and decompose layers by the method of the options, in place.

    Args:
        model: a ``minicnn.models.protocol.CompressibleDetector``.
        options: ``options.DetectorOptions``.
        rng: a Generator, for k-means; methods that prune alone draw from ``options.seed``.
        observation: the model's ``observe.Observation``, or None.
        cost_model: a ``cost_model.CostModel``; None: this machine's.
        on_round: called with the model and all rounds after each round of a method that prunes alone.

    Returns:
        A ``hybrid.Cut``.

    Raises:
        InputError: no layer can be decomposed, ranks do not fit, a target is out of reach.
    """
    if options.decomposes:
        return prune_and_decompose(model, options.rule, options.hybrid, rng=rng, cost_model=cost_model,
                                   observation=observation if options.errors == "output" else None)
    removed, kept = prune_to(model, *options.pruning(model), seed=options.seed, on_round=on_round)
    return Cut(removed, kept, [])


def check_cut(model, options, cost_model=None) -> None:
    """Raise InputError, before any image is observed, if ``cut`` cannot meet the options: they are compared with paths and shapes alone.

    Args:
        model: left as it is. options: ``DetectorOptions`` that are ``suited_to`` the images. cost_model: as for ``cut``.
    """
    check_patterns(model, options.left_out)
    if options.decomposes:
        check_within_reach(model, options.rule, options.hybrid, cost_model=cost_model, observed=options.errors == "output")
    else:
        check_reachable(model, *options.pruning(model))

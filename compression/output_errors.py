"""Errors of single layers as errors of a detector's outputs, so that layers can be compared."""

import numpy as np

from minicnn.progress import Progress

PROPOSING = 0.05        # weight of an error of the RPN's outputs; the box head's have weight 1
IMAGES = 8              # on which the layers' errors are compared
LEAST_ERROR = 1e-6      # of the ranks that are tried: less is rounding, and does not carry over to other ranks


def weigh_errors(model, decisions, observation, images=IMAGES):
    """Scale the errors of layers' outputs to those of the detector's outputs (ours).

    Each layer in turn is decomposed alone, at the middle one of its candidates; on the first ``images`` images the squared differences of
    the RPN's logits and deltas and of the box head's scores and deltas, each over their variance, are added up. The RPN's count
    ``PROPOSING`` times: the box head still refines a proposal that is a little off. The error at any other ranks is scaled by the same
    factor. The same error of a layer's output does several times more where the ReLU behind it passes little.

    Args:
        model: a ``minicnn.models.protocol.CompressibleDetector``, as before when this returns.
        decisions: list of ``hybrid.LayerDecision``, whose candidates are changed.
        observation: an ``observe.Observation`` with proposals.
    """
    expected = detector_outputs(model, observation, images)
    scales = [weight / (((output - output.mean()) ** 2).sum() or 1.0) for output, weight in zip(expected, (PROPOSING, PROPOSING, 1, 1))]
    undecided = [decision for decision in decisions if len(decision.candidates) > 1]
    with Progress(len(undecided), "weighing errors", "layers") as bar:
        for decision in undecided:
            trial = decision.candidates[len(decision.candidates) // 2]
            whole = model.get_layer(decision.path)
            model.replace_layer(decision.path, decision.low_rank.layers(trial.ranks))
            found = detector_outputs(model, observation, images)
            effect = sum(((output - other) ** 2).sum() * scale for output, other, scale in zip(found, expected, scales))
            model.replace_layer(decision.path, whole)
            tried = max(trial.error, LEAST_ERROR)
            decision.candidates = [candidate._replace(error=candidate.error * effect / tried) for candidate in decision.candidates]
            decision.chosen = decision.candidates[0]
            bar.update(1, decision.path)


def detector_outputs(model, observation, images):
    """The RPN's logits and deltas and the box head's scores and deltas on the first images, as four flat float64 arrays."""
    proposing, judging = [], []
    for image, proposals in zip(observation.images[:images], observation.proposals):
        batch = model.prepare(image)
        maps, heads = model.backbone_and_rpn(batch.pixels)
        proposing += [[array.ravel() for array in level] for level in heads]
        judging.append([array.ravel() for array in model.box_head(model.pool_rois(maps, batch, proposals)[1])])
    return [np.concatenate(arrays, dtype=np.float64) for outputs in (proposing, judging) for arrays in zip(*outputs)]

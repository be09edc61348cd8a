"""What ``compress_detector`` shall do: the method, the rule for ranks or the target, the layers, and how errors are estimated."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from minicnn.compression.cost_table import cost_table
from minicnn.compression.hybrid import HybridOptions
from minicnn.compression.int8_weights import check_dtype
from minicnn.compression.rounds import PruningOptions, PruningTarget
from minicnn.compression.rules import RankRule, with_room_for_biases
from minicnn.models.protocol import Compressible

DECOMPOSING = ("hybrid", "tucker")      # methods that decompose layers; the others, ``criteria.METHODS``, prune alone


@dataclass(frozen=True)
class DetectorOptions:
    """How to compress a detector.

    rule: a ``RankRule``: how ranks are found, or the target, or several (``RankRule.of``); methods that prune alone take one target, and
    none of "time".
    method: "hybrid" (the paper's), "tucker" (everything is decomposed), or pruning alone by "statistics", "l1", "fpgm" or "random".
    linear: linear layers take part. layers, low: see ``HybridOptions``, for methods that decompose.
    left_out: patterns of paths of the layers that stay whole, neither pruned nor decomposed, see ``channels.stays_whole``.
    minimum, n_clusters: see ``PruningOptions``, for methods that prune alone; minimum None: the default there.
    errors: "output": ranks are chosen by the loss of a layer's output on the images; "weights": by the loss of its weights.
    repair: fit the smaller network to the original's outputs on the images. refit_first: also the first of the layers that a decomposed
        layer became, see ``first_factor``.
    seed: every random choice comes from it.
    dtype: "int8": the smaller network has the weights that ``minicnn.save(path, model, dtype="int8")`` writes, and biases that fit them,
        see int8_weights.py. Targets count float32 all the same.
    Without images errors are those of the weights, and nothing is repaired.
    """

    rule: RankRule
    method: str = "hybrid"
    linear: bool = True
    layers: Sequence[str] = ("*",)
    left_out: Sequence[str] = ()
    low: int = 128
    minimum: int | None = None
    n_clusters: int | None = None
    errors: str = "output"
    repair: bool = True
    seed: int = 0
    refit_first: bool = True
    dtype: str = "float32"

    def __post_init__(self):
        check_dtype(self.dtype)
        if self.decomposes or self.rule.kind in ("storage", "parameters", "macs"):
            return
        raise ValueError(f"DetectorOptions: got the rule {self.rule.kind} with {self.method}, expected a target of storage, parameters or "
                         f"macs, or one of the methods {' and '.join(DECOMPOSING)}.")

    @property
    def decomposes(self) -> bool:
        """Whether layers are decomposed, and not only pruned."""
        return self.method in DECOMPOSING

    @property
    def observes(self) -> bool:
        """Whether the original network must be observed on the images."""
        return self.repair or self.decomposes and self.errors == "output"

    @property
    def hybrid(self) -> HybridOptions:
        """The options of the methods that decompose; "tucker" prunes nothing."""
        return HybridOptions(0 if self.method == "tucker" else self.low, self.linear, tuple(self.layers), tuple(self.left_out))

    def pruning(self, model: Compressible) -> tuple[PruningTarget, PruningOptions]:
        """The target and the options of the methods that prune alone; channels are not compensated, since repair follows."""
        kind = {"storage": "bytes"}.get(self.rule.kind, self.rule.kind)
        minimum = PruningOptions().minimum if self.minimum is None else self.minimum
        return (PruningTarget(kind, self.rule.value * cost_table(model, model.input_shape)[kind]),
                PruningOptions(self.method, self.linear, minimum, self.n_clusters, compensate=False, left_out=tuple(self.left_out)))

    def suited_to(self, model: Compressible, images: Sequence[np.ndarray]) -> "DetectorOptions":
        """The same without what needs images if there are none, and with room for the biases that repair may add."""
        repair = bool(len(images)) and self.repair
        return replace(self, repair=repair, errors=self.errors if len(images) else "weights",
                       rule=with_room_for_biases(self.rule, model) if repair else self.rule)

    def settings(self) -> dict:
        """What a checkpoint must agree on."""
        return {"method": self.method, "rule": self.rule._asdict(), "options": self.hybrid._asdict(), "errors": self.errors,
                "minimum": self.minimum, "clusters": self.n_clusters, "repaired": self.repair, "seed": self.seed,
                "refit_first": self.refit_first}

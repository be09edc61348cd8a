"""What a compression has done, layer by layer, as objects and as JSON."""

from dataclasses import dataclass, field

from minicnn.compression.cost_model import whole_milliseconds
from minicnn.compression.cost_table import cost_table
from minicnn.compression.stored import stored
from minicnn.functional import dispatch


@dataclass
class DetectorReport:
    """What ``compress_detector`` has done.

    architecture: name of the network.
    surgery: {"method", "removed": {path: indices of filters}, "split": {path: [r_in, r_out]}, "repaired_from": number of images}.
    layers: one dict for each layer, with "path", "kind", "weight" (shape), "ranks", "removed" (number), "reason" (why it stays whole),
        [before, after] of "parameters", "macs", "milliseconds" and, with "stored" below, "stored_bytes", and, if it could be decomposed,
        "error", "pixels", "into_values", "out_values" and "break_even".
    repair: see ``repair.repair``.
    before, after: totals of the cost table, with "milliseconds" measured and, if it was evaluated, "mAP"; once ``add_stored`` was called
        also "stored".
    errors: "output" or "weights", by which ranks were chosen. backend: "numpy" or "numba", by which it was measured.
    seconds: {step: how long it took}. machine: for which the milliseconds of layers are predicted, see ``CostModel``.
    """

    architecture: str
    surgery: dict
    layers: list
    repair: list
    before: dict
    after: dict
    errors: str
    backend: str
    seconds: dict = field(default_factory=dict)
    machine: str = ""

    def document(self, file: str, source: dict, validation: dict | None = None) -> dict:
        """The JSON document of ``minicnn compress``.

        Args:
            file: the smaller network's. source: name and SHA-256 of the original's file. validation: the data that ``evaluate`` used.
        """
        return {"file": file, "architecture": self.architecture, "source": source, "surgery": self.surgery, "layers": self.layers,
                "repair": self.repair, "before": self.before, "after": self.after, "errors": self.errors, "backend": self.backend,
                **({"machine": self.machine} if self.machine else {}), **({"validation": validation} if validation else {}),
                "seconds": self.seconds}


@dataclass
class ClassifierReport:
    """What ``compress_classifier`` has done.

    architecture: name of the network; settings: options, target and hyperparameters; before, after: the cost table, and "test" if it was
    measured; before also has the validation "accuracy", and both "stored" once ``add_stored`` was called; rounds: see
    ``rounds.prune_in_rounds``.
    """

    architecture: str
    settings: dict
    before: dict
    after: dict
    rounds: list

    def document(self, file: str) -> dict:
        """The JSON document of ``minicnn compress``; file: the smaller network's."""
        return {"file": file, "architecture": self.architecture, "settings": self.settings, "before": self.before, "after": self.after,
                "rounds": self.rounds}


def add_stored(report, original, smaller):
    """Add to a report what stands in the files of both networks, each (path, model): "stored", see ``stored.stored``."""
    report.before["stored"], report.after["stored"] = stored(*original), stored(*smaller)
    for row in getattr(report, "layers", ()):
        row["stored_bytes"] = [sum(size for path, size in state["stored"]["layers"].items()
                                   if path == row["path"] or path.startswith(f"{row['path']}."))
                               for state in (report.before, report.after)]


def timed_cost_table(model, cost_model):
    """``cost_table`` of a model, with the milliseconds that the cost model predicts for each layer."""
    table = cost_table(model, model.input_shape)
    for row in table["layers"]:
        row["milliseconds"] = whole_milliseconds(model, row, cost_model)
    return table


def detector_report(model, state, before, errors, cost_model, seconds):
    """A ``DetectorReport`` without what is measured.

    Args:
        model: the smaller network. state: see ``method.cut_state``. before: the original's ``timed_cost_table``. errors: "output" or
            "weights". cost_model: a ``CostModel``. seconds: see ``DetectorReport``.
    """
    after = timed_cost_table(model, cost_model)
    return DetectorReport(model.architecture, state["surgery"], layer_rows(before, after, state["surgery"], state["splits"]),
                          state["repair"], totals(before), totals(after), errors,
                          dispatch.backend() if cost_model.machine else cost_model.backend, seconds, cost_model.machine)


def totals(table):
    """A cost table without its layers."""
    return {key: value for key, value in table.items() if key != "layers"}


def cut_record(cut, method, repaired_from):
    """The entry for a ``hybrid.Cut`` in a file's history, as plain numbers; repaired_from: number of images."""
    return {"method": method, "removed": {path: indices.tolist() for path, indices in cut.removed.items()},
            "split": {path: list(map(int, ranks)) for path, ranks in cut.ranks().items()}, "repaired_from": repaired_from}


def decision_facts(cut, table, cost_model):
    """{path: why a layer was decomposed, or stays whole}, as plain numbers; table: the original's cost table."""
    inputs, facts = {row["path"]: row["inputs"][0] for row in table["layers"]}, {}
    for decision in cut.decisions:
        low_rank, ranks = decision.low_rank, decision.chosen.ranks
        sides = {"into_values": low_rank.into_values, "out_values": low_rank.out_values}
        facts[decision.path] = {
            "reason": decision.reason, "error": float(low_rank.error(ranks)) if ranks else 0.0, "pixels": low_rank.pixels,
            **{name: values.tolist() for name, values in sides.items() if values is not None}}
        if low_rank.tucker:
            shape = (1, low_rank.channels[0], *inputs[decision.path][1:])
            facts[decision.path]["break_even"] = cost_model.break_even(low_rank.layer, shape)
    return facts


def layer_rows(before, after, surgery, facts):
    """What has become of each layer, as plain numbers.

    Args:
        before, after: from ``timed_cost_table``. surgery: from ``cut_record``. facts: from ``decision_facts``.
    """
    rows = []
    for old in before["layers"]:
        path = old["path"]
        new = [row for row in after["layers"] if row["path"] == path or row["path"].startswith(f"{path}.")]
        rows.append({"path": path, "kind": old["kind"], "weight": old["weight"], "ranks": surgery["split"].get(path),
                     "removed": len(surgery["removed"].get(path, ())), "reason": "",
                     **{key: [old[key], sum(row[key] for row in new)] for key in ("parameters", "macs", "milliseconds")},
                     **facts.get(path, {})})
    return rows

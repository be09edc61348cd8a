"""How ``minicnn compress`` makes a detector smaller: pruning, splitting, repair; the tables; the page."""

import contextlib
import copy
import functools
import statistics
import sys
import time
import zlib
from pathlib import Path

import numpy as np

import minicnn
from minicnn.checkpoint import jsonable, read_compression_checkpoint, write_compression_checkpoint
from minicnn.cli.detector_evaluation import look_at
from minicnn.cli.detector_training import read_data, tell_problems
from minicnn.cli.loading import checkpoint_path
from minicnn.cli.provenance import check_outputs, emit, provenance, report
from minicnn.cli.tables import fitted, percent, points, table
from minicnn.compression.budget import predicted
from minicnn.compression.channels import readers
from minicnn.compression.cost_table import cost_table, matrices, times
from minicnn.compression.hybrid import COSTS, Options, Rule, Surgery, decompose
from minicnn.compression.observe import observe
from minicnn.compression.repair import LEAST, repair
from minicnn.compression.rounds import Options as PruningOptions
from minicnn.compression.rounds import Target, check_reachable, prune_to
from minicnn.data import is_annotated, load_annotated
from minicnn.data.images import as_image, as_input, images_in, import_pillow
from minicnn.detection.evaluation.evaluate import evaluate
from minicnn.errors import InputError
from minicnn.fast.timing import break_even, machine_rates
from minicnn.fast.timing.cost_model import planning_backend
from minicnn.files import make_folder, source_file
from minicnn.progress import Progress
from minicnn.report.compression_page import write_report

SPLITTING = ("hybrid", "tucker")
OBSERVED = 100          # images that errors are told by where nothing is repaired
REPAIRED = 300          # images to repair from, at most, unless told otherwise
PRUNING = ("minimum", "clusters")                   # options that the other methods alone heed
SHOWN = 4               # images on the page, with what both networks find
SHOWN_ABOVE = 0.5       # score of what is drawn there
RUNS = 5                # of each network, to say how fast it is
COUNTS = {"bytes": "file, bytes as float32", "convolution_parameters": "convolutions, parameters",
          "linear_parameters": "linear layers, parameters", "macs": "MACs"}


def run(args, model):
    """Compress a detector, save it, say so."""
    check_outputs(args, args.out)
    method, rng = args.method or SPLITTING[0], np.random.default_rng(args.seed)
    rule, options, checkpoint = read_rule(args, method, model), read_options(args, method), checkpoint_path(args.out)
    images, problems = read_images(args, model, rng)
    validation = read_validation(args, model)
    if validation:
        problems += validation.problems
    repairs = bool(images) and args.repair != 0
    if repairs:
        rule = with_biases(rule, model)
    errors = "output" if images and args.errors != "weights" else "weights"
    backend = planning_backend()
    rates, clock = machine_rates(backend), Clock()

    def operate(model, rng, options, seen=None):
        if method in SPLITTING:
            return decompose(model, rule, options, rng=rng, seen=seen if errors == "output" else None, backend=backend, rates=rates)
        return Surgery(*prune(args, model, rule, method), [])
    settings = jsonable({
        "source": source_file(args.file), "method": method, "rule": rule._asdict(), "options": options._asdict(), "errors": errors,
        "pictures": functools.reduce(lambda crc, image: zlib.crc32(image.tobytes(), crc), images, 0), "backend": backend,
        **{name: getattr(args, name) for name in ("linear", "minimum", "clusters", "seed", "repair")}})
    resumed = None
    if args.resume and Path(checkpoint).exists():
        resumed = read_compression_checkpoint(checkpoint, settings)
        print(f"resuming after repair of {len(resumed[1]['repair'])} layers from {checkpoint}", file=sys.stderr)
    elif method in SPLITTING:
        # By the weights alone, and with whatever pruning may take: what cannot be had is told in seconds.
        operate(twin(model), np.random.default_rng(args.seed), options._replace(loss=1.0))
    else:
        check_reachable(model, *pruning(args, model, rule, method), None)
    if args.data is None and args.repair is None:
        chosen = "ranks are chosen by the weights alone, and " if method in SPLITTING else ""
        print(f"minicnn compress: no --data, so {chosen}nothing is repaired", file=sys.stderr)
    if args.report:
        import_pillow("drawing")
        make_folder(args.report)
    original, before = twin(model), sizes(model, backend, rates)
    seen = None
    if repairs or method in SPLITTING and errors == "output":
        with clock("looking at pictures"):
            seen = observe(original, images, matrices(original), rng)
    if resumed:
        model, state = resumed
    else:
        with clock("surgery"):
            surgery = operate(model, rng, options, seen)
            state = {"surgery": plain(surgery, method, len(images) if repairs else 0),
                     "splits": split_facts(surgery.layers, before, backend, rates), "repair": []}
        del surgery                                     # its singular vectors need not be there while layers are fitted
    step = state["surgery"]
    if repairs:
        def keep(rows):
            write_compression_checkpoint(checkpoint, model, settings, {**state, "repair": rows})
        kept = {path: np.delete(np.arange(len(original.get_layer(path).weight)), gone) for path, gone in step["removed"].items()}
        with clock("repair"):
            if not resumed:
                keep([])
            state["repair"] = repair(model, seen, kept, {*step["split"], *readers(original, step["removed"])}, state["repair"], keep)
    after = sizes(model, backend, rates)
    document = {"file": args.out, "architecture": model.architecture, "source": settings["source"], "surgery": step,
                "layers": layer_rows(before, after, step, state["splits"]), "repair": state["repair"], "before": totals(before),
                "after": totals(after), "errors": errors, "backend": backend}
    with clock("measuring"):
        for name, milliseconds in zip(("before", "after"), measured(original, model, images)):
            document[name]["milliseconds"] = milliseconds
        if validation:
            for name, network in (("before", original), ("after", model)):
                validation, found, _, more = look_at(args.file, network, validation)        # what cannot be read is told once
                problems += more
                document[name]["mAP"] = evaluate(validation, found).document["mAP"]
            document["validation"] = {"data": str(args.data), "split": args.validation, "pictures": len(validation.images)}
    document["seconds"] = clock.seconds
    model.record["surgery"].append(step)
    model.record["provenance"] = provenance(
        args, source=document["source"], seed=args.seed, data=None if args.data is None else str(args.data),
        mAP={name: document[name].get("mAP") for name in ("before", "after")}, before=original.record["provenance"])
    model.record["measured"] = {}
    text = summary(document)
    if args.report:
        shown = [as_image(one.path) for one in validation.images[:SHOWN]] if validation else images[:SHOWN]
        text += f"\n  -> {write_report(args.report, document, [both(original, model, image) for image in shown])}"
    minicnn.save(args.out, model)
    Path(checkpoint).unlink(missing_ok=True)
    emit(args, document, text)
    return 1 if problems else 0


def foreign_options(args):
    """(names of the options that the method does not heed, why they are refused)."""
    method = args.method or SPLITTING[0]
    names = PRUNING if method in SPLITTING else ("layers", "rpn", "low", "errors")
    return (*names, "low") if method == "tucker" else names, f"with --method {method}, expected options that it heeds. Leave it out."


def with_biases(rule, model):
    """A rule that leaves room for a bias of each layer that has none: repair may give it one."""
    missing = sum(len(layer.weight) for layer in map(model.get_layer, matrices(model)) if getattr(layer, "bias", None) is None)
    full = {"storage": "convolution_parameters", "parameters": "parameters"}.get(rule.kind)
    if not missing or not full:
        return rule
    return rule._replace(value=rule.value - missing / cost_table(model, model.input_shape)[full])


def twin(model):
    """A copy that has the same arrays: surgery and repair give a layer others, and write none."""
    return copy.deepcopy(model, {id(array): array for _, array in model.named_arrays()})


class Clock:
    """How long what takes: ``with clock("repair"): ...``, then ``seconds["repair"]``."""

    def __init__(self):
        self.seconds = {}

    @contextlib.contextmanager
    def __call__(self, name):
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 1)


def read_rule(args, method, model):
    """The ``Rule`` that --ranks or a --target says, shares in the place of numbers.

    Raises:
        InputError: no such ranks or target for a detector, or for the method.
    """
    if args.ranks is not None:
        rule = ranks_rule(args.ranks)
    elif args.target_accuracy is not None:
        raise InputError("got --target-accuracy for a detector, expected how much of it stays. Give --target-storage, -parameters, -macs "
                         "or -time, or --ranks.")
    else:
        kind, value = next((kind, getattr(args, f"target_{kind}")) for kind in COSTS if getattr(args, f"target_{kind}") is not None)
        if value > 1 and kind in ("storage", "time"):
            raise InputError(f"got --target-{kind} {value:g}, expected the share that is kept, up to 1. Give 0.46 to take 54 % off.")
        rule = Rule(kind, value / cost_table(model, model.input_shape)[kind] if value > 1 else value)
    if method not in SPLITTING and rule.kind not in ("storage", "parameters", "macs"):
        raise InputError(f"got --method {method} with {'--target-time' if rule.kind == 'time' else '--ranks'}, which is for "
                         f"{' and '.join(SPLITTING)}, expected --target-storage, -parameters or -macs. Give one of them.")
    return rule


def ranks_rule(text):
    """The ``Rule`` of "64", "64,96" (in, out), "energy:0.9" or "evbmf"."""
    name, _, share = text.partition(":")
    with contextlib.suppress(ValueError):
        if text == "evbmf":
            return Rule("evbmf")
        if name == "energy" and 0 < float(share) <= 1:
            return Rule("energy", float(share))
        ranks = [int(part) for part in text.split(",")]
        if len(ranks) <= 2 and min(ranks) > 0:
            return Rule("given", (ranks[0], ranks[-1]))
    raise InputError(f"got --ranks {text}, expected a number from 1 on for both sides, two as 64,96 for input and output, energy:0.9 for "
                     "the share of squared singular values that stays, or evbmf. Give one of them.")


def read_options(args, method):
    """The ``Options``: with "tucker" nothing is pruned."""
    if method not in SPLITTING and args.linear == "svd":
        raise InputError(f"got --linear svd with --method {method}, expected a way to prune. Leave svd out.")
    left_out = () if args.rpn else ("rpn.*",)
    return Options(low=0 if method == "tucker" else args.low, linear=args.linear != "no", layers=tuple(args.layers), left_out=left_out)


def read_images(args, model, rng):
    """Images (H, W, 3) uint8 to look at, drawn at random and ``shrunk``, and a line for each that cannot be read.

    Raises:
        InputError: there are fewer than asked for, or than a repair needs; or none are given to an option that needs them.
    """
    if args.data is None:
        given = [f"--{name} {value}" for name in ("repair", "split", "validation", "errors") if (value := getattr(args, name))]
        if given and given != ["--errors weights"]:
            raise InputError(f"got {given[0]} without --data, expected images. Give a folder.")
        return [], []
    paths = images_in(args.data) if Path(args.data).is_dir() and not is_annotated(args.data) else []
    if paths:
        for option in ("split", "validation"):
            if getattr(args, option):
                raise InputError(f"got --{option} {getattr(args, option)} for {args.data}, which is a folder of images, expected one as "
                                 f"PASCAL VOC's or COCO's. Leave out --{option}.")
    else:
        paths = [image.path for image in read_data(args).images]
    count = args.repair or (min(REPAIRED, len(paths)) if args.repair is None else min(OBSERVED, len(paths)))
    if count > len(paths) or args.repair != 0 and count < LEAST:
        raise InputError(f"got {min(count, len(paths))} images to repair from, expected at least {max(count, LEAST)}. Give more, or a "
                         "smaller --repair; --repair 0 leaves it out.")
    images, problems = [], []
    with Progress(count, "reading") as bar:
        for place in rng.permutation(len(paths)):
            try:
                images.append(shrunk(as_image(paths[place]), model.transform))
                bar.update(1)
            except InputError as error:
                report("compress", error)
                problems.append(str(error))
            if len(images) == count:
                break
    if len(images) < (1 if args.repair == 0 else LEAST):
        raise InputError(f"got {len(images)} images in {args.data} that can be read, expected at least {LEAST}. Give others.")
    return images, problems


def shrunk(image, transform):
    """An image (H, W, 3), resized as the network will if it has more than twice the pixels: 300 photographs would fill the memory."""
    h, w = transform.size(*image.shape[:2])
    return image if image[..., 0].size <= 2 * h * w else as_image(transform.resize(as_input(image)))


def read_validation(args, model):
    """The split to measure mean AP on, or None; tells what was skipped.

    Raises:
        InputError: nothing can be measured on it.
    """
    if not args.validation:
        return None
    data = load_annotated(args.data, args.validation, model.record["class_names"])
    tell_problems(args, data.problems)
    if not any((~image.difficult & ~image.crowd).any() for image in data.images):
        raise InputError(f"got the split {args.validation} of {args.data}, in which no object counts, expected some to find. Give another "
                         "to --validation.")
    return data


def pruning(args, model, rule, method):
    """The ``Target`` and the ``Options`` of a method that prunes."""
    kind = {"storage": "bytes"}.get(rule.kind, rule.kind)
    return Target(kind, rule.value * cost_table(model, model.input_shape)[kind]), PruningOptions(
        method, args.linear != "no", args.minimum or PruningOptions().minimum, args.clusters, compensate=False)


def prune(args, model, rule, method):
    """Prune in rounds, without training between them: the removed and the kept filters of each producer that lost some."""
    def tell(model, rounds):
        print(f"round {len(rounds)}: {rounds[-1]['parameters']:,} parameters", file=sys.stderr)
    return prune_to(model, *pruning(args, model, rule, method), seed=args.seed, on_round=tell)


def sizes(model, backend, rates):
    """The ledger, with the milliseconds that the engine predicts for each layer."""
    found = cost_table(model, model.input_shape)
    for row in found["layers"]:
        row["milliseconds"] = predicted(model.get_layer(row["path"]), row, [], times(model, row["path"]), backend, rates)[0]
    return found


def totals(found):
    return {key: value for key, value in found.items() if key != "layers"}


def plain(surgery, method, repaired_from):
    """What a file's history says of a ``Surgery``."""
    return {"method": method, "removed": {path: numbers.tolist() for path, numbers in surgery.removed.items()},
            "split": {path: list(map(int, ranks)) for path, ranks in surgery.ranks().items()}, "repaired_from": repaired_from}


def split_facts(layers, before, backend, rates):
    """{path: what led to a layer's split, or to none}, as plain numbers."""
    inputs, facts = {row["path"]: row["inputs"][0] for row in before["layers"]}, {}
    for layer in layers:
        split = layer.split
        facts[layer.path] = {
            "reason": layer.reason, "error": float(split.error(layer.chosen.ranks)) if layer.chosen.ranks else 0.0, "pixels": split.pixels,
            **{name: getattr(split, name).tolist() for name in ("into_values", "out_values") if hasattr(split, name)}}
        if split.tucker:
            shape = (1, split.channels[0], *inputs[layer.path][1:])
            facts[layer.path]["break_even"] = break_even(split.layer, shape, backend, rates)
    return facts


def layer_rows(before, after, step, splits):
    """What became of each layer, as plain numbers; splits: see ``split_facts``."""
    rows = []
    for old in before["layers"]:
        path = old["path"]
        new = [row for row in after["layers"] if row["path"] == path or row["path"].startswith(f"{path}.")]
        rows.append({"path": path, "kind": old["kind"], "weight": old["weight"], "ranks": step["split"].get(path),
                     "removed": len(step["removed"].get(path, ())), "reason": "",
                     **{key: [old[key], sum(one[key] for one in new)] for key in ("parameters", "macs", "milliseconds")},
                     **splits.get(path, {})})
    return rows


def measured(original, model, images):
    """The medians of ``RUNS`` turns of both networks, milliseconds from an array to boxes."""
    image = as_input(images[0]) if images else np.random.default_rng(0).random(original.input_shape, np.float32)
    found = [], []
    for turn in range(RUNS + 1):                        # the first one makes plans
        for network, milliseconds in zip((original, model), found):
            start = time.perf_counter()
            network([image])
            if turn:
                milliseconds.append(1000 * (time.perf_counter() - start))
    return map(statistics.median, found)


def both(original, model, image):
    """What the page draws: the image, and what each network finds in it."""
    def found(network):
        one = network.detect(image).above(SHOWN_ABOVE)
        return [(box.tolist(), name, float(score)) for box, name, score in zip(one.boxes, one.names, one.scores)]
    return {"pixels": image, "before": found(original), "after": found(model)}


def how(row):
    """A word on what became of a layer."""
    if row["ranks"]:
        ranks = row["ranks"]
        return f"pixels {ranks[0]}" if row["pixels"] > 1 else "Tucker {} {}".format(*ranks) if "into_values" in row else f"SVD {ranks[0]}"
    return f"{row['weight'][0] - row['removed']} of {row['weight'][0]}" if row["removed"] else "whole"


def summary(document):
    """The tables for a terminal, at most 80 wide."""
    before, after, step = document["before"], document["after"], document["surgery"]
    layers = fitted(("layer", "now", "parameters", "left", "ms", "then"),
                    [(row["path"], how(row), f"{row['parameters'][0]:,}", f"{100 * row['parameters'][1] / row['parameters'][0]:.0f} %",
                      *(f"{value:.1f}" for value in row["milliseconds"])) for row in document["layers"]])
    rows = [(name, f"{before[key]:,}", f"{after[key]:,}", percent(after[key] / before[key])) for key, name in COUNTS.items()]
    rows.append((f"measured, ms ({document['backend']})", *(f"{one['milliseconds']:.0f}" for one in (before, after)),
                 f"{before['milliseconds'] / after['milliseconds']:.2f} x faster"))
    if "mAP" in after:
        maps = before["mAP"]["voc07"], after["mAP"]["voc07"]
        rows.append((f"VOC07 on {document['validation']['split']}", *map(points, maps), f"{100 * (maps[1] - maps[0]):+.2f} points"))
    repaired = f"repaired from {step['repaired_from']} images" if step["repaired_from"] else "not repaired"
    return "\n".join([layers, "", table(("", "before", "after", "left"), rows), "",
                      f"{document['file']}: {document['architecture']} by {step['method']}, {repaired}"])

"""How long Tucker's chains take against the convolution they replace: on both backends of the engine, in torch and in ncnn.

A 3 x 3 convolution, and in its place 1 x 1 to half or three eighths of the channels, 3 x 3 on these, 1 x 1 back; random weights,
float32, batch 1. Each engine runs in a process of its own with as many threads as there are cores. Its input is in the memory order it
computes in, and it may leave its output so, as in the middle of a network; torch runs in both of its memory formats. Outputs are
compared with torch's first. Then the engines take turns; in a turn the layer and its chains run one after the other, several times, and
ratios are of neighbours.

For our two backends the table also shows what ``minicnn.fast.timing`` predicts for each row: by rates fitted to the rows of all other
shapes and ranks, and by those that ``calibrate`` measured beforehand, on no shape of the table.

    python bench/chains.py
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
from engines import blas, threading_layer, versions
from ncnn_files import open_ncnn, write_ncnn
from record import record, table
from spread import quartiles, ratios, text_with_quartiles
from turns import CORES, ask_all, end_all, start, turn, use_all_cores

from minicnn.compiled_code import compiled_folder
from minicnn.fast.timing import calibrate
from minicnn.fast.timing.calibration import fit_rates
from minicnn.fast.timing.cost_model import amounts
from minicnn.functional import dispatch
from minicnn.layers import Conv2d, ReLU, Sequential, tucker_chain

PACKAGES = {"numba": ("minicnn", "numpy", "numba"), "numpy": ("minicnn", "numpy"), "torch": ("torch",), "torch_channels_last": ("torch",),
            "ncnn": ("ncnn",)}
OURS, TORCH = ("numba", "numpy"), ("torch", "torch_channels_last")
REPEATS = 3             # of a layer and its chains in one turn, after a first that is not counted
NCNN_PACK = 8           # channels that ncnn keeps side by side
RELATIVE = 1e-4         # the most that outputs may differ by, of the largest value
ERROR = 0.2             # the most that a prediction may be wrong by
RANKS = {"whole": None, "half": 1 / 2, "three eighths": 3 / 8}


class Convolution(NamedTuple):
    """A convolution of the table; relu: the RPN's, whose activation is computed with it."""

    channels: int
    height: int
    width: int
    relu: bool = False

    @property
    def shape(self):
        return 1, self.channels, self.height, self.width

    @property
    def title(self):
        return f"{self.channels} → {self.channels} at {self.height} × {self.width}{', ReLU (the RPN’s)' if self.relu else ''}"

    def networks(self):
        """The layer and its chains, with the same weights in every process."""
        return [self.network(share) for share in RANKS.values()]

    def network(self, share):
        rng = np.random.default_rng(0)
        layer = Conv2d(self.channels, self.channels, 3, padding=1, rng=rng)
        layers = [layer] if share is None else [part for _, part in tucker_chain(layer, int(share * self.channels), rng).children()]
        return Sequential(layers + [ReLU()] * self.relu)

    def input(self):
        return np.random.default_rng(1).standard_normal(self.shape, np.float32)


LAYERS = [Convolution(channels, *sides) for channels in (256, 512) for sides in ((100, 136), (50, 68), (38, 50))]
LAYERS.append(Convolution(512, 38, 50, relu=True))
LIMITS = {(LAYERS[4], "half"): (0.75, 0.70), (LAYERS[4], "three eighths"): (0.55, 0.48)}        # on Numba: (at most, the goal)


# the engines: a maker takes a network, an input and a folder, and returns a function that runs the network, and one that converts its
# output to (N, C, H, W)

def make_ours(network, x, folder):
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return lambda: dispatch.run(network, x), np.asarray


def make_torch(memory_format):
    def make(network, x, folder):
        import torch
        torch.set_num_threads(CORES)
        module = torch.nn.Sequential(*(torch_layer(layer) for _, layer in network.children()))
        module, x = (each.to(memory_format=getattr(torch, memory_format)) for each in (module, torch.from_numpy(x)))

        @torch.inference_mode()
        def run():
            return module(x)
        return run, lambda y: y.numpy()
    return make


def torch_layer(layer):
    import torch
    if isinstance(layer, ReLU):
        return torch.nn.ReLU(inplace=True)
    twin = torch.nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding, bias=layer.bias is not None)
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in layer.named_arrays()})
    return twin


def make_ncnn(network, x, folder):
    import ncnn
    write_ncnn(network.children(), x.shape, folder)
    net, output = open_ncnn(folder, CORES)
    packed = ncnn.convert_packing(ncnn.Mat(x[0]), NCNN_PACK)

    def run():
        extractor = net.create_extractor()
        extractor.input("input", packed)
        return extractor.extract(output, 1)[1]              # 1: in its own memory order
    return run, lambda y: np.array(ncnn.convert_packing(y, 1))[None]


MAKERS = {"numba": make_ours, "numpy": make_ours, "torch": make_torch("contiguous_format"),
          "torch_channels_last": make_torch("channels_last"), "ncnn": make_ncnn}


@contextlib.contextmanager
def contestant(engine, folder):
    """An engine that answers "show" with a layer's outputs, "time" with its milliseconds, "facts" with what is recorded of it.

    The first two take the layer's index in ``LAYERS``.
    """
    with dispatch.use(engine if engine in OURS else None):
        rates = {"rates": calibrate(engine)} if engine in OURS else {}
        runs = [[MAKERS[engine](network, layer.input(), folder) for network in layer.networks()] for layer in LAYERS]

        def show(layer):
            return [convert(run()) for run, convert in runs[layer]]

        def milliseconds(layer):
            return times([run for run, _ in runs[layer]])
        yield {"show": show, "time": milliseconds, "facts": lambda: {**rates, **facts_of(engine)}}


def facts_of(engine):
    """Versions, BLAS and threading layer in this process."""
    facts = {"versions": versions(PACKAGES[engine])}
    if engine in OURS:
        facts["blas"] = blas()
    if engine == "numba":
        facts["threading_layer"] = threading_layer()
    return facts


def times(runs):
    """Milliseconds of functions that run one after the other, a list for each round."""
    rounds = []
    for _ in range(REPEATS + 1):
        rounds.append([])
        for run in runs:
            start = time.perf_counter()
            y = run()
            rounds[-1].append(1000 * (time.perf_counter() - start))
            del y
    return rounds[1:]


# the measurement

def measure(engines, runs, folder):
    """The rows of all engines, and {engine: facts}."""
    for engine in engines:
        (folder / engine).mkdir()
    workers = start({engine: (contestant, engine, folder / engine) for engine in engines})
    differences = [checked(workers, i) for i in range(len(LAYERS))]
    found = {engine: [[] for _ in LAYERS] for engine in engines}
    for number in range(1, runs + 1):
        for i in range(len(LAYERS)):
            for engine, rounds in turn(workers, "time", i).items():
                found[engine][i] += rounds
        print(f"turn {number} of {runs}", file=sys.stderr)
    facts = ask_all(workers, "facts")
    end_all(workers)
    rows = []
    for engine in engines:
        own = rows_of(engine, found[engine], [of_engine[engine] for of_engine in differences])
        rows += predicted(own, facts[engine]["rates"]) if engine in OURS else own
    return rows, facts


def checked(workers, i):
    """{engine: how far its outputs for a layer are from torch's}; exits if one is further than allowed."""
    outputs = ask_all(workers, "show", i)
    differences = {}
    for engine, found in outputs.items():
        differences[engine] = [float(np.abs(a - b).max() / np.abs(b).max()) if a.shape == b.shape else np.inf
                               for a, b in zip(found, outputs["torch"])]
        if not max(differences[engine]) <= RELATIVE:
            sys.exit(f"{LAYERS[i].title}: {engine} differs from torch by {differences[engine]} of the largest value")
    return differences


def rows_of(engine, found, differences):
    """An engine's rows: of each layer, and within it of each rank.

    Args:
        engine: its name.
        found: milliseconds (layer, round, rank).
        differences: from torch's outputs (layer, rank).
    """
    level = steady(found)
    return [{**row(engine, layer, rank, column, found[i], differences[i][column]), "steady_ms": level[i][column]}
            for i, layer in enumerate(LAYERS) for column, rank in enumerate(RANKS)]


def steady(found):
    """Milliseconds (layer, rank) from those of (layer, round, rank), corrected for a machine that is now faster, now slower.

    Each is divided by the median of all in its round, which were timed within seconds; then the median over the rounds is taken.
    """
    found = np.array(found)
    level = np.median(found, axis=(0, 2), keepdims=True)
    return (np.median(found / level, axis=1) * np.median(level)).tolist()


def row(engine, layer, rank, column, rounds, difference):
    """A row of the table; ratios are of neighbours in a round."""
    ms = [milliseconds[column] for milliseconds in rounds]
    to_whole = ratios(ms, [milliseconds[0] for milliseconds in rounds])
    return {"engine": engine, **layer._asdict(), "rank": rank, "median_ms": statistics.median(ms), "spread": quartiles(ms),
            "ratio_to_whole": statistics.median(to_whole), "ratio_to_whole_spread": quartiles(to_whole),
            "limit": LIMITS.get((layer, rank)) if engine == "numba" else None, "difference": difference, "ms": ms}


def predicted(rows, rates):
    """The rows of one of our backends with predictions for each: from the other rows, and from the machine's rates."""
    work = [amounts(layer.network(share), layer.shape, rows[0]["engine"]) for layer in LAYERS for share in RANKS.values()]
    for row, its_work in zip(rows, work):
        # neither from itself nor from the row that differs by ReLU alone
        others = fit_rates([(other, its_row["steady_ms"]) for its_row, other in zip(rows, work) if other != its_work])
        for name, speeds in (("from_others", others), ("calibrated", rates)):
            row[f"{name}_ms"] = sum(speeds[kind] * amount for kind, amount in its_work.items())
            row[f"{name}_error"] = row[f"{name}_ms"] / row["steady_ms"] - 1
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=11, help="turns, at least 2 (default: 11)")
    parser.add_argument("--engines", nargs="+", choices=MAKERS,
                        help="these and torch alone; the figures are then printed, not recorded (default: all that are installed)")
    args = parser.parse_args()
    if args.runs < 2:
        parser.error("--runs must be at least 2")
    missing = [engine for engine in MAKERS if len(versions(PACKAGES[engine])) < len(PACKAGES[engine])]
    if "torch" in missing:
        sys.exit("torch is what the others are compared with. Run pip install 'minicnn[bench]'.")
    engines = [engine for engine in MAKERS
               if engine not in missing and (args.engines is None or engine in args.engines or engine == "torch")]
    use_all_cores()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("NUMBA_CACHE_DIR", str(compiled_folder() or ""))          # compiled code is kept
        os.environ["MINICNN_CACHE"] = folder            # without what `minicnn tune` found here
        rows, facts = measure(engines, args.runs, Path(folder))
    document = {"question": "milliseconds of a 3 x 3 convolution and of its Tucker chains, float32, batch 1, equal threads",
                "threads": CORES, "left_out": missing, "engines": facts, "rows": rows}
    if args.engines is None:
        packages = {package for engine in engines for package in PACKAGES[engine]} - {"minicnn", "numpy"}
        record("chains", document, sorted(packages))
    else:
        print(markdown(document))
    if slow := misses(rows):
        sys.exit("\n".join(["outside the limits", *slow]))


def misses(rows):
    """A line for each figure outside its limit."""
    title = "{engine}, {channels} at {height} x {width}, {rank}".format
    return [f"{title(**row)}: {row['ratio_to_whole']:.2f} of the whole layer, must be at most {row['limit'][0]}"
            for row in rows if row["limit"] and row["ratio_to_whole"] > row["limit"][0]] + \
        [f"{title(**row)}: predicted with an error of {row['from_others_error']:+.0%}, must be at most {ERROR:.0%}"
         for row in rows if abs(row.get("from_others_error", 0)) > ERROR]


# the published table

TITLES = {"numba": "minicnn, Numba", "numpy": "minicnn, NumPy", "torch": "torch", "ncnn": "ncnn"}


def markdown(document):
    """The published table, and the figures that have limits."""
    rows = {}
    for row in document["rows"]:
        rows.setdefault((row["engine"], layer_of(row)), {})[row["rank"]] = row
    engines = {row["engine"] for row in document["rows"]}
    headers = ["a 3 × 3 convolution: whole, and over it its chains at half and three eighths of the channels as ranks",
               *(title for engine, title in TITLES.items() if engine in engines)]
    parts = [table(headers, [(layer.title, *cells(rows, layer)) for layer in LAYERS])]
    for row in document["rows"]:
        if row["limit"]:
            must, goal = row["limit"]
            parts.append(f"{TITLES[row['engine']]}, {layer_of(row).title}, {row['rank']} of the channels: "
                         f"{text_with_quartiles(row['ratio_to_whole'], row['ratio_to_whole_spread'])}, at most {must} (goal {goal}).")
    parts += [prediction_errors(engine, rows) for engine in OURS if engine in engines]
    return "\n\n".join(parts)


def cells(rows, layer):
    """A layer's cells, one for each engine: milliseconds of the whole layer, and the ratios of its chains; torch's faster format."""
    texts = []
    for engine in TITLES:
        formats = [rows[name, layer] for name in (TORCH if engine == "torch" else [engine]) if (name, layer) in rows]
        if formats:
            whole, *chains = min(formats, key=lambda ranks: sum(row["median_ms"] for row in ranks.values())).values()
            texts.append(", ".join([f"{whole['median_ms']:.1f} ms", *(f"{row['ratio_to_whole']:.2f}" for row in chains)]))
    return texts


def prediction_errors(engine, rows):
    """A sentence on how well the times of one of our backends are predicted."""
    own = [(row, ranks["whole"]) for (name, _), ranks in rows.items() if name == engine for row in ranks.values()]
    others, calibrated = (max(abs(row[f"{name}_error"]) for row, _ in own) for name in ("from_others", "calibrated"))
    of_ratios = max(abs(row["calibrated_ms"] / whole["calibrated_ms"] / row["ratio_to_whole"] - 1) for row, whole in own)
    return (f"{TITLES[engine]}, as `minicnn.fast.timing` predicts it: each of these times is within {others:.0%} of what follows from "
            f"the times of all other shapes and ranks (must: {ERROR:.0%}). By the rates that `calibrate` measured just before, on other "
            f"shapes, times are within {calibrated:.0%}, ratios within {of_ratios:.0%}.")


def layer_of(row):
    return Convolution(*(row[name] for name in Convolution._fields))


if __name__ == "__main__":
    main()

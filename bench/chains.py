"""How long Tucker's chains take against the convolution they replace: on both backends of the engine, in torch and in ncnn.

A 3 x 3 convolution, and in its place 1 x 1 to half or three eighths of the channels, 3 x 3 on these, 1 x 1 back; random weights,
float32, batch 1. Each engine runs in a process of its own with as many threads as there are cores. It is given its input in the memory
order it computes in and may leave its result so, as in the middle of a network; torch runs in both of its memory formats. Outputs are
held against torch's first. Then the engines take turns; in a turn the layer and its chains run one after the other, several times, and
ratios are of neighbours.

For our two backends the table also says what ``minicnn.fast.timing`` tells of each row: by rates fitted to the rows of all other shapes
and ranks, and by those that ``calibrate`` measured beforehand, on no shape of the table.

    python bench/chains.py
"""

import argparse
import multiprocessing
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
from peers import CORES, PAUSE, spread, with_quartiles  # it also clears the environment that the engines' processes inherit
from record import record, table

from minicnn.fast import timing
from minicnn.functional import dispatch
from minicnn.layers import Conv2d, ReLU, Sequential, tucker_chain

PACKAGES = {"numba": ("minicnn", "numpy", "numba"), "numpy": ("minicnn", "numpy"), "torch": ("torch",), "torch_channels_last": ("torch",),
            "ncnn": ("ncnn",)}
OURS, TORCH = ("numba", "numpy"), ("torch", "torch_channels_last")
REPEATS = 3             # of a layer and its chains in one turn, besides a first that is not counted
NCNN_MAGIC, NCNN_PACK = 7767517, 8
RELATIVE = 1e-4         # of the largest value: what outputs may differ by
ERROR = 0.2             # that a prediction may be wrong by
RANKS = {"whole": None, "half": 1 / 2, "three eighths": 3 / 8}


class Layer(NamedTuple):
    """A layer of the table; relu: the RPN's, whose activation is computed with it."""

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


LAYERS = [Layer(channels, *sides) for channels in (256, 512) for sides in ((100, 136), (50, 68), (38, 50))]
LAYERS.append(Layer(512, 38, 50, relu=True))
LIMITS = {(LAYERS[4], "half"): (0.75, 0.70), (LAYERS[4], "three eighths"): (0.55, 0.48)}        # on Numba: at most, and the goal


# the engines: a maker takes a network and an input, and returns a function that runs it, one that gives the result as (N, C, H, W)

def make_ours(network, x, folder):
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return lambda: dispatch.run(network, x), np.asarray


def make_torch(memory_format):
    def make(network, x, folder):
        import torch
        torch.set_num_threads(CORES)
        module = torch.nn.Sequential(*(torch_layer(layer) for _, layer in network.children()))
        module, x = (one.to(memory_format=getattr(torch, memory_format)) for one in (module, torch.from_numpy(x)))

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
    write_ncnn(network, x.shape, folder)
    net = ncnn.Net()
    net.opt.num_threads = CORES
    for name in ("winograd_convolution", "sgemm_convolution", "packing_layout"):
        setattr(net.opt, f"use_{name}", True)
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):      # the precision of all others
        setattr(net.opt, f"use_{name}", False)
    net.load_param(str(folder / "ncnn.param"))
    net.load_model(str(folder / "ncnn.bin"))
    output, = net.output_names()
    packed = ncnn.convert_packing(ncnn.Mat(x[0]), NCNN_PACK)

    def run():
        extractor = net.create_extractor()
        extractor.input("input", packed)
        return extractor.extract(output, 1)[1]              # 1: in its own memory order
    return run, lambda y: np.array(ncnn.convert_packing(y, 1))[None]


def write_ncnn(network, shape, folder):
    """A network as ncnn's two files: a line a layer, ReLU in the convolution before it; the weights one after the other."""
    _, channels, height, width = shape
    lines, last = [f"Input input 0 1 input 0={width} 1={height} 2={channels}"], "input"
    layers = [layer for _, layer in network.children()]
    with open(folder / "ncnn.bin", "wb") as weights:
        for i, (layer, after) in enumerate(zip(layers, [*layers[1:], None])):
            if isinstance(layer, Conv2d):
                lines.append(f"Convolution conv{i} 1 1 {last} conv{i} 0={layer.out_channels} 1={layer.kernel_size[0]} 4={layer.padding[0]} "
                             f"5={int(layer.bias is not None)} 6={layer.weight.size} 9={int(isinstance(after, ReLU))}")
                weights.write(bytes(4))                     # a tag: float32 as it is
                weights.write(b"".join(array.tobytes() for _, array in layer.named_arrays()))
                last = f"conv{i}"
    (folder / "ncnn.param").write_text("\n".join([str(NCNN_MAGIC), f"{len(lines)} {len(lines)}", *lines, ""]))


MAKERS = {"numba": make_ours, "numpy": make_ours, "torch": make_torch("contiguous_format"),
          "torch_channels_last": make_torch("channels_last"), "ncnn": make_ncnn}


def work(engine, folder, orders):
    """An engine's process. It answers ("show", layer) with the outputs, ("time", layer) with milliseconds, "end" with what it knows."""
    folder = Path(folder)
    with dispatch.use(engine if engine in OURS else None):
        facts = {"rates": timing.calibrate(engine)} if engine in OURS else {}
        runs = [[MAKERS[engine](network, layer.input(), folder) for network in layer.networks()] for layer in LAYERS]
        orders.send("ready")
        while (order := orders.recv()) != "end":
            what, layer = order
            orders.send([show(run()) for run, show in runs[layer]] if what == "show" else times([run for run, _ in runs[layer]]))
    facts["versions"] = versions(PACKAGES[engine])
    if engine in OURS:
        facts["blas"] = blas()
    if engine == "numba":
        facts["threading_layer"] = threading_layer()
    orders.send(facts)


def times(runs):
    """Milliseconds of functions that run in turn, a list for each round."""
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

class Process:
    """An engine's process, and the way to order from it."""

    def __init__(self, engine, folder):
        context = multiprocessing.get_context("spawn")
        self.engine = engine
        self.orders, far = context.Pipe()
        context.Process(target=work, args=(engine, folder, far), daemon=True).start()
        far.close()                         # so that the end of the process is noticed
        self.receive()

    def ask(self, *order):
        self.orders.send(order[0] if order == ("end",) else order)
        return self.receive()

    def receive(self):
        try:
            return self.orders.recv()
        except EOFError:
            sys.exit(f"{self.engine}: its process has ended; its message is above")


def measure(engines, runs, folder):
    """The rows of all engines."""
    processes = {}
    for engine in engines:
        (folder / engine).mkdir()
        processes[engine] = Process(engine, folder / engine)
    differences = {(engine, i): found for i in range(len(LAYERS)) for engine, found in checked(processes, i).items()}
    found = {(engine, i): [] for engine in engines for i in range(len(LAYERS))}
    for turn in range(runs):
        for i in range(len(LAYERS)):
            for engine, process in processes.items():
                time.sleep(PAUSE)           # by then the threads of the last one have stopped waiting awake
                found[engine, i] += process.ask("time", i)
        print(f"turn {turn + 1} of {runs}", file=sys.stderr)
    facts = {engine: process.ask("end") for engine, process in processes.items()}
    rows = []
    for engine in engines:
        level = steady([found[engine, i] for i in range(len(LAYERS))])
        own = [{**row(engine, layer, rank, column, found[engine, i], differences[engine, i][column]), "steady_ms": level[i][column]}
               for i, layer in enumerate(LAYERS) for column, rank in enumerate(RANKS)]
        rows += predicted(own, facts[engine]["rates"]) if engine in OURS else own
    return rows, facts


def checked(processes, i):
    """How far the outputs for one layer are from torch's, by engine; the end if they are not the same."""
    outputs = {engine: process.ask("show", i) for engine, process in processes.items()}
    differences = {}
    for engine, found in outputs.items():
        differences[engine] = [float(np.abs(a - b).max() / np.abs(b).max()) if a.shape == b.shape else np.inf
                               for a, b in zip(found, outputs["torch"])]
        if not max(differences[engine]) <= RELATIVE:
            sys.exit(f"{LAYERS[i].title}: {engine} differs from torch by {differences[engine]} of the largest value")
    return differences


def steady(found):
    """Milliseconds (layer, rank), of (layer, round, rank), at one speed of the machine, which is now faster, now slower.

    Each is divided by the median of all in its round, which were timed within seconds; then the median over the rounds is taken.
    """
    found = np.array(found)
    level = np.median(found, axis=(0, 2), keepdims=True)
    return (np.median(found / level, axis=1) * np.median(level)).tolist()


def row(engine, layer, rank, column, rounds, difference):
    """A row of the table; ratios are of neighbours in a round."""
    ms = [one[column] for one in rounds]
    ratios = [one[column] / one[0] for one in rounds]
    return {"engine": engine, **layer._asdict(), "rank": rank, "median_ms": statistics.median(ms), "spread": spread(ms),
            "ratio_to_whole": statistics.median(ratios), "ratio_to_whole_spread": spread(ratios),
            "limit": LIMITS.get((layer, rank)) if engine == "numba" else None, "difference": difference, "ms": ms}


def predicted(rows, rates):
    """The rows of one of our backends with what is told of them: from the other rows, and by the machine's rates."""
    done = [timing.amounts(layer.network(share), layer.shape, rows[0]["engine"]) for layer in LAYERS for share in RANKS.values()]
    for one, amounts in zip(rows, done):
        # without what only differs by ReLU, too
        others = timing.fit([(other, row["steady_ms"]) for row, other in zip(rows, done) if other != amounts])
        for name, some in (("from_others", others), ("calibrated", rates)):
            one[f"{name}_ms"] = sum(some[kind] * amount for kind, amount in amounts.items())
            one[f"{name}_error"] = one[f"{name}_ms"] / one["steady_ms"] - 1
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
        sys.exit("torch is what the others are held against. Run pip install 'minicnn[bench]'.")
    engines = [engine for engine in MAKERS
               if engine not in missing and (args.engines is None or engine in args.engines or engine == "torch")]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINICNN_CACHE"] = folder            # nothing that was tuned here before
        rows, facts = measure(engines, args.runs, Path(folder))
    document = {"question": "milliseconds of a 3 x 3 convolution and of its Tucker chains, float32, batch 1, equal threads",
                "threads": CORES, "left_out": missing, "engines": facts, "rows": rows}
    slow = misses(rows)
    if args.engines is None:
        packages = {package for engine in engines for package in PACKAGES[engine]} - {"minicnn", "numpy"}
        record("chains", document, sorted(packages))
    else:
        print(markdown(document))
    if slow:
        sys.exit("\n".join(["not as it must be", *slow]))


def misses(rows):
    """What is not as it must be, a line each."""
    title = "{engine}, {channels} at {height} x {width}, {rank}".format
    return [f"{title(**one)}: {one['ratio_to_whole']:.2f} of the whole layer, must be at most {one['limit'][0]}"
            for one in rows if one["limit"] and one["ratio_to_whole"] > one["limit"][0]] + \
        [f"{title(**one)}: predicted with an error of {one['from_others_error']:+.0%}, must be at most {ERROR:.0%}"
         for one in rows if abs(one.get("from_others_error", 0)) > ERROR]


# the README

def markdown(document):
    """The README's table, and what it must show."""
    rows = {}
    for one in document["rows"]:
        rows.setdefault((one["engine"], layer_of(one)), {})[one["rank"]] = one
    engines = list(dict.fromkeys(one["engine"] for one in document["rows"]))
    titles = {"numba": "minicnn, Numba", "numpy": "minicnn, NumPy", "torch": "torch", "ncnn": "ncnn"}
    lines = []
    for layer in LAYERS:
        cells = []
        for engine in titles:
            candidates = [rows[one, layer] for one in (TORCH if engine == "torch" else [engine]) if one in engines]
            if candidates:
                best = min(candidates, key=lambda found: sum(one["median_ms"] for one in found.values()))
                whole, *chains = best.values()
                cells.append(", ".join([f"{whole['median_ms']:.1f} ms", *(f"{one['ratio_to_whole']:.2f}" for one in chains)]))
        lines.append((layer.title, *cells))
    headers = ["a 3 × 3 convolution: whole, and over it its chains at half and three eighths of the channels as ranks",
               *(title for engine, title in titles.items() if engine in engines)]
    parts = [table(headers, lines)]
    for one in document["rows"]:
        if one["limit"]:
            must, goal = one["limit"]
            parts.append(f"{titles[one['engine']]}, {layer_of(one).title}, {one['rank']} of the channels: "
                         f"{with_quartiles(one['ratio_to_whole'], one['ratio_to_whole_spread'], '{:.2f}'.format)}, "
                         f"at most {must} (goal {goal}).")
    for engine in OURS:
        own = [one for one in document["rows"] if one["engine"] == engine]
        if own:
            worst, calibrated = (max(abs(one[f"{name}_error"]) for one in own) for name in ("from_others", "calibrated"))
            ratios = max(abs(one["calibrated_ms"] / rows[engine, layer_of(one)]["whole"]["calibrated_ms"] / one["ratio_to_whole"] - 1)
                         for one in own)
            parts.append(f"{titles[engine]}, as `minicnn.fast.timing` tells it: each of these times is within {worst:.0%} of what the "
                         f"times of all other shapes and ranks make of it (must: {ERROR:.0%}). By the rates that `calibrate` measured just "
                         f"before, on other shapes, times are within {calibrated:.0%}, ratios within {ratios:.0%}.")
    return "\n\n".join(parts)


def layer_of(row):
    return Layer(*(row[name] for name in Layer._fields))


if __name__ == "__main__":
    main()

"""Is a choice for each 1x1 convolution better than the same form everywhere, at equal latency?

Keyword spotting as int8 on a Cortex-M4 at -O3, calibrated and fitted on the first 250 samples of kws.npz.
"error" is the mean squared change of the outputs in front of the softmax against the dense int8
network, over their variance; "accuracy" is top-1; both on the last 250 samples. "cycles" are of the
whole network, built and run on the emulated core. The same form everywhere: the most blocks
(prune-blocks, steps of 2 %) and the highest rank (low-rank, multiples of 4, for which kernels are
fast) that keep the limit. Then the speed of
low-rank layers against what their multiply-accumulates predict. Writes results/pointwise.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.cachedir import user_records
from tinycc_nn.cost import Costs
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import Array
from tinycc_nn.levels import default_pipeline
from tinycc_nn.onnx import read_model
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.pruning.forms import is_pointwise
from tinycc_nn.pruning.layers import is_layer, real, total_macs
from tinycc_nn.reference import run
from tinycc_nn.target import Target
from tinycc_nn.training.watch import Recorder, Watcher

RESULTS = Path(__file__).parent / "results" / "pointwise.md"
LATENCY = 0.7
LEVEL = "O3"
"""Below, the flash that kernels may take shrinks with the network, and with it their speed."""

RANKS = (32, 24, 16, 8)
STEPS = 50
"""Densities of blocks that are tried, evenly spaced."""


@dataclass(frozen=True)
class Bench:
    """The float network, its samples [500, *input] and labels, costs."""

    network: Graph
    x: Array
    labels: Array
    costs: Costs

    def after(self, graph: Graph, pipeline: str, watcher: Watcher | None = None) -> Graph:
        """The graph after passes that may look at the first 250 samples."""
        (name,) = (v.name for v in graph.inputs)
        context = Context({name: self.x[:250]}, watcher=watcher or Watcher(), costs=self.costs)
        for p in parse_pipeline(pipeline):
            graph = p(graph, context)
        return graph

    def outputs(self, graph: Graph) -> tuple[Array, Array]:
        """What goes into the softmax, real numbers, and the classes, of the last 250 samples."""
        shown = graph.clone()
        (y,) = shown.outputs
        assert y.owner is not None and y.owner.name == "softmax"
        before = y.owner.operands[0]
        shown.outputs = [before, y]
        given = stored_inputs(shown, {shown.inputs[0].name: self.x[250:]})
        logits, found = run(shown, given)
        return real(before, logits).reshape(250, -1), found.reshape(250, -1).argmax(axis=1)


def highest(limit: int, costs: Costs, count: int, make: Callable[[int], Graph]) -> int:
    """The greatest number below `count` whose network keeps the limit."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if costs.built(make(middle)) <= limit else (low, middle)
    return low


def compare(bench: Bench) -> list[str]:
    """The table of whole networks, and that of select-pointwise."""
    lossless = default_pipeline("O2", "float32")
    quantize = default_pipeline("O2", "int8").partition("dead-code, ")[2]
    floats = bench.after(bench.network, lossless)
    dense = bench.after(floats, quantize)
    cycles = bench.costs.built(dense)
    limit = int(LATENCY * cycles)
    points = [op.result.name for op in dense.ops if is_pointwise(op)]
    others = [op.result.name for op in dense.ops if is_layer(op) and not is_pointwise(op)]

    def blocks(step: int, more: str = "") -> Graph:
        ratio = 1 - (step + 1) / (STEPS + 1)
        skip = ",".join(others)
        return bench.after(dense, f"prune-blocks{{ratio={ratio:.4f}, skip=[{skip}]{more}}}")

    def ranks(rank: int, more: str = "") -> Graph:
        names = ",".join(op.result.name for op in floats.ops if is_pointwise(op))
        text = f"low-rank{{rank={rank}, layers=[{names}]{more}}}, {quantize}"
        return bench.after(floats, text)

    # What is fitted changes values, not cycles: the search for the limit goes without.
    unfitted = ", criterion=magnitude, reconstruct=false"
    density = highest(limit, bench.costs, STEPS, lambda step: blocks(step, unfitted))
    plain = ((n, ranks(n, ", calibrate=false")) for n in range(32, 0, -4))
    rank = next(n for n, graph in plain if bench.costs.built(graph) <= limit)
    sparse, thin = blocks(density), ranks(rank)
    seen = Recorder(Watcher())
    chosen = bench.after(dense, f"select-pointwise{{latency={LATENCY}}}", seen)
    lines = [f"Layers: {', '.join(points)}. Limit: {limit:,} cycles.", ""]
    lines += ["| network | cycles | of dense | error | accuracy, % |", "|---|---|---|---|---|"]
    reference = bench.outputs(dense)[0]
    for name, graph in (
        ("dense int8", dense),
        (f"the same blocks everywhere, {(density + 1) / (STEPS + 1):.0%} stay", sparse),
        (f"the same rank everywhere, {rank}", thin),
        (f"select-pointwise{{latency={LATENCY}}}", chosen),
    ):
        logits, classes = bench.outputs(graph)
        change = float(np.square(logits - reference).mean() / reference.var(axis=0).mean())
        now = bench.costs.built(graph)
        right = 100 * float(np.mean(classes == bench.labels[250:]))
        lines.append(f"| {name} | {now:,} | {now / cycles:.3f} | {change:.4f} | {right:.1f} |")
    return [*lines, "", "```", *seen.notes, "```", ""]


def speeds(bench: Bench) -> list[str]:
    """Low-rank layers of the float network's shapes, as int8: predicted and measured."""
    lossless = default_pipeline("O2", "float32")
    quantize = default_pipeline("O2", "int8").partition("dead-code, ")[2]
    floats = bench.after(bench.network, lossless)
    name = next(op.result.name for op in floats.ops if is_pointwise(op))
    dense = bench.after(floats, quantize)
    whole, macs = _layers(bench, dense), total_macs(dense)
    least = min(
        op.type.size * op.operands[1].type.shape[-1] for op in dense.ops if is_pointwise(op)
    )
    before = bench.costs.measured(dense)[name].cycles
    lines = ["| rank of 64 -> 64 | by MACs | measured cycles | measured |", "|---|---|---|---|"]
    lines.append(f"| dense | 1.00 | {before:,.0f} | 1.00 |")
    for rank in RANKS:
        text = f"low-rank{{rank={rank}, layers=[{name}]}}, {quantize}"
        graph = bench.after(floats, text)
        now = before + _layers(bench, graph) - whole
        part = (least + total_macs(graph) - macs) / least
        lines.append(f"| {rank} | {part:.2f} | {now:,.0f} | {now / before:.2f} |")
    return lines


def _layers(bench: Bench, graph: Graph) -> float:
    return sum(c.cycles for c in bench.costs.measured(graph).values())


def write(sections: Sequence[str]) -> None:
    assert __doc__ is not None
    head = ["# 1x1 convolutions in several forms", "", __doc__.strip(), ""]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join([*head, "`python benchmarks/pointwise.py --data DIR`", "", *sections, ""]))  # fmt: skip


def main() -> None:
    """Measure, print, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="with data/ and models/ in it")
    folder: Path = parser.parse_args().data
    arrays = np.load(folder / "data" / "kws.npz")
    network = read_model(folder / "models" / "kws_dscnn.onnx", {})
    x = arrays["x"].astype(np.float32).reshape(-1, *network.inputs[0].type.shape)
    options = BackendOptions("kws", LEVEL, records=user_records())
    costs = load_backend("tvm").costs(Target.for_cpu("cortex-m4"), options)
    bench = Bench(network, x, arrays["y"], costs)
    console = Console()
    sections: list[str] = []
    for part in (speeds, compare):
        sections += [*part(bench), ""]
        console.print("\n".join(sections), markup=False, soft_wrap=True)
        write(sections)


if __name__ == "__main__":
    main()

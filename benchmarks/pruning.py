"""How much accuracy do the pruning and structure passes cost, without training?

Keyword spotting and image classification, in the interpreter: accuracy in percent of the float
network after the passes, and after `quantize` too, beside the multiply-accumulates (MACs) and the
weights other than 0 that are left. Fitted on 250 samples, none of which is used for evaluation.
Zeros in place make nothing faster by themselves: after prune-weights and prune-blocks the MACs
still count them. "seconds" is the time of the passes. Writes results/pruning.md.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import Array
from tinycc_nn.levels import default_pipeline
from tinycc_nn.onnx import read_model
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.pruning.layers import is_layer, total_macs, weights_of
from tinycc_nn.reference import run

RESULTS = Path(__file__).parent / "results" / "pruning.md"
CHANNELS = tuple(
    f"prune-channels{{macs={macs}{more}}}"
    for macs in (0.8, 0.7, 0.5)
    for more in ("", ", reconstruct=false")
)
CRITERIA = tuple(
    f"prune-channels{{macs=0.7, {more}}}"
    for more in ("criterion=l1", "criterion=l2", "criterion=sensitivity", "scope=layer")
)
SPARSE = (
    "prune-weights{criterion=magnitude, reconstruct=false}",
    "prune-weights",
    "prune-weights{ratio=0.7}",
    "prune-blocks{criterion=magnitude, reconstruct=false}",
    "prune-blocks",
    "prune-blocks{n_m=[2,4]}",
)
STRUCTURE = {
    "KWS": ("low-rank{macs=0.8}", "low-rank{macs=0.7}", "low-rank{macs=0.7, calibrate=false}"),
    "IC": (
        *(f"separate-conv{{terms={n}}}" for n in (2, 3, 4)),
        *(f"separate-conv{{macs={part}}}" for part in (0.6, 0.45)),
    ),
}
COLUMNS = ("passes", "MACs, %", "weights, %", "float, %", "int8, %", "seconds")


@dataclass(frozen=True)
class Case:
    """A float network, samples [n, *input] to fit and to evaluate on, and labels of the latter."""

    graph: Graph
    calib: Array
    x: Array
    labels: Array

    def after(self, graph: Graph, pipeline: str) -> Graph:
        """The graph after passes that may look at the calibration samples."""
        context = Context({graph.inputs[0].name: self.calib})
        for p in parse_pipeline(pipeline):
            graph = p(graph, context)
        return graph

    def accuracy(self, graph: Graph) -> float:
        """Top-1 in percent."""
        y = run(graph, {graph.inputs[0].name: self.x})[0].reshape(len(self.x), -1)
        return float(100 * np.mean(y.argmax(axis=1) == self.labels))

    def row(self, pipeline: str) -> list[str]:
        """A row of the table."""
        started = time.perf_counter()
        graph = self.after(self.graph, pipeline)
        seconds = time.perf_counter() - started
        quantized = self.after(graph, "quantize")
        numbers = (
            100 * total_macs(graph) / total_macs(self.graph),
            100 * nonzero(graph) / nonzero(self.graph),
            self.accuracy(graph),
            self.accuracy(quantized),
        )
        return [pipeline or "none", *(f"{n:.1f}" for n in numbers), f"{seconds:.1f}"]


def nonzero(graph: Graph) -> int:
    """Weights other than 0."""
    return sum(int(np.count_nonzero(weights_of(op))) for op in graph.ops if is_layer(op))


def cases(folder: Path) -> dict[str, Case]:
    kws, cifar = (np.load(folder / "data" / f"{n}.npz") for n in ("kws", "cifar10"))
    x, y = kws["x"][:, None], kws["y"]
    train = cifar["train_x"][:250].astype(np.float32)[:, None]
    images = cifar["val_x"].astype(np.float32)[:, None]
    return {
        "KWS": Case(lossless(folder, "kws_dscnn"), x[:250], x[250:], y[250:]),
        "IC": Case(lossless(folder, "ic_resnet8"), train, images, cifar["val_y"]),
    }


def lossless(folder: Path, name: str) -> Graph:
    """A network as the passes of -O2 leave it, float."""
    graph = read_model(folder / "models" / f"{name}.onnx")
    for p in parse_pipeline(default_pipeline("O2", "float32")):
        graph = p(graph)
    return graph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with models/ and data/")
    parser.add_argument("--only", nargs="*", default=[], help="names of networks")
    given = parser.parse_args()
    console, lines = Console(width=150), []
    for name, case in cases(given.data).items():
        if given.only and name not in given.only:
            continue
        lines += [f"## {name}", "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        console.print("\n".join(lines[-4:]), highlight=False)
        for pipeline in ("", *CHANNELS, *CRITERIA, *SPARSE, *STRUCTURE[name]):
            lines.append(f"| {' | '.join(case.row(pipeline))} |")
            console.print(lines[-1], highlight=False, markup=False)
        lines.append("")
    if given.only:
        return
    text = f"# Pruning without training\n\n{__doc__.partition(chr(10) * 2)[2]}\n"
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text + "\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()

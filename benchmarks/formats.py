"""Which number format for weights, and how many bits?

For keyword spotting, image classification and anomaly detection: accuracy in percent (mean squared
error for anomaly detection) in the interpreter, with one scale for each channel and one for each
tensor, beside the bytes of packed weights and tables; and cycles on the emulated Cortex-M4 for some.
Activations are int8, calibrated on at most 250 samples; nothing is trained. Writes
results/formats.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from networks import Network, networks
from quantization import Case, cases
from rich.console import Console

from tinycc_nn.data import DataSpec
from tinycc_nn.driver import compile_model
from tinycc_nn.ir.graph import Graph
from tinycc_nn.models import Model
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import run
from tinycc_nn.report import Report
from tinycc_nn.request import Request
from tinycc_nn.target import Target

HERE = Path(__file__).parent
NETWORKS = ("KWS, %", "IC, %", "AD, squared error")
INTEGERS = ("fixed<8,0>", "i7", "i6", "i5", "i4", "i3", "i2")
POSITS = tuple(f"posit<{n},{es}>" for n in (8, 7, 6, 5, 4) for es in (0, 1, 2))
SHARED = tuple(f"book<{2**n}>" for n in (7, 6, 5, 4, 3, 2))
FORMATS = (*INTEGERS, *POSITS, *SHARED, "ternary", "binary")
OPTIMIZED = ("i7", "i6", "i5", "i4", "i3", "posit<6,0>", "posit<5,0>", "posit<5,1>", "posit<4,0>")
MIXED = ("auto:6", "auto:5", "auto:4", "auto:3")
MEASURED = (None, "i4", "i5", "posit<5,1>", "posit<8,0>", "ternary")


@dataclass(frozen=True)
class Score:
    """Accuracy in percent or mean squared error; bytes of packed weights with their tables."""

    value: float
    nbytes: int

    def __str__(self) -> str:
        digits = 2 if self.value > 10 else 4
        return f"{self.value:.{digits}f} ({self.nbytes:,})"


class Bench:
    """The networks with their weights in 12 bits, ready to be rounded to any format."""

    def __init__(self, data: Path, samples: int) -> None:
        self.cases = {k: shortened(c, samples) for k, c in cases(data).items()}

    @cache  # noqa: B019
    def source(self, network: str) -> Graph:
        return self.after(network, self.cases[network].graph, f"quantize{{{FINE}}}")

    def after(self, network: str, g: Graph, pipeline: str) -> Graph:
        case = self.cases[network]
        for p in parse_pipeline(pipeline):
            g = p(g, Context({case.graph.inputs[0].name: case.calib}))
        return g

    def score(self, network: str, options: str) -> Score:
        """After quantize-weights with these options."""
        g = self.after(network, self.source(network), f"quantize-weights{{{options}}}")
        return Score(evaluate(self.cases[network], g), weight_bytes(g))

    def before(self, network: str) -> tuple[float, Score]:
        """float32 and int8."""
        case = self.cases[network]
        g = self.after(network, case.graph, "quantize")
        return evaluate(case, case.graph), Score(evaluate(case, g), weight_bytes(g))


def shortened(case: Case, samples: int) -> Case:
    """With at most so many samples that are scored."""
    labels = None if case.labels is None else case.labels[:samples]
    return replace(case, x=case.x[:samples], labels=labels)


FINE = "weight_bits=12, weights=per-channel"


def evaluate(case: Case, g: Graph) -> float:
    """Accuracy in percent, or mean squared error of a network that reconstructs its input."""
    y = run(g, {g.inputs[0].name: case.x})[0].reshape(len(case.x), -1)
    if case.labels is None:
        return float(np.mean((y - case.x.reshape(y.shape)) ** 2))
    return float(100 * np.mean(y.argmax(axis=1) == case.labels))


def weight_bytes(g: Graph) -> int:
    """Packed weights, and each table once."""
    types = {op.operands[1] for op in g.ops if op.name in ("conv2d", "dense")}
    tables = {t.type.dtype: t.type.dtype.book for t in types}
    extra = sum(b.values.nbytes for b in tables.values() if b is not None and not b.signed)
    return sum(v.type.nbytes for v in types) + extra


def table(title: str, columns: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """A table in Markdown; its rows are printed as they come."""
    console = Console(width=200, highlight=False)
    lines = [f"## {title}", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    console.print("\n".join(lines))
    for cells in rows:
        lines.append(f"| {' | '.join(cells)} |")
        console.print(lines[-1])
    return "\n".join(lines) + "\n"


def baseline(bench: Bench) -> Iterator[Sequence[str]]:
    for network in NETWORKS:
        real, int8 = bench.before(network)
        fine = evaluate(bench.cases[network], bench.source(network))
        yield network, f"{real:.4f}", str(int8), f"{fine:.4f}"


def by_format(
    bench: Bench, formats: Sequence[str], rounding: str, granularities: Sequence[str]
) -> Iterator[Sequence[str]]:
    for text in formats:
        yield (
            text,
            *(
                str(bench.score(n, f'format="{text}", granularity={g}, rounding={rounding}'))
                for n in NETWORKS
                for g in granularities
            ),
        )


def by_cycles(data: Path) -> Iterator[Sequence[str]]:
    for network in networks(data)[:3]:
        yield row(network, "float32", compiled(network, None, "float32"))
        for text in MEASURED:
            yield row(network, text or "int8", compiled(network, text, None))


def compiled(network: Network, weights: str | None, dtype: str | None) -> Report:
    """The report for the Cortex-M4 at -O2."""
    calib = None if network.calib is None or dtype == "float32" else DataSpec.parse(network.calib)
    request = Request(
        Model.read(str(network.model)),
        network.name,
        Target.for_cpu("cortex-m4"),
        dtype=dtype,
        weights=weights,
        calib=calib,
        compared=4,
    )
    return compile_model(request).report


def row(network: Network, text: str, report: Report) -> Sequence[str]:
    m, bits = report.metrics, report.bit_exact
    constants = sum(layer.constant_bytes for layer in report.layers)
    assert bits is not None
    return (
        network.name, text, f"{m.cycles:,}", f"{m.flash_bytes:,}", f"{constants:,}",
        f"{m.arena_bytes:,}", f"{bits.mismatches} of {bits.samples} differ",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with models/ and data/")
    parser.add_argument("-o", type=Path, default=HERE / "results" / "formats.md")
    parser.add_argument("--samples", type=int, default=2000, help="that are scored, at most")
    parser.add_argument("--no-cycles", action="store_true", help="only accuracy and bytes")
    given = parser.parse_args()
    bench, grains = Bench(given.data, given.samples), ("channel", "tensor")
    both = ["format", *(f"{n.split(',')[0]} per {g}" for n in NETWORKS for g in grains)]
    single = ["format", *NETWORKS]
    parts = [
        table(
            "Before: float32, int8 (bytes of weights), weights in 12 bits",
            ("network", "float32", "int8", "12 bits"),
            baseline(bench),
        ),
        table(
            "Rounding optimized on calibration data, one scale for each channel (bytes)",
            single,
            by_format(bench, (*OPTIMIZED, *MIXED), "optimized", ("channel",)),
        ),
        table(
            "Every format, each weight to the nearest code (bytes of weights)",
            both,
            by_format(bench, FORMATS, "nearest", grains),
        ),
    ]
    if not given.no_cycles:
        parts.append(
            table(
                "Cycles on the Cortex-M4, -O2",
                ("network", "weights", "cycles", "flash", "constants", "arena", "bits"),
                by_cycles(given.data),
            )
        )
    given.o.parent.mkdir(exist_ok=True)
    head = f"# Number formats of weights\n\nScored on at most {given.samples} samples.\n\n"
    given.o.write_text(head + "\n".join(parts))


if __name__ == "__main__":
    main()

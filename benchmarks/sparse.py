"""From which density on do sparse kernels beat the best dense one?

Layers of random int8 weights whose blocks (4 inputs x 2 outputs; dense layers 4 x 4) are zero by
chance, exactly so many in all. Each kernel is built, run on the emulated core and held to the interpreter's
bits. "density" is the part of the blocks that is not zero. The break-even density is where a line
through the measurements meets the best dense kernel.

Then layers of which weights anywhere are zero by chance: blocks, a bitmap for flash (bitmap), and
weights as numbers in the code (inline-weights). Flash is instructions and constants of the layer; a
dash: the kernel isn't offered. The model of cycles has no wait states: where flash has some, code
without loops waits longer for its instructions than loops do. Writes results/sparse.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from tinycc_nn.backends.tvm.kernel import Kernel, candidates
from tinycc_nn.backends.tvm.tuning.measure import Measured, Task, measure_kernel
from tinycc_nn.backends.tvm.tuning.version import family_version
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import I8, Blob, Quant, TensorType
from tinycc_nn.ops import emit
from tinycc_nn.schedule import steps
from tinycc_nn.target import Target

RESULTS = Path(__file__).parent / "results" / "sparse.md"
DENSITIES = (0.75, 0.5, 0.25)
ANYWHERE = (0.25, 0.15, 0.1, 0.05)
FAMILIES = ("block_sparse", "bitmap", "inline_weights")
PROMISING = 1.35
"""Dense kernels are measured up to so many times the least estimate."""
COLUMNS = ("layer", "density", "kernel", "cycles", "of dense", "times faster", "flash", "scratch")


@dataclass(frozen=True)
class Case:
    """Pixels (1: a dense layer), inputs, outputs."""

    rows: int
    columns: int
    inputs: int
    outputs: int

    @property
    def is_dense(self) -> bool:
        return self.rows * self.columns == 1

    def __str__(self) -> str:
        kind = "dense" if self.is_dense else f"1x1, {self.rows}x{self.columns}"
        return f"{kind}, {self.inputs} -> {self.outputs}"

    def graph(self, density: float, *, anywhere: bool = False) -> Graph:
        """A network of the layer alone; zeros are `anywhere`, or in whole blocks."""
        random = np.random.default_rng(0)
        outputs, inputs = (1, 1) if anywhere else (4 if self.is_dense else 2, 4)
        w = random.integers(-127, 128, (self.outputs, self.inputs)).astype(np.int8)
        blocks = np.zeros((self.outputs // outputs, self.inputs // inputs), np.bool_)
        live = round(density * blocks.size)
        blocks.ravel()[random.permutation(blocks.size)[:live]] = True
        w *= np.repeat(np.repeat(blocks, outputs, 0), inputs, 1)
        g = Graph("net")
        shape = (1, self.inputs) if self.is_dense else (1, self.rows, self.columns, self.inputs)
        x = g.add_input("x", TensorType(I8, shape, Quant(0.05, 3)))
        scales = random.uniform(0.004, 0.008, self.outputs).astype(np.float32)
        stored = w if self.is_dense else w.reshape(self.outputs, 1, 1, self.inputs)
        weights = g.constant("w", stored, Quant(Blob("s", scales), 0, 0))
        bias = g.constant("b", random.integers(-300, 300, self.outputs).astype(np.int32))
        name = "dense" if self.is_dense else "conv2d"
        g.outputs = [emit(g, name, [x, weights, bias], result="y", quant=Quant(0.15, 0))]
        return g


CASES = (
    Case(25, 5, 64, 64),
    Case(6, 6, 128, 128),
    Case(1, 1, 640, 128),
    Case(1, 1, 128, 128),
)


SMALL = (Case(25, 5, 64, 64), Case(1, 1, 128, 128), Case(1, 1, 64, 10))


@dataclass(frozen=True)
class Row:
    """The fastest kernel of some, measured."""

    kernel: Kernel
    measured: Measured

    @property
    def flash(self) -> int:
        return self.kernel.constants + self.measured.text


def fastest(graph: Graph, target: Target, level: str, family: str | None = None) -> Row | None:
    """Of a family's kernels that look promising, by default of the dense ones; None if it has none."""
    (op,) = steps(graph)
    every = [
        (i, k)
        for i, k in enumerate(candidates(op, target))
        if (k.family not in FAMILIES if family is None else k.family == family)
    ]
    least = min((k.cycles for _, k in every), default=0.0)
    rows = []
    for i, kernel in every:
        if kernel.cycles <= PROMISING * least:
            task = Task(graph, i, family_version(kernel.family), target, "gcc", level)
            rows.append(Row(kernel, measure_kernel(task)))
    return min(rows, key=lambda r: r.measured.cycles, default=None)


def table(target: Target, level: str) -> Iterator[str]:
    """Markdown, line by line."""
    yield f"## {target.name}, -{level}"
    yield ""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|---" * len(COLUMNS) + "|"
    ends = []
    for case in CASES:
        best = fastest(case.graph(1.0), target, level)
        assert best is not None
        dense = best.measured.cycles
        yield _line(case, "1 (dense)", best, dense)
        points = []
        for density in DENSITIES:
            row = fastest(case.graph(density), target, level, "block_sparse")
            if row is None:
                continue
            points.append((density, row.measured.cycles))
            yield _line(case, f"{density:.2f}", row, dense)
        if not points:
            continue
        x, y = np.array(points, np.float64).T
        slope, offset = np.polyfit(x, y, 1)
        ends.append(f"{case}: {(dense - offset) / slope:.2f}")
    yield ""
    yield f"Break-even density: {'; '.join(ends)}."
    yield ""


def anywhere(target: Target, level: str) -> Iterator[str]:
    """Markdown, line by line: cycles and flash of each family for zeros anywhere."""
    columns = [x for f in ("dense", *FAMILIES) for x in (f.replace("_", "-"), "flash")]
    yield f"## {target.name}, -{level}, zeros anywhere"
    yield ""
    yield f"| layer | density | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 2) + "|"
    for case in SMALL:
        for density in ANYWHERE:
            graph = case.graph(density, anywhere=True)
            rows = [fastest(graph, target, level, f) for f in (None, *FAMILIES)]
            cells = [
                x
                for r in rows
                for x in (("-", "-") if r is None else (f"{r.measured.cycles:,}", f"{r.flash:,}"))
            ]
            yield f"| {case} | {density:.2f} | {' | '.join(cells)} |"
    yield ""


def _line(case: Case, density: str, row: Row, dense: int) -> str:
    cycles = row.measured.cycles
    cells = (
        str(case), density, row.kernel.name, f"{cycles:,}", f"{cycles / dense:.2f}",
        f"{dense / cycles:.2f}", f"{row.flash:,}", f"{row.kernel.scratch:,}",
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure, print, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", nargs="+", default=["cortex-m4"])
    parser.add_argument("--level", default="O2")
    arguments = parser.parse_args()
    console = Console()
    assert __doc__ is not None
    cores = " ".join(arguments.cores)
    command = f"python benchmarks/sparse.py --cores {cores} --level {arguments.level}"
    lines = ["# Sparse kernels", "", __doc__.strip(), "", f"`{command}`", ""]
    for core in arguments.cores:
        for make in (table, anywhere):
            for line in make(Target.for_cpu(core), arguments.level):
                console.print(line, markup=False, soft_wrap=True)
                lines.append(line)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines))


if __name__ == "__main__":
    main()

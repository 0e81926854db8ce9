"""The table of select-pointwise: each layer alone in each form, its cycles, bytes and error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinycc_nn.cost import Costs
from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.ir.types import Array
from tinycc_nn.pruning.forms import Form, reshape_layer
from tinycc_nn.pruning.layers import real
from tinycc_nn.pruning.program import Item
from tinycc_nn.pruning.reconstruct import targets, walk
from tinycc_nn.pruning.samples import evenly, rows_of
from tinycc_nn.reference import run

SAMPLES = 128
"""On which outputs are compared, at most."""


@dataclass(frozen=True)
class Tried:
    """A layer alone in a form: cycles and flash (bytes) that this adds to those of the network as
    it is (mostly negative), and the change of the outputs, relative to their variance."""

    layer: str
    form: Form
    cycles: float
    flash: float
    error: float

    @property
    def item(self) -> Item:
        return Item(self.error, (self.cycles, self.flash))


@dataclass(frozen=True)
class Table:
    """What was tried for each layer; cycles and flash (bytes) of all layers of the network as it is."""

    layers: Sequence[Sequence[Tried]]
    cycles: float
    flash: float


def trials(
    graph: Graph, options: Mapping[Op, Sequence[Form]], inputs: Mapping[str, Array], costs: Costs
) -> Table:
    """Try every form of every layer, costs measured on the emulated core."""
    wanted = targets(graph, options, inputs, curvature=True)
    judge = OutputError.of(graph, inputs)
    cycles, flash = _sums(graph, costs)
    found: list[list[Tried]] = []

    def see(op: Op, x: Array) -> None:
        if op not in options:
            return
        at, rows, tried = graph.ops.index(op), rows_of(op, x, wanted[op].which), list[Tried]()
        for form in options[op]:
            if form.kind == "dense":
                tried.append(Tried(op.result.name, form, 0.0, 0.0, 0.0))
                continue
            other = graph.clone()
            reshape_layer(other, other.ops[at], form, rows, wanted[op])
            other.sweep()
            now, size = _sums(other, costs)
            error = judge(other)
            tried.append(Tried(op.result.name, form, now - cycles, size - flash, error))
        found.append(tried)

    walk(graph, inputs, see)
    return Table(found, cycles, flash)


def _sums(graph: Graph, costs: Costs) -> tuple[float, float]:
    each = costs.measured(graph).values()
    return sum(c.cycles for c in each), sum(c.flash for c in each)


@dataclass(frozen=True)
class OutputError:
    """The mean squared change of a network's outputs, of a softmax's operand in its place, over
    their variance."""

    inputs: Mapping[str, Array]
    outputs: tuple[Array, ...]

    @staticmethod
    def of(graph: Graph, inputs: Mapping[str, Array]) -> OutputError:
        few = evenly(inputs, SAMPLES)
        return OutputError(few, tuple(_outputs(graph, few)))

    def __call__(self, graph: Graph) -> float:
        pairs = list(zip(_outputs(graph, self.inputs), self.outputs, strict=True))
        changed = sum(float(np.square(a - b).sum()) for a, b in pairs)
        spread = sum(float(np.square(b - b.mean(axis=0)).sum()) for _, b in pairs)
        return changed / (spread or 1.0)


def _outputs(graph: Graph, inputs: Mapping[str, Array]) -> list[Array]:
    """float64[samples, ...], real numbers."""
    shown = graph.clone()
    shown.outputs = [
        v.owner.operands[0] if v.owner is not None and v.owner.name == "softmax" else v
        for v in shown.outputs
    ]
    found = run(shown, inputs)
    return [real(v, a).reshape(len(a), -1) for v, a in zip(shown.outputs, found, strict=True)]


def table_text(
    table: Table,
    taken: Mapping[str, Tried],
    dense: int,
    cycles: int,
    error: float,
    limit: int | None,
) -> str:
    """The table as text; `*` marks what was taken."""
    bound = "" if limit is None else f" (limit {limit:,})"
    lines = [
        f"select-pointwise: {dense:,} -> {cycles:,} cycles{bound}, error {error:.3g}, measured"
    ]
    lines.append(f"{'layer':24}{'form':>14}{'cycles':>12}{'flash':>10}{'error':>12}")
    for tried in table.layers:
        for t in tried:
            mark = "*" if taken.get(t.layer) is t else ""
            lines.append(
                f"{t.layer[:23]:24}{mark + str(t.form):>14}{t.cycles:>+12,.0f}{t.flash:>+10,.0f}"
                f"{t.error:>12.3g}"
            )
    return "\n".join(lines)

"""
select-pointwise: for each 1x1 convolution dense, block-sparse or low-rank, under a limit.

    %y = conv2d %x, %w, %b   ->   %y = conv2d %x, %w, %b          (dense)
                                  %y = conv2d %x, %w', %b'        (blocks of 4 x 2 zeros)
                                  %l = conv2d %x, %u
                                  %y = conv2d %l, %v, %b'         (low rank)

Each layer is tried in each form alone: its cycles are measured on the emulated core (and recorded,
so that the next run knows them), its error is what the network's outputs (in front of a softmax)
change on calibration data, relative to their variance. One integer program takes the forms of all
layers with the least sum of errors within the limit. The network is then built and run, and so are
those with one form everywhere, since errors don't just add up; the one with the least error is
taken. If one exceeds the limit, the program is solved anew with a tighter one. On float and on int8 graphs; low
rank and blocks are quantized anew. Give a limit: latency (a part of what the network takes as it
is), max_cycles, max_ms, or max_flash.

Sources: HiGHS for the program; `prune-blocks` and `low-rank` for the forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycc_nn.cost import Costs
from tinycc_nn.diagnostics import LimitError, TinyccError
from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.ir.types import Array
from tinycc_nn.passes._budget import cycles_limit
from tinycc_nn.passes._pointwise import OutputError, Table, Tried, table_text, trials
from tinycc_nn.pipeline import Context, Pass, option
from tinycc_nn.pruning.forms import STEPS, Form, factor, forms, is_pointwise, zero_blocks
from tinycc_nn.pruning.layers import is_layer, named
from tinycc_nn.pruning.program import least_error
from tinycc_nn.pruning.reconstruct import reconstruct, targets, walk
from tinycc_nn.pruning.samples import calibration, rows_of


@dataclass(frozen=True)
class _Built:
    """A network with chosen forms: cycles of an inference, flash (bytes) of its layers, as measured;
    the change of its outputs, relative to their variance."""

    graph: Graph
    chosen: Sequence[Tried]
    cycles: int
    flash: int
    error: float


@dataclass(frozen=True)
class SelectPointwise(Pass):
    keeps_values: ClassVar[bool] = False
    needs_calibration: ClassVar[bool] = True
    needs_costs: ClassVar[bool] = True
    in_search: ClassVar[bool | None] = False  # it is a search of its own, by measurements

    latency: float = option(
        0.0, "limit of cycles, as a part (0..1) of what the network takes", choices=(0.9, 0.8, 0.7)
    )
    max_cycles: int = option(0, "limit of an inference's cycles")
    max_ms: float = option(0.0, "limit of an inference's time in ms, for a target with a clock")
    max_flash: int = option(0, "limit of all layers' constants and instructions in bytes")
    densities: tuple[float, ...] = option(
        (0.75, 0.6, 0.5, 0.4, 0.3, 0.2), "parts (0..1) of the blocks that may stay"
    )
    ranks: tuple[float, ...] = option(
        (0.5, 0.375, 0.25, 0.125), "parts (0..1) of the full rank that may stay"
    )
    skip: tuple[str, ...] = option((), "names of layers that stay as they are", by_layer=True)

    def __post_init__(self) -> None:
        if not 0 <= self.latency <= 1:
            raise ValueError("latency must be in 0..1")
        if min(self.max_cycles, self.max_ms, self.max_flash) < 0:
            raise ValueError("limits must be positive")
        if sum(x != 0 for x in (self.latency, self.max_cycles, self.max_ms)) > 1:
            raise ValueError("give one of latency, max_cycles and max_ms")
        if not any((self.latency, self.max_cycles, self.max_ms, self.max_flash)):
            raise ValueError("give a limit: latency, max_cycles, max_ms or max_flash")
        if not all(0 < part < 1 for part in (*self.densities, *self.ranks)):
            raise ValueError("densities and ranks must be between 0 and 1")

    def apply(self, graph: Graph, context: Context) -> None:
        costs = context.costs_for(self.name())
        graph.sweep()
        layers = self._layers(graph)
        inputs = calibration(graph, context.calibration, self.name(), "another pass")
        dense = costs.built(graph)
        limit = cycles_limit(costs, dense, self.latency, self.max_cycles, self.max_ms, self.name())
        options = {op: forms(op, self.densities, self.ranks) for op in layers}
        table = trials(graph, options, inputs, costs)
        spare = dense - table.cycles
        bound = np.inf if limit is None else limit - spare
        judge = OutputError.of(graph, inputs)
        best: _Built | None = None
        for chosen in self._choices(table, bound):
            made = self._build(graph, chosen, inputs, costs, judge)
            while not self._keeps(made, limit):
                over = 0 if limit is None else max(0, made.cycles - limit)
                # Half of it: kernels of other layers may change too, and not in step.
                bound = min(bound, table.cycles + sum(t.cycles for t in chosen) - 1 - over / 2)
                tighter = self._solve(table, bound)
                if tighter is None:
                    break
                chosen, made = tighter, self._build(graph, tighter, inputs, costs, judge)
            if self._keeps(made, limit) and (best is None or made.error < best.error):
                best = made
        if best is None:
            raise self._out_of_reach(graph, table, inputs, costs, limit)
        taken = {t.layer: t for t in best.chosen}
        context.watcher.note(table_text(table, taken, dense, best.cycles, best.error, limit))
        graph.assign(best.graph)

    def _choices(self, table: Table, bound: float) -> list[Sequence[Tried]]:
        """The program's, and beside it the same form everywhere: errors don't just add up."""
        found: list[Sequence[Tried]] = []
        if (best := self._solve(table, bound)) is not None:
            found.append(best)
        for kind in ("blocks", "rank"):
            rows = [[t for t in tried if t.form.kind == kind] for tried in table.layers]
            alike = [
                some for some in zip(*rows, strict=False)
                if len({t.form for t in some}) == 1 and self._fits(table, some, bound)
            ]  # fmt: skip
            if alike:
                found.append(min(alike, key=lambda some: sum(t.error for t in some)))
        return list({tuple(t.form for t in some): some for some in found}.values())

    def _fits(self, table: Table, some: Sequence[Tried], bound: float) -> bool:
        flash = table.flash + sum(t.flash for t in some)
        cycles = table.cycles + sum(t.cycles for t in some)
        return cycles <= bound and flash <= (self.max_flash or np.inf)

    def _keeps(self, made: _Built, limit: int | None) -> bool:
        """Whether a network that was built keeps to the limits."""
        return made.cycles <= (limit or np.inf) and made.flash <= (self.max_flash or np.inf)

    def _build(
        self,
        graph: Graph,
        chosen: Sequence[Tried],
        inputs: dict[str, Array],
        costs: Costs,
        judge: OutputError,
    ) -> _Built:
        made = graph.clone()
        _rebuild(made, {t.layer: t.form for t in chosen}, inputs)
        flash = sum(c.flash for c in costs.measured(made).values())
        return _Built(made, chosen, costs.built(made), flash, judge(made))

    def _layers(self, graph: Graph) -> list[Op]:
        skipped = named(graph, self.skip, f"{self.name()}: skip")
        found = [op for op in graph.ops if is_pointwise(op) and op not in skipped]
        if not found:
            hint = "weights must be constant, of one group: run fuse-qdq or fold-bn first"
            raise TinyccError(f"{self.name()}: there is no 1x1 convolution", graph.name, hint)
        return found

    def _solve(self, table: Table, bound: float) -> Sequence[Tried] | None:
        rows = [[t.item for t in tried] for tried in table.layers]
        others = self.max_flash - table.flash if self.max_flash else np.inf
        picks = least_error(rows, (bound - table.cycles, others))
        if picks is None:
            return None
        return [tried[i] for tried, i in zip(table.layers, picks, strict=True)]

    def _out_of_reach(
        self,
        graph: Graph,
        table: Table,
        inputs: dict[str, Array],
        costs: Costs,
        limit: int | None,
    ) -> LimitError:
        by_flash = limit is None
        least = [min(ts, key=lambda t: t.flash if by_flash else t.cycles) for ts in table.layers]
        made = graph.clone()
        _rebuild(made, {t.layer: t.form for t in least}, inputs)
        if by_flash:
            flash = sum(c.flash for c in costs.measured(made).values())
            message = f"{self.name()}: no choice takes at most {self.max_flash} bytes"
            return LimitError(message, hint=f"the nearest that can be met is max_flash={flash}")
        cycles = costs.built(made)
        message = f"{self.name()}: no choice takes at most {limit} cycles"
        return LimitError(message, hint=f"the nearest that can be met is max_cycles={cycles}")


def _rebuild(graph: Graph, chosen: dict[str, Form], inputs: dict[str, Array]) -> None:
    """Give the layers their forms, in place, and fit every layer to what it computed before."""
    if all(form.kind == "dense" for form in chosen.values()):
        return
    wanted = targets(graph, [op for op in graph.ops if is_layer(op)], inputs, curvature=True)
    ranks: dict[Op, Array] = {}
    blocks = {
        op: form.amount for op in wanted
        if (form := chosen.get(op.result.name)) is not None and form.kind == "blocks"
    }  # fmt: skip

    def see(op: Op, x: Array) -> None:
        if op in wanted and (form := chosen.get(op.result.name)) and form.kind == "rank":
            ranks[op] = rows_of(op, x, wanted[op].which)[0]

    walk(graph, inputs, see)
    for op, x in ranks.items():
        target = wanted.pop(op)
        wanted[factor(graph, op, int(chosen[op.result.name].amount), x)] = target
    graph.sweep()
    for step in range(1, (STEPS if blocks else 1) + 1):
        keep = {
            op: zero_blocks(graph, op, wanted[op], 1 - (1 - d) * step / STEPS)
            for op, d in blocks.items()
        }
        reconstruct(graph, wanted, inputs, keep)
    graph.sweep()

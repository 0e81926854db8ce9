"""Where every tensor of a network lies: in the caller's buffers or at an offset of the arena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinycc_nn.backends.tvm.choose import Choice
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.memory import Buffer, MemoryPlan, plan
from tinycc_nn.schedule import storage


@dataclass(frozen=True)
class Allocation:
    """
    plan:    buffers of the arena, named after the value that first lies in each.
    homes:   for each value that runs, the value whose buffer holds it: itself, a graph input, a
             graph output, or the operand that it was computed in place of.
    copies:  (output, value that holds its contents), for outputs that no kernel writes itself.
    """

    plan: MemoryPlan
    homes: Mapping[Value, Value]
    copies: tuple[tuple[int, Value], ...]

    def scratch(self, op: Op) -> int:
        """The offset of an op's scratch; KeyError if it has none."""
        return self.plan.offset(scratch_name(op))


def scratch_name(op: Op) -> str:
    """The name of an op's scratch among the buffers."""
    return f"{op.result.name} (scratch)"


def allocate(graph: Graph, order: Sequence[Op], choices: Mapping[Op, Choice]) -> Allocation:
    """Plan the arena for the ops in this order."""
    last = {storage(v): i for i, op in enumerate(order) for v in op.operands}
    written, copies = _written_outputs(graph)
    last.update((v, len(order)) for _, v in copies)
    fixed = {storage(v) for v in graph.inputs} | set(written)
    homes: dict[Value, Value] = {v: v for v in graph.inputs}
    ends: dict[Value, int] = {}
    starts: dict[Value, int] = {}
    for step, op in enumerate(order):
        home = _home(op, step, choices[op], last, fixed, homes)
        homes[op.result] = home
        starts.setdefault(home, step)
        ends[home] = max(ends.get(home, step), last.get(op.result, step))
    buffers = [Buffer(v.name, v.type.nbytes, starts[v], ends[v]) for v in starts if v not in fixed]
    buffers += [
        Buffer(scratch_name(op), choices[op].kernel.scratch, step, step)
        for step, op in enumerate(order)
        if choices[op].kernel.scratch
    ]
    return Allocation(plan(buffers), homes, tuple(copies))


def _written_outputs(graph: Graph) -> tuple[list[Value], list[tuple[int, Value]]]:
    """Values that kernels write to the caller's output buffers, and outputs that are copied."""
    written: list[Value] = []
    copies: list[tuple[int, Value]] = []
    for i, v in enumerate(graph.outputs):
        home = storage(v)
        if home.owner is None or home.constant is not None or home in written:
            copies.append((i, home))
        else:
            written.append(home)
    return written, copies


def _home(
    op: Op,
    step: int,
    choice: Choice,
    last: Mapping[Value, int],
    fixed: set[Value],
    homes: Mapping[Value, Value],
) -> Value:
    if op.result in fixed:
        return op.result
    for i in choice.kernel.in_place:
        v = storage(op.operands[i])
        dies = v.constant is None and all(
            last[w] <= step for w in homes if homes[w] is homes.get(v) and w in last
        )
        if dies and homes[v] not in fixed and op.type.nbytes <= homes[v].type.nbytes:
            return homes[v]
    return op.result

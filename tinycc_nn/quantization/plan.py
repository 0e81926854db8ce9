"""Which operators of a float graph compute on integers, and one quantization for each value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite

from tinycc_nn.calibration import Range, Scheme, affine, represented
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import F32, Quant
from tinycc_nn.ops import Int8, is_storage, number, opdef


def is_parameter(op: Op, index: int) -> bool:
    """Whether an operand is a layer's weight or bias."""
    return opdef(op.name).role(index) in ("weight", "bias")


def activations(op: Op) -> list[Value]:
    """The operands that are neither weights, biases nor constants."""
    each = enumerate(op.operands)
    return [v for i, v in each if not is_parameter(op, i) and v.constant is None]


def _has_integer_form(op: Op) -> bool:
    floats = all(v.type.dtype == F32 for v in (*op.operands, *op.results))
    if opdef(op.name).int8 is Int8.NONE or len(op.results) != 1 or not floats:
        return False
    parameters = [v for i, v in enumerate(op.operands) if is_parameter(op, i)]
    return bool(activations(op)) and all(v.constant is not None for v in parameters)


def integer_ops(graph: Graph, keep: frozenset[Op]) -> set[Op]:
    """The ops that are to compute on int8. Storage ops follow their operands or their users."""
    chosen: set[Op] = set()
    from_inputs: set[Value] = set(graph.inputs)
    for op in graph.ops:
        if op in keep or not _has_integer_form(op):
            continue
        if is_storage(op):
            if not any(v.owner in chosen or v in from_inputs for v in activations(op)):
                continue
            if all(v in from_inputs for v in activations(op)):
                from_inputs.add(op.result)
        chosen.add(op)
    for op in reversed(graph.ops):
        idle = op.result in from_inputs and not any(u in chosen for u in op.result.users)
        if op in chosen and idle:
            chosen.discard(op)
    return chosen


@dataclass(eq=False)
class _Group:
    """Values that share one quantization. `sources` make the elements that the others move."""

    sources: list[Value] = field(default_factory=list[Value])
    requantized: list[_Group] = field(default_factory=list["_Group"])
    ranges: list[Range] = field(default_factory=list[Range])
    fixed: Quant | None = None


class Groups:
    """The partition of the values of integer ops by storage ops.

    The operands of a storage op with several (concat, maximum) join its group if nothing else
    uses them; the others are requantized to the group's range.
    """

    def __init__(self, graph: Graph, ops: set[Op]) -> None:
        self.of: dict[Value, _Group] = {}
        for op in graph.ops:
            if op not in ops:
                continue
            for v in activations(op):
                self.of.setdefault(v, _Group([v]))
            if is_storage(op):
                self._storage(graph, op)
            else:
                self.of[op.result] = _Group([op.result], fixed=opdef(op.name).output)

    def _storage(self, graph: Graph, op: Op) -> None:
        operands = activations(op)
        if len(op.operands) == 1:
            self.of[op.result] = group = self.of[operands[0]]
            if op.name == "pad" and isfinite(value := number(op, "value")):
                group.ranges.append((value, value))
            return
        self.of[op.result] = group = _Group()
        for v in operands:
            other = self.of[v]
            alone = v.users == [op] and v not in graph.outputs
            if alone and other.fixed is None:
                self._merge(group, other)
            elif other is not group:
                group.requantized.append(other)
        constants = [a for v in op.operands if (a := v.constant) is not None]
        group.ranges += [(float(a.min()), float(a.max())) for a in constants]

    def _merge(self, into: _Group, other: _Group) -> None:
        if into is other:
            return
        into.sources += other.sources
        into.requantized += other.requantized
        into.ranges += other.ranges
        self.of.update({v: into for v, g in self.of.items() if g is other})
        for g in self.of.values():
            g.requantized = [into if r is other else r for r in g.requantized]

    def observed(self) -> list[Value]:
        """The values whose ranges must be known."""
        groups = dict.fromkeys(self.of.values())
        return [v for g in groups if g.fixed is None for v in g.sources]

    def quants(self, range_of: Callable[[Value], Range], scheme: Scheme) -> dict[Value, Quant]:
        """The quantization of every value."""
        found = {
            g: g.fixed or affine(*_range(g, range_of, set()), scheme) for g in self.of.values()
        }
        return {v: found[g] for v, g in self.of.items()}


def _range(group: _Group, range_of: Callable[[Value], Range], seen: set[_Group]) -> Range:
    if group.fixed is not None:
        return represented(group.fixed)
    seen.add(group)
    ranges = [*group.ranges, *(range_of(v) for v in group.sources)]
    ranges += [_range(g, range_of, seen) for g in group.requantized if g not in seen]
    return min((r[0] for r in ranges), default=0.0), max((r[1] for r in ranges), default=0.0)

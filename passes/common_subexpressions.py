"""
common-subexpressions: compute once what is computed twice, constants included.

    %a = sigmoid %x
    %b = sigmoid %x
    %y = mul %a, %b
 ->
    %a = sigmoid %x
    %y = mul %a, %a

Source: value numbering, Cocke and Schwartz, "Programming Languages and Their Compilers", 1970.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.passes._outputs import may_replace
from tinycc_nn.pipeline import Context, Pass

Key = tuple[object, ...]


def key(op: Op) -> Key:
    """Equal for two ops if their results are equal."""
    operands = tuple(map(id, op.operands))
    attrs = tuple(sorted((k, type(v), v) for k, v in op.attrs.items()))
    return (op.name, operands, attrs, tuple(r.type for r in op.results))


@dataclass(frozen=True)
class CommonSubexpressions(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        first: dict[Key, tuple[Value, ...]] = {}
        for op in graph:
            results = first.setdefault(key(op), op.results)
            for old, new in zip(op.results, results, strict=True):
                if new is not old and may_replace(graph, old, new):
                    graph.replace_value(old, new)
        graph.sweep()

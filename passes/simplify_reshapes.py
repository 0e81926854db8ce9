"""
simplify-reshapes: one reshape in place of a chain, none where the shape stays.

    %a = reshape %x {shape=[1,64]}
    %b = reshape %a {shape=[8,8]}       ->   %b = reshape %x {shape=[8,8]}

Source: the elements of a reshape keep their order (ONNX operator Reshape), so only the last counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ops import emit
from tinycc_nn.passes._outputs import may_replace
from tinycc_nn.pipeline import Context, Pass


@dataclass(frozen=True)
class SimplifyReshapes(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        for op in graph:
            new = _simpler(graph, op) if op.name == "reshape" else None
            if new is not None and may_replace(graph, op.result, new):
                graph.replace_value(op.result, new)
        graph.sweep()


def _simpler(graph: Graph, op: Op) -> Value | None:
    x = op.operands[0]
    if x.type == op.type:
        return x
    if x.owner is None or x.owner.name != "reshape":
        return None
    source = x.owner.operands[0]
    if source.type == op.type:
        return source
    try:
        return emit(
            graph, "reshape", [source], op.attrs, result=op.result.name, before=op, loc=op.loc
        )
    except TinyccError:  # scales per channel whose axis exists in between only
        return None

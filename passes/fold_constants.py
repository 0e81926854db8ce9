"""
fold-constants: compute at compile time what depends on constants only.

    %a = const @a : f32[1,4]
    %b = exp %a
    %y = mul %x, %b
 ->
    %b = const @a : f32[1,4]
    %y = mul %x, %b

Dequantized constants stay in their stored form, which `fuse-qdq` needs: operators that move
elements go in front of the dequantization instead.

    %d = dequantize %w                  %t = transpose %w   (folded)
    %y = transpose %d           ->      %y = dequantize %t

Source: constant propagation, Wegman and Zadeck, TOPLAS 1991, for straight-line code.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ops import is_storage
from tinycc_nn.passes._constants import computed, is_dequantized, moved
from tinycc_nn.pipeline import Context, Pass


@dataclass(frozen=True)
class FoldConstants(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        for op in graph:
            new = _folded(graph, op)
            if new is not None:
                graph.replace_value(op.result, new)
        graph.sweep()


def _folded(graph: Graph, op: Op) -> Value | None:
    if op.name in ("const", "dequantize") or not op.operands:
        return None
    if len(op.operands) == 1 and is_storage(op) and is_dequantized(op.operands[0]):
        return moved(graph, op.name, op.operands[0], op.attrs, before=op)
    return computed(graph, op)

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

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ops import emit, is_storage, opdef
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
    if len(op.operands) == 1 and is_storage(op) and _is_stored(op.operands[0]):
        return _move_stored(graph, op, op.operands[0].owner)
    return _computed(graph, op)


def _is_stored(v: Value) -> bool:
    """Whether `v` is a dequantized constant."""
    owner = v.owner
    return owner is not None and owner.name == "dequantize" and _known(owner.operands[0])


def _known(v: Value) -> bool:
    return v.constant is not None


def _move_stored(graph: Graph, op: Op, dequantize: Op | None) -> Value | None:
    assert dequantize is not None
    stored = dequantize.operands[0]
    try:
        moved = emit(graph, op.name, [stored], op.attrs, result=stored.name, before=op, loc=op.loc)
    except TinyccError:  # a reshape that loses the axis of the scales
        return None
    folded = _computed(graph, moved.owner) if moved.owner is not None else None
    source = folded or moved
    return emit(graph, "dequantize", [source], result=op.result.name, before=op, loc=op.loc)


def _computed(graph: Graph, op: Op) -> Value | None:
    arrays = [v.constant for v in op.operands]
    known = [a[None] for a in arrays if a is not None]
    if len(known) != len(arrays):
        return None
    result = opdef(op.name).run(op, *known)[0]
    return graph.constant(op.result.name, result, op.type.quant, before=op)

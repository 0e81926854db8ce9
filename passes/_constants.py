"""Constants as several passes see them: folding one op, moving the elements of what is stored."""

from __future__ import annotations

from collections.abc import Mapping

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Attr, Graph, Op, Value
from tinycc_nn.ops import emit, opdef


def is_dequantized(v: Value) -> bool:
    """Whether `v` is a dequantized constant: it stays in its stored form."""
    owner = v.owner
    return (
        owner is not None and owner.name == "dequantize" and owner.operands[0].constant is not None
    )


def is_known(v: Value) -> bool:
    """Whether `v` is a constant, as stored or dequantized."""
    return v.constant is not None or is_dequantized(v)


def computed(graph: Graph, op: Op) -> Value | None:
    """The result of `op` as a constant in front of it, if all its operands are constants."""
    arrays = [v.constant for v in op.operands]
    known = [a[None] for a in arrays if a is not None]
    if len(known) != len(arrays):
        return None
    result = opdef(op.name).run(op, *known)[0]
    return graph.constant(op.result.name, result, op.type.quant, before=op)


def moved(
    graph: Graph, name: str, v: Value, attrs: Mapping[str, Attr], before: Op | None
) -> Value | None:
    """The storage operator `name` of a known `v`, computed on what is stored.

    None if `v` isn't known, or if the axis of its scales would be lost.
    """
    if not is_known(v):
        return None
    stored = v
    if v.constant is None and v.owner is not None:
        stored = v.owner.operands[0]
    try:
        result = emit(graph, name, [stored], attrs, result=stored.name, before=before)
    except TinyccError:
        return None
    assert result.owner is not None
    folded = computed(graph, result.owner)
    graph.erase(result.owner)
    if folded is None or stored is v:
        return folded
    return emit(graph, "dequantize", [folded], result=v.name, before=before)

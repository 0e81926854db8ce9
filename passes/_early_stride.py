"""A convolution that takes over the stride of those behind it."""

from __future__ import annotations

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Attr, Graph, Op, Value
from tinycc_nn.ops import emit, ints

DENSE, HALVING = (1, 1), (2, 2)


def take_stride(graph: Graph, op: Op) -> None:
    """Give a convolution of stride 1 the stride 2 of the next convolutions on each way from it.

    What is between computes on a quarter of the pixels. Padding of the others grows to that of
    stride 1, so that their results keep their shapes. Raises TinyccError if `op` is no convolution
    of stride 1, or if nothing behind it makes up for the stride before an output.
    """
    if op.name != "conv2d" or ints(op, "stride") != DENSE:
        hint = "name a convolution of stride 1"
        raise TinyccError(f"student: early: {op.result} can't take a stride", op.loc, hint)
    smaller: dict[Value, Value] = {}
    for o in list(graph.ops):
        if o is op:
            smaller[o.result] = _again(graph, o, smaller, {"stride": HALVING})
        elif any(v in smaller for v in o.operands):
            gives = o.name == "conv2d" and ints(o, "stride") == HALVING
            new = _again(graph, o, smaller, _dense(o) if gives else {})
            if new.type == o.type:
                graph.replace_value(o.result, new)
            else:
                smaller[o.result] = new
    if any(v in smaller for v in graph.outputs):
        hint = "name a convolution in front of others of stride 2"
        raise TinyccError(f"student: early: nothing gives {op.result} a stride", op.loc, hint)
    graph.sweep()


def _again(graph: Graph, op: Op, smaller: dict[Value, Value], attrs: dict[str, Attr]) -> Value:
    operands = [smaller.get(v, v) for v in op.operands]
    return emit(
        graph, op.name, operands, op.attrs | attrs, result=op.result.name, before=op, loc=op.loc
    )


def _dense(op: Op) -> dict[str, Attr]:
    """Stride 1, and the padding that keeps the size."""
    reach = [
        (size - 1) * step
        for size, step in zip(op.operands[1].type.shape[1:3], ints(op, "dilation"), strict=True)
    ]
    (top, left), (bottom, right) = [r // 2 for r in reach], [r - r // 2 for r in reach]
    return {"stride": DENSE, "pad": (top, bottom, left, right)}

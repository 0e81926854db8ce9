"""
fold-pad: let a convolution or a pool do the padding in front of it.

    %p = pad %x {pads=[0,0,1,1,1,1,0,0]}
    %y = conv2d %p, %w                  ->   %y = conv2d %x, %w {pad=[1,1,1,1]}

An average pool must count the padding; a max pool must never see it win, so what it pads has to
be at least the padding everywhere (as after a relu, or in int8 with the zero point -128).

Source: ONNX operators Pad, Conv, AveragePool, MaxPool.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Attr, Graph, Op, Value
from tinycc_nn.ops import emit, flag, ints, number
from tinycc_nn.ops.shape import pad_value
from tinycc_nn.passes._clip import lower_bound
from tinycc_nn.pipeline import Context, Pass


@dataclass(frozen=True)
class FoldPad(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        for op in graph:
            if op.name not in ("conv2d", "avg_pool2d", "max_pool2d"):
                continue
            pad = op.operands[0].owner
            if pad is None or pad.name != "pad" or (new := _fold(graph, op, pad)) is None:
                continue
            graph.replace_value(op.result, new)
        graph.sweep()


def _fold(graph: Graph, op: Op, pad: Op) -> Value | None:
    pads = ints(pad, "pads")
    if any(pads[:2]) or any(pads[6:]):
        return None
    attrs: dict[str, Attr] = dict(op.attrs)
    attrs["pad"] = tuple(a + b for a, b in zip(ints(op, "pad"), pads[2:6], strict=True))
    if op.name == "max_pool2d":
        if not _never_wins(pad):
            return None
    elif number(pad, "value") != 0:
        return None
    if op.name == "avg_pool2d":
        if any(ints(op, "pad")) and not flag(op, "count_pad"):
            return None
        attrs["count_pad"] = True
    try:
        return emit(
            graph, op.name, [pad.operands[0], *op.operands[1:]], attrs,
            result=op.result.name, quant=op.type.quant, before=op, loc=op.loc,
        )  # fmt: skip
    except TinyccError:  # a window that lies in the padding alone
        return None


def _never_wins(pad: Op) -> bool:
    if pad.type.dtype.is_float:
        return number(pad, "value") <= lower_bound(pad.operands[0])
    return pad_value(pad) == -128

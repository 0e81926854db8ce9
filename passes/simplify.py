"""
simplify: drop what changes nothing, and say the rest in one way.

    add %x, 0    mul %x, 1    slice of everything    concat of one    pad by nothing    ->   %x
    clip(clip(%x))     ->  clip %x           clip %x {min=0}    ->  relu %x
    minimum(%x, 6)     ->  clip %x {max=6}   reduce_mean over axes of one element  ->  reshape
    quantize(dequantize %q) to the quantization of %q           ->  %q

Source: Aho, Lam, Sethi, Ullman, "Compilers", section 8.5.4 (algebraic identities).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Attr, Graph, Op, Value
from tinycc_nn.ir.types import F32
from tinycc_nn.ops import emit, ints, number
from tinycc_nn.ops.activation import bounds
from tinycc_nn.ops.shape import slice_ranges
from tinycc_nn.passes._clip import EVERYTHING, Range, clip_range, clipped
from tinycc_nn.passes._outputs import may_replace
from tinycc_nn.pipeline import Context, Pass

NEUTRAL = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0}
REDUCTIONS = ("reduce_mean", "reduce_sum", "reduce_max")


@dataclass(frozen=True)
class Simplify(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        for op in graph:
            new = _unchanged(op) or _one_clip(graph, op) or _reduce_nothing(graph, op)
            if new is not None and may_replace(graph, op.result, new):
                graph.replace_value(op.result, new)
        graph.sweep()


def _unchanged(op: Op) -> Value | None:
    """The operand that `op` returns as it is."""
    if op.name in NEUTRAL:
        return _neutral(op)
    if len(op.operands) != 1:
        return None
    x = op.operands[0]
    if op.name == "quantize" and x.owner is not None and x.owner.name == "dequantize":
        inner = x.owner.operands[0]
        return inner if inner.type == op.type else None
    if x.type != op.type:
        return None
    match op.name:
        case "concat" | "pad" | "requantize":
            return x
        case "slice":
            whole = all(r.step > 0 for r in slice_ranges(op))
        case "take":
            whole = ints(op, "indices") == tuple(range(x.type.shape[int(number(op, "axis"))]))
        case "transpose":
            whole = ints(op, "perm") == tuple(range(x.type.rank))
        case "max_pool2d" | "avg_pool2d":
            whole = ints(op, "kernel") == (1, 1)
        case _:
            whole = clip_range(op) == EVERYTHING
    return x if whole else None


def _neutral(op: Op) -> Value | None:
    if op.type.dtype != F32 or bounds(op) != EVERYTHING:
        return None
    a, b = op.operands
    pairs = [(a, b)] if op.name in ("sub", "div") else [(a, b), (b, a)]
    for x, k in pairs:
        c = k.constant
        if c is not None and x.type == op.type and np.all(c == np.float32(NEUTRAL[op.name])):
            return x
    return None


def _one_clip(graph: Graph, op: Op) -> Value | None:
    """Clips in a row as one; minimum and maximum with one number as a clip."""
    found = _source_and_range(op)
    if found is None:
        return None
    x, r = found
    inner = x.owner
    while inner is not None and (outer := clip_range(inner)) is not None:
        if (both := clipped(outer, r)) is None:
            break
        x, r = inner.operands[0], both
        inner = x.owner
    name = "relu" if r == (0.0, inf) else "clip"
    attrs: dict[str, Attr] = {} if name == "relu" else {"min": r[0], "max": r[1]}
    if op.name == name and op.operands == (x,):
        return None
    return emit(
        graph, name, [x], attrs,
        result=op.result.name, quant=op.type.quant, before=op, loc=op.loc,
    )  # fmt: skip


def _source_and_range(op: Op) -> tuple[Value, Range] | None:
    if (r := clip_range(op)) is not None:
        return op.operands[0], r
    if op.name not in ("minimum", "maximum") or op.type.dtype != F32:
        return None
    for x, k in (op.operands, op.operands[::-1]):
        c = k.constant
        if c is not None and x.type == op.type and np.all(c == c.flat[0]):
            bound = float(c.flat[0])
            return x, ((-inf, bound) if op.name == "minimum" else (bound, inf))
    return None


def _reduce_nothing(graph: Graph, op: Op) -> Value | None:
    """A reduction over axes of one element, as a reshape."""
    if op.name not in REDUCTIONS:
        return None
    x = op.operands[0]
    if x.type.quant != op.type.quant or any(x.type.shape[a] != 1 for a in ints(op, "axes")):
        return None
    if x.type.shape == op.type.shape:
        return x
    try:
        attrs: dict[str, Attr] = {"shape": op.type.shape}
        return emit(graph, "reshape", [x], attrs, result=op.result.name, before=op, loc=op.loc)
    except TinyccError:  # a scalar result
        return None

"""
What each channel of each value can be, whatever the input: interval analysis, forwards.

Weighted layers are bounded by interval arithmetic over their accumulators; operators that grow
with their operands are run on the bounds themselves, so that rounding and saturation are theirs.

Source: Moore, Kearfott, Cloud, "Introduction to Interval Analysis", 2009, chapters 2 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import I8, Array, TensorType
from tinycc_nn.ops import ints, number, opdef
from tinycc_nn.ops.activation import clamp
from tinycc_nn.ops.conv import finish_int8
from tinycc_nn.ops.unary import BY_NAME, lookup_table


@dataclass(frozen=True)
class Range:
    """Bounds, both included, as stored, float64[channels] along the last axis ([1] for none)."""

    low: Array
    high: Array

    @property
    def constant(self) -> Array:
        """bool[channels]: the channel always has one value, at every position."""
        return np.asarray((self.low == self.high) & np.isfinite(self.low))


# Their results grow, or stay, when an element of any operand grows.
GROWING = {
    "relu", "clip", "sigmoid", "hard_sigmoid", "tanh", "add", "minimum", "maximum", "max_pool2d",
    "avg_pool2d", "reduce_mean", "reduce_sum", "reduce_max", "resize_nearest", "resize_linear",
    "pad", "slice", "take", "reshape", "transpose", "concat", "quantize", "dequantize", "requantize",
}  # fmt: skip
LAYERS = ("conv2d", "conv2d_transpose", "dense")
# Operators of two operands whose extremes are at the ends of the operands' ranges.
CORNERS = ("sub", "mul")


def value_ranges(graph: Graph) -> dict[Value, Range]:
    """The range of every value; that of its type where nothing better is known."""
    found = {v: whole(v.type) for v in graph.inputs}
    for op in graph.ops:
        for r in op.results:
            found[r] = whole(r.type)
        if op.name == "const":
            found[op.result] = _of_array(op.result)
        elif len(op.results) == 1:
            known = _of_op(op, [found[v] for v in op.operands])
            found[op.result] = known or found[op.result]
    return found


def whole(t: TensorType) -> Range:
    """Everything that a tensor of that type can hold."""
    n = t.shape[-1] if t.rank else 1
    if t.dtype.is_float:
        return Range(np.full(n, -np.inf), np.full(n, np.inf))
    info = (0, 1) if t.dtype.name == "b1" else _limits(t)
    return Range(np.full(n, float(info[0])), np.full(n, float(info[1])))


def _limits(t: TensorType) -> tuple[int, int]:
    info = np.iinfo(t.dtype.numpy)
    return int(info.min), int(info.max)


def _of_array(v: Value) -> Range:
    a = v.constant
    assert a is not None
    rows = a.reshape(-1, a.shape[-1] if a.ndim else 1).astype(np.float64)
    return Range(rows.min(axis=0), rows.max(axis=0))


def _of_op(op: Op, operands: list[Range]) -> Range | None:
    if op.name in LAYERS:
        return _of_layer(op, operands)
    if op.name in GROWING:
        low = _run(op, [r.low for r in operands])
        high = _run(op, [r.high for r in operands])
        return _bounds(op, [low, high])
    if op.name in CORNERS:
        ends = product(*([r.low, r.high] for r in operands))
        return _bounds(op, [_run(op, list(e)) for e in ends])
    if op.name in BY_NAME and op.type.dtype == I8:
        return _of_table(op, operands[0])
    return None


def _run(op: Op, bounds: list[Array]) -> Array:
    arrays = [
        np.broadcast_to(b, v.type.shape).astype(v.type.dtype.numpy)[None]
        for v, b in zip(op.operands, bounds, strict=True)
    ]
    with np.errstate(all="ignore"):
        return np.asarray(opdef(op.name).run(op, *arrays))


def _bounds(op: Op, results: list[Array]) -> Range | None:
    """Over positions and results; None if infinities made something undefined."""
    rows = np.stack([r.reshape(-1, op.type.shape[-1] if op.type.rank else 1) for r in results])
    if np.isnan(rows).any():
        return None
    rows = rows.astype(np.float64)
    return Range(rows.min(axis=(0, 1)), rows.max(axis=(0, 1)))


def _of_table(op: Op, x: Range) -> Range:
    table = lookup_table(op).astype(np.float64)
    parts = [table[int(a) + 128 : int(b) + 129] for a, b in zip(x.low, x.high, strict=True)]
    return Range(np.array([p.min() for p in parts]), np.array([p.max() for p in parts]))


def centred(v: Value, a: Array) -> Array:
    """float64[...] without the zero point of `v`."""
    q = v.type.quant
    return a.astype(np.float64) - (q.zero if q is not None else 0)


def _of_layer(op: Op, operands: list[Range]) -> Range | None:
    x, w = op.operands[0], op.operands[1].integers
    bias = op.operands[2].constant if len(op.operands) == 3 else None
    if w is None or (len(op.operands) == 3 and bias is None):
        return None
    low, high = centred(x, operands[0].low), centred(x, operands[0].high)
    if op.name == "conv2d_transpose" or (op.name == "conv2d" and any(ints(op, "pad"))):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    w = centred(op.operands[1], w)
    out, per_group = w.shape[0], w.shape[-1]
    taps = w.reshape(out, -1, per_group)
    up, down = np.maximum(taps, 0), np.minimum(taps, 0)
    if op.name == "conv2d_transpose":
        least, most = _sum_extremes(op, up, down, low, high)
    else:
        g = _group_of(op, out)
        low, high = (e.reshape(-1, per_group)[g] for e in (low, high))
        p, n = up.sum(axis=1), down.sum(axis=1)
        least = (_times(p, low) + _times(n, high)).sum(axis=1)
        most = (_times(p, high) + _times(n, low)).sum(axis=1)
    return _finished(op, least, most, bias)


def _sum_extremes(op: Op, up: Array, down: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Transposed convolution: each position sums some of the taps, so each may be absent."""
    g = _group_of(op, len(up))
    low, high = (e.reshape(-1, up.shape[-1])[g][:, None] for e in (low, high))
    least = np.minimum(_times(up, low) + _times(down, high), 0).sum(axis=(1, 2))
    most = np.maximum(_times(up, high) + _times(down, low), 0).sum(axis=(1, 2))
    return least, most


def _group_of(op: Op, out: int) -> Array:
    """int[out]: the group of each output channel."""
    groups = 1 if op.name == "dense" else int(number(op, "groups"))
    return np.arange(out) // (out // groups)


def _times(w: Array, x: Array) -> Array:
    """A weight of 0 times infinity is 0."""
    return np.where(w == 0, 0.0, w * np.where(w == 0, 0.0, x))


def _finished(op: Op, least: Array, most: Array, bias: Array | None) -> Range:
    if not op.type.dtype.is_float:
        kind = np.int64 if op.operands[1].type.dtype.is_whole else np.float64
        ends = [finish_int8(op, e.astype(kind), bias) for e in (least, most)]
    else:
        add = 0.0 if bias is None else bias.astype(np.float64)
        ends = [clamp(op, (e + add).astype(np.float32)) for e in (least, most)]
    return Range(ends[0].astype(np.float64), ends[1].astype(np.float64))

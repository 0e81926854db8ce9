"""Operators that move elements, and resizing."""

from __future__ import annotations

import numpy as np
from tvm import te, tirx

from tinycc_nn.backends.tvm.te.define import Definition, Expr, Terms
from tinycc_nn.backends.tvm.te.integer import f32, i32, requantize
from tinycc_nn.ops import ints, number
from tinycc_nn.ops.resize import FRACTION_BITS, int_fractions, linear_factor, reals
from tinycc_nn.ops.shape import pad_value


def transpose(t: Terms) -> te.Tensor:
    perm = ints(t.op, "perm")
    return t.compute(lambda *i: t[0][tuple(i[perm.index(a)] for a in range(len(perm)))])


def reshape(t: Terms) -> te.Tensor:
    """Only where a constant is reshaped at run time, without `fold-constants`."""
    shape = t.op.operands[0].type.shape or (1,)

    def body(*i: Expr) -> Expr:
        flat: Expr = i32(0)
        for n, e in zip(t.shape, i, strict=True):
            flat = flat * n + e
        index = []
        for n in reversed(shape):
            index.append(flat % n)
            flat = flat // n
        return t[0][tuple(reversed(index))]

    return t.compute(body)


def concat(t: Terms) -> te.Tensor:
    axis = int(number(t.op, "axis"))

    def body(*i: Expr) -> Expr:
        ends = np.cumsum([v.type.shape[axis] for v in t.op.operands]).tolist()
        starts = [0, *ends[:-1]]
        parts = [
            t[k][(*i[:axis], i[axis] - start, *i[axis + 1 :])] for k, start in enumerate(starts)
        ]
        result = parts[-1]
        for part, end in zip(parts[-2::-1], ends[-2::-1], strict=True):
            result = tirx.if_then_else(i[axis] < end, part, result)
        return result

    return t.compute(body)


def slice_(t: Terms) -> te.Tensor:
    begin, step = ints(t.op, "begin"), ints(t.op, "step")
    return t.compute(
        lambda *i: t[0][tuple(b + e * s for b, e, s in zip(begin, i, step, strict=True))]
    )


def take(t: Terms) -> te.Tensor:
    axis = int(number(t.op, "axis"))
    indices = t.constant(np.array(ints(t.op, "indices"), np.int32))
    return t.compute(lambda *i: t[0][(*i[:axis], indices[i[axis]], *i[axis + 1 :])])


def pad(t: Terms) -> te.Tensor:
    pads, shape = ints(t.op, "pads"), t.op.operands[0].type.shape
    value = tirx.const(pad_value(t.op), t.op.type.dtype.numpy.name)

    def body(*i: Expr) -> Expr:
        before = [e - p for e, p in zip(i, pads[::2], strict=True)]
        inside = [
            c
            for e, n, a, b in zip(before, shape, pads[::2], pads[1::2], strict=True)
            for c in (*([e >= 0] if a else []), *([e < n] if b else []))
        ]
        return (
            tirx.if_then_else(tirx.all(*inside), t[0][tuple(before)], value) if inside else t[0][i]
        )

    return t.compute(body)


def resize_nearest(t: Terms) -> te.Tensor:
    rows, columns = (t.constant(np.array(ints(t.op, n), np.int32)) for n in ("rows", "columns"))
    return t.compute(lambda n, i, j, c: t[0][n, rows[i], columns[j], c])


def resize_linear(t: Terms) -> te.Tensor:
    _, h, w, _ = t.op.operands[0].type.shape
    rows, columns = (t.constant(np.array(ints(t.op, n), np.int32)) for n in ("rows", "columns"))
    x = t.op.operands[0].type.quant
    if x is None:
        names = ("row_fraction", "column_fraction")
        u, v = (t.constant(np.array(reals(t.op, n), np.float32)) for n in names)
        zero, one = 0, f32(1.0)
    else:
        u, v = (t.constant(f.astype(np.int32)) for f in int_fractions(t.op))
        zero, one = x.zero, i32(1 << FRACTION_BITS)

    def pixel(n: Expr, i: Expr, j: Expr, c: Expr) -> Expr:
        e = t[0][n, i, j, c]
        return e if x is None else i32(e) - zero

    def blend(n: Expr, i: Expr, j: Expr, c: Expr) -> Expr:
        low, left = rows[i], columns[j]
        high, right = tirx.min(low + 1, i32(h - 1)), tirx.min(left + 1, i32(w - 1))
        above = pixel(n, low, left, c) * (one - v[j]) + pixel(n, low, right, c) * v[j]
        below = pixel(n, high, left, c) * (one - v[j]) + pixel(n, high, right, c) * v[j]
        return above * (one - u[i]) + below * u[i]

    if x is None:
        return t.compute(blend)
    m, shift = linear_factor(t.op)
    y = t.op.type.quant
    assert y is not None
    return t.compute(lambda *i: requantize(blend(*i), i32(m), shift, y.zero, -128, 127))


DEFINITIONS: dict[str, Definition] = {
    "transpose": transpose,
    "reshape": reshape,
    "concat": concat,
    "slice": slice_,
    "take": take,
    "pad": pad,
    "resize_nearest": resize_nearest,
    "resize_linear": resize_linear,
}

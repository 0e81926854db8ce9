"""conv2d, conv2d_transpose, dense, matmul, pools: sums and maxima over windows."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np
from tvm import te, tirx

from tinycc_nn.backends.tvm.te.define import Definition, Expr, Terms
from tinycc_nn.backends.tvm.te.integer import f32, i32, requantize
from tinycc_nn.numeric.requantize import multipliers
from tinycc_nn.ops import ints, number
from tinycc_nn.ops.activation import bounds, int8_bounds
from tinycc_nn.ops.pool import average_multipliers, window_counts


def activate(t: Terms, e: Expr) -> Expr:
    """A float result clipped by the op's activation."""
    lo, hi = bounds(t.op)
    if lo != -inf:
        e = tirx.max(e, f32(lo))
    return e if hi == inf else tirx.min(e, f32(hi))


def padded(t: Terms, x: te.Tensor, outside: Expr) -> Callable[..., Expr]:
    """x[n, y, x, c] read at padded coordinates: `outside` where there is no pixel."""
    _, h, w, _ = t.op.operands[0].type.shape
    top, bottom, left, right = ints(t.op, "pad")

    def read(n: Expr, i: Expr, j: Expr, c: Expr) -> Expr:
        inside = []
        if top or bottom:
            inside += [i >= top, i < h + top]
        if left or right:
            inside += [j >= left, j < w + left]
        pixel = x[n, i - top, j - left, c]
        return tirx.if_then_else(tirx.all(*inside), pixel, outside) if inside else pixel

    return read


def zeros(t: Terms) -> tuple[int, int]:
    """Zero points of input and weights."""
    qx, qw = t.op.operands[0].type.quant, t.op.operands[1].type.quant
    assert qx is not None and qw is not None
    return qx.zero, qw.zero


def finish(t: Terms, acc: te.Tensor, channels: int) -> te.Tensor:
    """Bias, activation and, for int8, requantization of a sum whose last axis is the channel."""
    bias = t[2] if len(t.op.operands) > 2 else None
    if t.is_float:
        return t.compute(lambda *i: activate(t, acc[i] if bias is None else acc[i] + bias[i[-1]]))
    x, w, y = t.op.operands[0].type.quant, t.op.operands[1].type.quant, t.op.type.quant
    assert x is not None and w is not None and y is not None
    values, shift = multipliers(x.scales() * w.scales() / y.scales())
    m = t.constant(np.broadcast_to(values, channels) if len(values) > 1 else values)
    lo, hi = int8_bounds(t.op)
    return t.compute(
        lambda *i: requantize(
            acc[i] if bias is None else acc[i] + bias[i[-1]],
            m[i[-1] if len(values) > 1 else 0], shift, y.zero, lo, hi,
        )
    )  # fmt: skip


def conv2d(t: Terms) -> te.Tensor:
    o, kh, kw, per_group = t.op.operands[1].type.shape
    (sh, sw), (dh, dw) = ints(t.op, "stride"), ints(t.op, "dilation")
    each = o // int(number(t.op, "groups"))
    ry, rx, rc = (te.reduce_axis((0, n)) for n in (kh, kw, per_group))
    zx, zw = (0, 0) if t.is_float else zeros(t)
    read = padded(t, t[0], f32(0.0) if t.is_float else tirx.const(zx, "int8"))

    def term(n: Expr, i: Expr, j: Expr, c: Expr) -> Expr:
        channel = rc if each == o else c // each * per_group + rc
        x, w = read(n, i * sh + ry * dh, j * sw + rx * dw, channel), t[1][c, ry, rx, rc]
        product = x * w if t.is_float else (i32(x) - zx) * (i32(w) - zw)
        return te.sum(product, axis=[ry, rx, rc])

    return finish(t, t.reduce(term), o)


def conv2d_transpose(t: Terms) -> te.Tensor:
    _, h, w, _ = t.op.operands[0].type.shape
    o, kh, kw, per_group = t.op.operands[1].type.shape
    (sh, sw), (dh, dw) = ints(t.op, "stride"), ints(t.op, "dilation")
    top, _, left, _ = ints(t.op, "pad")
    each = o // int(number(t.op, "groups"))
    ry, rx, rc = (te.reduce_axis((0, n)) for n in (kh, kw, per_group))
    zx, zw = (0, 0) if t.is_float else zeros(t)

    def term(n: Expr, i: Expr, j: Expr, c: Expr) -> Expr:
        y, x = i + top - ry * dh, j + left - rx * dw
        inside = tirx.all(y >= 0, y < h * sh, y % sh == 0, x >= 0, x < w * sw, x % sw == 0)
        channel = rc if each == o else c // each * per_group + rc
        pixel, weight = t[0][n, y // sh, x // sw, channel], t[1][c, ry, rx, rc]
        if t.is_float:
            product = tirx.if_then_else(inside, pixel * weight, f32(0.0))
        else:
            product = tirx.if_then_else(inside, (i32(pixel) - zx) * (i32(weight) - zw), i32(0))
        return te.sum(product, axis=[ry, rx, rc])

    return finish(t, t.reduce(term), o)


def dense(t: Terms) -> te.Tensor:
    n, k = t.op.operands[1].type.shape
    rk = te.reduce_axis((0, k))
    zx, zw = (0, 0) if t.is_float else zeros(t)

    def term(*i: Expr) -> Expr:
        x, w = t[0][(*i[:-1], rk)], t[1][i[-1], rk]
        return te.sum(x * w if t.is_float else (i32(x) - zx) * (i32(w) - zw), axis=rk)

    return finish(t, t.reduce(term), n)


def matmul(t: Terms) -> te.Tensor:
    a, b = (v.type.shape for v in t.op.operands)
    rk = te.reduce_axis((0, a[-1]))
    zx, zw = (0, 0) if t.is_float else zeros(t)

    def batch(shape: tuple[int, ...], i: tuple[Expr, ...]) -> tuple[Expr, ...]:
        outer = i[len(i) - (len(shape) - 2) :] if len(shape) > 2 else ()
        return tuple(0 if d == 1 else e for d, e in zip(shape[:-2], outer, strict=True))

    def term(*i: Expr) -> Expr:
        x = t[0][(*batch(a, i[:-2]), i[-2], rk)]
        w = t[1][(*batch(b, i[:-2]), rk, i[-1])]
        return te.sum(x * w if t.is_float else (i32(x) - zx) * (i32(w) - zw), axis=rk)

    acc = t.reduce(term)
    if t.is_float:
        return t.compute(lambda *i: acc[i])
    qa, qb, y = (*(v.type.quant for v in t.op.operands), t.op.type.quant)
    assert qa is not None and qb is not None and y is not None
    m, shift = multipliers(qa.scales() * qb.scales() / y.scales())
    return t.compute(lambda *i: requantize(acc[i], i32(int(m[0])), shift, y.zero, -128, 127))


def max_pool2d(t: Terms) -> te.Tensor:
    (kh, kw), (sh, sw), (dh, dw) = (ints(t.op, n) for n in ("kernel", "stride", "dilation"))
    ry, rx = te.reduce_axis((0, kh)), te.reduce_axis((0, kw))
    lowest = f32(float(np.finfo(np.float32).min)) if t.is_float else tirx.const(-128, "int8")
    read = padded(t, t[0], lowest)
    return te.compute(
        t.shape,
        lambda n, i, j, c: te.max(read(n, i * sh + ry * dh, j * sw + rx * dw, c), axis=[ry, rx]),
        name="y",
    )


def avg_pool2d(t: Terms) -> te.Tensor:
    (kh, kw), (sh, sw), (dh, dw) = (ints(t.op, n) for n in ("kernel", "stride", "dilation"))
    ry, rx = te.reduce_axis((0, kh)), te.reduce_axis((0, kw))
    q = t.op.operands[0].type.quant
    zero = 0 if q is None else q.zero
    read = padded(t, t[0], f32(0.0) if t.is_float else tirx.const(zero, "int8"))

    def term(n: Expr, i: Expr, j: Expr, c: Expr) -> Expr:
        x = read(n, i * sh + ry * dh, j * sw + rx * dw, c)
        return te.sum(x if t.is_float else i32(x) - zero, axis=[ry, rx])

    acc = t.reduce(term)
    if t.is_float:
        counts = t.constant(window_counts(t.op).astype(np.float32))
        return t.compute(lambda n, i, j, c: acc[n, i, j, c] / counts[i, j])
    y = t.op.type.quant
    assert y is not None
    values, shift = average_multipliers(t.op)
    m = t.constant(values)
    return t.compute(
        lambda n, i, j, c: requantize(acc[n, i, j, c], m[i, j], shift, y.zero, -128, 127)
    )


DEFINITIONS: dict[str, Definition] = {
    "conv2d": conv2d,
    "conv2d_transpose": conv2d_transpose,
    "dense": dense,
    "matmul": matmul,
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
}

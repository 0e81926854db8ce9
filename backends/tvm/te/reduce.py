"""Reductions over whole axes, and softmax."""

from __future__ import annotations

import numpy as np
from tvm import te, tirx

from tinycc_nn.backends.tvm.te.define import Definition, Expr, Terms
from tinycc_nn.backends.tvm.te.integer import i32, requantize
from tinycc_nn.ops import flag, ints
from tinycc_nn.ops.reduce import reduced, sum_multiplier


def _place(t: Terms) -> tuple[list[te.IterVar], tuple[int, ...]]:
    axes = ints(t.op, "axes")
    shape = t.op.operands[0].type.shape
    return [te.reduce_axis((0, shape[a])) for a in sorted(axes)], tuple(sorted(axes))


def _source(t: Terms, i: tuple[Expr, ...], inner: list[te.IterVar], axes: tuple[int, ...]) -> Expr:
    """The element of the operand that the result's place `i` and the reduced axes name."""
    rank = t.op.operands[0].type.rank
    kept = iter(e for a, e in enumerate(i) if a not in axes) if flag(t.op, "keep") else iter(i)
    reduced_axes = iter(inner)
    return t[0][tuple(next(reduced_axes) if a in axes else next(kept) for a in range(rank))]


def reduce_sum(t: Terms) -> te.Tensor:
    inner, axes = _place(t)
    q = t.op.operands[0].type.quant
    zero = 0 if q is None else q.zero

    def term(*i: Expr) -> Expr:
        x = _source(t, i, inner, axes)
        return te.sum(x if t.is_float else i32(x) - zero, axis=inner)

    acc = t.reduce(term)
    if t.is_float:
        n = tirx.const(float(np.float32(reduced(t.op))), "float32")
        mean = t.op.name == "reduce_mean"
        return t.compute(lambda *i: acc[i] / n if mean else acc[i])
    y = t.op.type.quant
    assert y is not None
    m, shift = sum_multiplier(t.op)
    return t.compute(lambda *i: requantize(acc[i], i32(m), shift, y.zero, -128, 127))


def reduce_max(t: Terms) -> te.Tensor:
    inner, axes = _place(t)
    return te.compute(t.shape, lambda *i: te.max(_source(t, i, inner, axes), axis=inner), name="y")


DEFINITIONS: dict[str, Definition] = {
    "reduce_sum": reduce_sum,
    "reduce_mean": reduce_sum,
    "reduce_max": reduce_max,
}

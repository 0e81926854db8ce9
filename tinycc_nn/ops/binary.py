"""Arithmetic of two tensors of equal rank, with axes of size 1 broadcast."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import F32, I8, I16, Array, Quant, TensorType
from tinycc_nn.numeric.requantize import (
    multipliers,
    requantize,
    rounding_shift,
    sum_multipliers,
)
from tinycc_nn.ops.activation import ACT, clamp, int8_bounds
from tinycc_nn.ops.definition import Int8, OpDef

Arithmetic = Callable[[Array, Array], Array]


def infer(op: Op) -> tuple[TensorType, ...]:
    if len(op.operands) != 2:
        raise TinyccError(f"{op.name} takes 2 operands, not {len(op.operands)}", op.loc)
    a, b = op.operands[0].type, op.operands[1].type
    if a.dtype != b.dtype or a.dtype not in (F32, I8, I16):
        raise TinyccError(f"{op.name}: the operands are {a.dtype} and {b.dtype}", op.loc)
    fits = a.rank == b.rank and all(
        m == n or 1 in (m, n) for m, n in zip(a.shape, b.shape, strict=True)
    )
    if not fits:
        raise TinyccError(
            f"{op.name}: the shapes {list(a.shape)} and {list(b.shape)} do not go together",
            op.loc,
            "equal rank; sizes equal or 1",
        )
    shape = tuple(n if m == 1 else m for m, n in zip(a.shape, b.shape, strict=True))
    return (TensorType(a.dtype, shape),)


def infer_storage(op: Op) -> tuple[TensorType, ...]:
    (t,) = infer(op)
    a, b = op.operands[0].type.quant, op.operands[1].type.quant
    if t.dtype != F32 and a != b:
        raise TinyccError(f"{op.name}: the operands have the quantizations {a} and {b}", op.loc)
    return (TensorType(t.dtype, t.shape, a),)


def infer_float(op: Op) -> tuple[TensorType, ...]:
    (t,) = infer(op)
    if t.dtype != F32:
        raise TinyccError(f"{op.name} works on f32 only", op.loc)
    return (t,)


def quants(op: Op) -> tuple[Quant, Quant, Quant]:
    """The quantizations of both operands and of the result, which must all have one scale."""
    found = [op.operands[0].type.quant, op.operands[1].type.quant, op.type.quant]
    a, b, y = (q for q in found if q is not None and isinstance(q.scale, float))
    return a, b, y


def _float(op: Op, f: Arithmetic, a: Array, b: Array) -> Array:
    with np.errstate(all="ignore"):
        return clamp(op, np.asarray(f(a, b)))


def sum_factors(op: Op) -> tuple[int, int, int]:
    """int8 add and sub: (ma, mb, shift) of ((a-za)*ma + (b-zb)*mb + half >> shift) + zy."""
    a, b, y = quants(op)
    sign = -1.0 if op.name == "sub" else 1.0
    m, shift = sum_multipliers(
        np.array(
            [float(a.scales()[0] / y.scales()[0]), sign * float(b.scales()[0] / y.scales()[0])]
        )
    )
    return int(m[0]), int(m[1]), shift


def product_factors(op: Op) -> tuple[int, int]:
    """int8 mul: (m, shift) of ((a-za)*(b-zb)*m + half >> shift) + zy."""
    a, b, y = quants(op)
    m, shift = multipliers(a.scales() * b.scales() / y.scales())
    return int(m[0]), shift


def prelu_factors(op: Op) -> tuple[int, int, int]:
    """int8 prelu: (m, m_slope, shift), for x above its zero and for (x-zx)*(slope-zs) below."""
    x, slope, y = quants(op)
    real = np.concatenate([x.scales() / y.scales(), x.scales() * slope.scales() / y.scales()])
    m, shift = multipliers(real)
    return int(m[0]), int(m[1]), shift


def _run_sum(op: Op, a: Array, b: Array) -> Array:
    if op.type.dtype == F32:
        return _float(op, np.subtract if op.name == "sub" else np.add, a, b)
    qa, qb, qy = quants(op)
    ma, mb, shift = sum_factors(op)
    total = (a.astype(np.int64) - qa.zero) * ma + (b.astype(np.int64) - qb.zero) * mb
    lo, hi = int8_bounds(op)
    y = rounding_shift(total, shift) + qy.zero
    return np.asarray(np.clip(y, lo, hi).astype(op.type.dtype.numpy))


def _run_mul(op: Op, a: Array, b: Array) -> Array:
    if op.type.dtype == F32:
        return _float(op, np.multiply, a, b)
    qa, qb, qy = quants(op)
    m, shift = product_factors(op)
    acc = (a.astype(np.int64) - qa.zero) * (b.astype(np.int64) - qb.zero)
    return requantize(acc, np.array([m], np.int32), shift, qy.zero, *int8_bounds(op))


def _run_div(op: Op, a: Array, b: Array) -> Array:
    return _float(op, np.divide, a, b)


def _run_minimum(op: Op, a: Array, b: Array) -> Array:
    del op
    return np.asarray(np.minimum(a, b))


def _run_maximum(op: Op, a: Array, b: Array) -> Array:
    del op
    return np.asarray(np.maximum(a, b))


def _run_prelu(op: Op, x: Array, slope: Array) -> Array:
    if op.type.dtype == F32:
        return np.asarray(np.where(x >= 0, x, x * slope))
    qx, qs, qy = quants(op)
    above, below, shift = prelu_factors(op)
    d = x.astype(np.int64) - qx.zero
    total = np.where(d > 0, d * above, d * (slope.astype(np.int64) - qs.zero) * below)
    y = rounding_shift(total, shift) + qy.zero
    return np.asarray(np.clip(y, -128, 127).astype(np.int8))


OPS = (
    OpDef(
        "add", "a + b", infer, _run_sum, ACT, int8=Int8.REQUANTIZE, int16=True, elementwise=True
    ),
    OpDef(
        "sub", "a - b", infer, _run_sum, ACT, int8=Int8.REQUANTIZE, int16=True, elementwise=True
    ),
    OpDef("mul", "a * b", infer, _run_mul, ACT, int8=Int8.REQUANTIZE, elementwise=True),
    OpDef("div", "a / b", infer_float, _run_div, ACT, elementwise=True),
    OpDef(
        "minimum", "the smaller of a and b, which share their quantization",
        infer_storage, _run_minimum, int8=Int8.STORAGE, elementwise=True,
    ),
    OpDef(
        "maximum", "the larger of a and b, which share their quantization",
        infer_storage, _run_maximum, int8=Int8.STORAGE, elementwise=True,
    ),
    OpDef(
        "prelu", "x, or x * slope below zero", infer, _run_prelu,
        roles=("x", "x"), int8=Int8.REQUANTIZE, elementwise=True,
    ),
)  # fmt: skip

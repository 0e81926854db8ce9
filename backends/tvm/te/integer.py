"""Integer expressions: the requantization rule and clamps, as in `tinycc_nn/numeric`."""

from __future__ import annotations

from typing import Any

from tvm import tirx

from tinycc_nn.numeric.requantize import MAX_SHIFT

Expr = Any


def i32(e: Expr | int) -> Expr:
    return tirx.const(e, "int32") if isinstance(e, int) else e.astype("int32")


def f32(e: Expr | float) -> Expr:
    return tirx.const(e, "float32") if isinstance(e, int | float) else e.astype("float32")


def clamp(e: Expr, lo: Expr, hi: Expr) -> Expr:
    """min(max(e, lo), hi)."""
    return tirx.min(tirx.max(e, lo), hi)


def requantize(acc: Expr, m: Expr, shift: int, zero: int, lo: int, hi: int) -> Expr:
    """int32 acc and multiplier to int8: saturate((acc * m + 2^(shift-1) >> shift) + zero)."""
    if shift < MAX_SHIFT:
        return requantize64(acc.astype("int64") * m.astype("int64"), shift, zero, lo, hi)
    high = tirx.call_pure_extern("int32", "tcnn_requantize32", acc, m, i32(zero))
    return saturate(high, lo, hi)


def saturate(e: Expr, lo: int, hi: int) -> Expr:
    """int32 to int8 within [lo, hi]."""
    return tirx.call_pure_extern("int8", "tcnn_clamp", e, i32(lo), i32(hi))


def rounding_shift(total: Expr, shift: int, zero: int, lo: int, hi: int) -> Expr:
    """An int32 sum of products to int8, by the same rule in 32 bits."""
    y = ((total + i32(1 << (shift - 1))) >> i32(shift)) + i32(zero)
    return saturate(y, lo, hi)


def requantize64(total: Expr, shift: int, zero: int, lo: int, hi: int) -> Expr:
    """An int64 sum of products to int8, by the same rule."""
    y = ((total + tirx.const(1 << (shift - 1), "int64")) >> tirx.const(shift, "int64")).astype(
        "int32"
    )
    return saturate(y + i32(zero), lo, hi)

"""The activation that conv2d, dense, add and others carry: attributes, clamp in float and int8."""

from __future__ import annotations

from math import floor, inf

import numpy as np

from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import I16, Array, DType, Quant
from tinycc_nn.ops.definition import Attribute
from tinycc_nn.ops.registry import number, word

ACT = (
    Attribute("act", "none", "none, relu, relu6, or clip to act_min..act_max"),
    Attribute("act_min", -inf, "the lower bound of act=clip, a real number"),
    Attribute("act_max", inf, "the upper bound of act=clip, a real number"),
)


def bounds(op: Op) -> tuple[float, float]:
    """The real range that the activation of `op` clips to."""
    match word(op, "act"):
        case "relu":
            return 0.0, inf
        case "relu6":
            return 0.0, 6.0
        case "clip":
            return number(op, "act_min"), number(op, "act_max")
        case _:
            return -inf, inf


def clamp(op: Op, y: Array) -> Array:
    """float32[...] clipped to the activation's range."""
    lo, hi = bounds(op)
    if (lo, hi) == (-inf, inf):
        return y
    return np.clip(y, np.float32(lo), np.float32(hi))


def stored_limits(dtype: DType) -> tuple[int, int]:
    """The least and the greatest element of a quantized activation of a type."""
    return (-(2**15), 2**15 - 1) if dtype == I16 else (-128, 127)


def int8_bounds(op: Op) -> tuple[int, int]:
    """The stored range that the activation clips the result to: within -128..127, or -32768..32767
    of an int16 result."""
    q = op.type.quant
    assert q is not None
    lo, hi = bounds(op)
    least, most = stored_limits(op.type.dtype)
    return _stored(lo, q, least, least, most), _stored(hi, q, most, least, most)


def _stored(real: float, q: Quant, otherwise: int, least: int, most: int) -> int:
    if real in (inf, -inf):
        return otherwise
    assert isinstance(q.scale, float)
    return min(most, max(least, floor(real / q.scale + 0.5) + q.zero))

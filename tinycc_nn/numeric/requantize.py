"""
The one requantization rule, the same bits in the interpreter, on the host and on the device:

    y = saturate(((sum_i acc_i * m_i) + 2^(shift-1) >> shift) + zero)

in 64 bits, rounding half up. Multipliers come from real scales by `multipliers` (one operand:
up to 31 bits, so that a shift of 32 is one SMMLAR on cores with the DSP extension) or by
`sum_multipliers` (several operands: 15 bits, so that the sum is exact in 32 bits).
"""

from __future__ import annotations

from math import floor, frexp

import numpy as np
from numpy.typing import DTypeLike

from tinycc_nn.ir.types import Array

MAX_SHIFT = 32


def multipliers(real: Array) -> tuple[Array, int]:
    """Integer multipliers for real factors, float64[n] > 0, and their one shift.

    Returns int32[n] and a shift in 1..32 with real ~ m / 2^shift: shift is 32 while the largest
    factor stays under 0.5, less otherwise so that every m fits 31 bits. ValueError for factors
    that are not positive and finite, or over 2^30.
    """
    if real.size == 0 or not np.all(np.isfinite(real)) or np.any(real <= 0):
        raise ValueError("a requantization factor must be positive and finite")
    shift = MAX_SHIFT
    while shift > 1 and floor(float(real.max()) * 2.0**shift + 0.5) >= 2**31:
        shift -= 1
    m = np.floor(real * 2.0**shift + 0.5)
    if m.max() >= 2**31:
        raise ValueError(f"a requantization factor of {real.max():g} is too large")
    return m.astype(np.int32), shift


def sum_multipliers(real: Array) -> tuple[Array, int]:
    """Multipliers of several operands that are summed: |m| < 2^15 (int32[n]) and one shift.

    `real` is float64[n]; signs are kept. ValueError if nothing is left to multiply by.
    """
    largest = float(np.abs(real).max())
    if not np.all(np.isfinite(real)) or largest == 0:
        raise ValueError("the factors of a sum must be finite and not all zero")
    shift = min(15 - frexp(largest)[1], 22)
    if floor(largest * 2.0**shift + 0.5) >= 2**15:
        shift -= 1
    if shift < 1:
        raise ValueError(f"a factor of {largest:g} is too large")
    return np.floor(real * 2.0**shift + 0.5).astype(np.int32), shift


def rounding_shift(total: Array, shift: int, out: Array | None = None) -> Array:
    """(total + 2^(shift-1)) >> shift of int64[...]: division by 2^shift, half rounded up. `out` may
    be `total`: passes over memory are what this costs."""
    y = np.add(total, np.int64(1) << np.int64(shift - 1), out=out)
    return np.asarray(np.right_shift(y, np.int64(shift), out=out))


def requantize(
    acc: Array,
    m: Array,
    shift: int,
    zero: int,
    lo: int,
    hi: int,
    dtype: DTypeLike = np.int8,
    bias: Array | None = None,
) -> Array:
    """int64[..., n] accumulators plus int32[n] bias, below 2^32 in magnitude, to int8 (or int16) in
    [lo, hi], with int32[n] or int32[1] multipliers."""
    wide, places = m.astype(np.int64), np.int64(shift)
    # The bias and the zero point go in front of the shift, in one pass with the rounding.
    added = (np.int64(zero) << places) + (np.int64(1) << (places - 1))
    y = np.asarray(acc.astype(np.int64, copy=False) * wide)
    y += added if bias is None else bias.astype(np.int64) * wide + added
    np.right_shift(y, places, out=y)
    np.maximum(y, lo, out=y)
    return np.minimum(y, hi, out=y).astype(dtype)


def quantize(x: Array, scale: Array | float, zero: int) -> Array:
    """float32[...] to int8: saturate(rint(x / scale) + zero), halves to even, all in float32."""
    q = np.rint(x.astype(np.float32) / np.asarray(scale, np.float32)) + np.float32(zero)
    return np.asarray(np.clip(q, -128, 127).astype(np.int8))


def dequantize(q: Array, scale: Array | float, zero: int) -> Array:
    """Stored integers to float32: (q - zero) * scale in float32."""
    return np.asarray(
        (q.astype(np.int32) - np.int32(zero)).astype(np.float32) * np.asarray(scale, np.float32)
    )

"""Weights as int8 (or more bits) and biases as int32, at scales that the requantization can follow."""

from __future__ import annotations

import numpy as np

from tinycc_nn.ir.types import Array, Blob, Quant
from tinycc_nn.numeric.requantize import multipliers

BIAS_LIMIT = 2**30
"""Of the bias's magnitude: leaves as much room for a sum of 33,000 products in 32 bits."""

MULTIPLIER_BITS = 8
"""At least so many bits are kept in the multiplier of a channel whose weights are tiny."""


def weight_scales(w: Array, *, per_channel: bool, bits: int = 8) -> Array:
    """float64[n] (or [1]): greatest magnitude of float32[n, ...] over the greatest integer (127 for
    8 bits); 0 where all are zero."""
    most = 2 ** (bits - 1) - 1
    largest = np.abs(w.astype(np.float64)).reshape(len(w), -1).max(axis=1) / most
    return np.asarray(largest if per_channel else largest.max(keepdims=True))


def guard_scales(scales: Array, bias: Array | None, sx: float, sy: float) -> Array:
    """Raise weight scales that are too small to compute with.

    scales: float64[n] or [1], 0 where a channel is all zero. bias: float32[n]. sx, sy: the scales
    of the layer's input and result. Afterwards each bias fits `BIAS_LIMIT` at sx * scale, and each
    multiplier sx * scale / sy has `MULTIPLIER_BITS` at the shift that the largest one dictates.
    ValueError if the largest is out of range.
    """
    largest = float(scales.max())
    out = np.where(scales > 0, scales, largest if largest > 0 else sy / (2 * sx))
    if bias is not None:
        need = np.abs(bias.astype(np.float64)) / (sx * BIAS_LIMIT)
        out = np.maximum(out, need if len(out) > 1 else need.max())
    _, shift = multipliers(sx * out / sy)
    return np.maximum(out, sy / sx * 2.0 ** (MULTIPLIER_BITS - shift))


def quantize_weight(name: str, w: Array, scales: Array, bits: int = 8) -> tuple[Array, Quant]:
    """float32[n, ...] to integers at scales float64[n] (axis 0) or [1]; zero is 0.

    int8 in -127..127 for 8 bits, otherwise codes of fixed<bits,0> as uint16, bits > 8.
    """
    most = 2 ** (bits - 1) - 1
    kept = scales.astype(np.float32)
    steps = kept.astype(np.float64).reshape(-1, *[1] * (w.ndim - 1))
    integers = np.clip(np.rint(w / steps), -most, most).astype(np.int64)
    stored = integers.astype(np.int8) if bits == 8 else (integers % 2**bits).astype(np.uint16)
    if len(kept) == 1:
        return stored, Quant(float(kept[0]))
    return stored, Quant(Blob(f"{name}.scale", kept), 0, 0)


def quantize_bias(bias: Array, sx: float, sw: Array) -> Array:
    """float[n] to int32[n] at the scales sx * sw; OverflowError if one does not fit."""
    stored = np.rint(bias.astype(np.float64) / (sx * sw))
    if np.abs(stored).max(initial=0) >= 2**31:
        raise OverflowError("a bias does not fit 32 bits")
    return np.asarray(stored.astype(np.int32))

"""pool: max_pool2d and avg_pool2d, the taps inside the image over neighbouring channels."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.tir import pool
from tinycc_nn.backends.tvm.tir.pool import Pool
from tinycc_nn.backends.tvm.tir.template import Requantize, Window
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import F32, I8, Array
from tinycc_nn.ops import ints
from tinycc_nn.ops.pool import average_multipliers, window_counts
from tinycc_nn.target import Target

CYCLES = {"pool": 4.5, "pool-dsp": 1.6}
"""For an element of a window."""

CYCLES_PER_OUTPUT = 2.0
CYCLES_PER_PIXEL = 60.0
SOFT_CALL = 70.0
"""A sum or comparison of floats without floating-point instructions."""


class PoolFamily:
    """One image of int8 or float32."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if op.name not in ("max_pool2d", "avg_pool2d") or op.type.shape[0] != 1:
            return
        if op.type.dtype not in (I8, F32):
            return
        width = 4 if target.cpu in ("cortex-m0", "cortex-m0plus") else 8
        found: list[tuple[str, Pool, Array | None]] = []
        if op.name == "avg_pool2d":
            found.append(("pool", *_mean(op, width)))
        elif op.type.dtype == F32:
            found.append(("pool", pool.largest_float(), None))
        else:
            found.append(("pool", pool.largest_int8(width), None))
            if target.dsp:
                found.append(("pool-dsp", pool.largest_words(), None))
        for name, kind, factors in found:
            yield _kernel(op, name, kind, factors, target)


def _kernel(op: Op, name: str, kind: Pool, factors: Array | None, target: Target) -> Kernel:
    soft = SOFT_CALL if op.type.dtype.is_float and target.fpu == "none" else 0.0
    taps, outputs = prod(ints(op, "kernel")), op.type.size
    cycles = outputs * (taps * (CYCLES[name] + soft) + CYCLES_PER_OUTPUT)
    cycles += outputs / op.type.shape[3] * CYCLES_PER_PIXEL
    text = 120 + 90 * len(pool.blocks(kind, op.type.shape[3]))
    constants = 0 if factors is None else factors.nbytes
    return Kernel(name, lambda: _code(op, kind, factors), constants, text, cycles)


def _mean(op: Op, width: int) -> tuple[Pool, Array]:
    """The mean with its factors: one, or one for each pixel where the windows count differently."""
    if op.type.dtype == F32:
        return pool.mean_float(), _one((1.0 / window_counts(op)).astype(np.float32))
    x, y = op.operands[0].type.quant, op.type.quant
    assert x is not None and y is not None
    m, shift = average_multipliers(op)
    largest = 255 * prod(ints(op, "kernel"))
    narrow = largest << (32 - shift) < 2**31
    requantize = Requantize(shift, y.zero, narrow=narrow)
    return pool.mean_int8(x.zero, requantize, width), _one(m)


def _one(factors: Array) -> Array:
    flat = factors.reshape(-1)
    return flat[:1] if np.all(flat == flat[0]) else flat


def _code(op: Op, kind: Pool, factors: Array | None) -> Code:
    _, height, width, channels = op.operands[0].type.shape
    top, bottom, left, right = ints(op, "pad")
    (kh, kw), (sh, sw), (dh, dw) = (ints(op, n) for n in ("kernel", "stride", "dilation"))
    pad = top, left, bottom, right
    window = Window(height, width, channels, (kh, kw), (sh, sw), (dh, dw), pad)
    name, text = pool.pixel(window, kind)
    count = 0 if factors is None else factors.size
    constants = () if factors is None else (factors,)
    return Code(pool.function(window, kind, name, count), constants, (text,))


FAMILY = PoolFamily()

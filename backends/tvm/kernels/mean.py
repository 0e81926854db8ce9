"""mean-dsp: int8 means over whole maps with the DSP extension."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.tir.mean import four, function
from tinycc_nn.backends.tvm.tir.template import Requantize
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import I8
from tinycc_nn.ops import ints
from tinycc_nn.ops.pool import average_multipliers
from tinycc_nn.ops.reduce import sum_multiplier
from tinycc_nn.target import Target

CYCLES_PER_ELEMENT = 1.6
CYCLES_PER_OUTPUT = 12.0
TEXT_BYTES = 260


class Mean:
    """reduce_mean over rows and columns, and avg_pool2d of one window that is the whole map; the
    number of channels is a multiple of four."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if op.type.dtype != I8 or not target.dsp or not _whole_map(op):
            return
        cycles = op.operands[0].type.size * CYCLES_PER_ELEMENT + op.type.size * CYCLES_PER_OUTPUT
        yield Kernel("mean-dsp", lambda: _code(op), 0, TEXT_BYTES, cycles)


def _whole_map(op: Op) -> bool:
    if op.name not in ("reduce_mean", "avg_pool2d"):
        return False
    x = op.operands[0].type
    if x.rank != 4 or x.shape[0] != 1 or x.shape[3] % 4:
        return False
    if op.name == "reduce_mean":
        return sorted(ints(op, "axes")) == [1, 2]
    return ints(op, "kernel") == x.shape[1:3] and not any(ints(op, "pad"))


def _code(op: Op) -> Code:
    x, y = op.operands[0].type, op.type.quant
    assert x.quant is not None and y is not None
    if op.name == "reduce_mean":
        m, shift = sum_multiplier(op)
    else:
        values, shift = average_multipliers(op)
        m = int(values.reshape(-1)[0])
    pixels, channels = prod(x.shape[1:3]), x.shape[3]
    narrow = (255 * pixels) << (32 - shift) < 2**31
    requantize = Requantize(shift, y.zero, per_channel=False, narrow=narrow)
    name, text = four(pixels, channels, x.quant.zero, m, requantize)
    return Code(function(pixels, channels, name), (), (text,))


FAMILY = Mean()

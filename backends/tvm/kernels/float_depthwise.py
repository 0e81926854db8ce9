"""float-depthwise: float32 depthwise convolution, blocks of channels over the taps in the image."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.tir.float_depthwise import function, pack
from tinycc_nn.backends.tvm.tir.template import Window
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import F32, Array
from tinycc_nn.ops import ints, number
from tinycc_nn.ops.activation import bounds
from tinycc_nn.target import Target

CHANNELS = 8
CYCLES_PER_MAC = 5.0
SOFT_CYCLES_PER_MAC = 230.0
CYCLES_PER_OUTPUT = 12.0


class FloatDepthwise:
    """One output channel for each input channel, one image, constant weights."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if op.name != "conv2d" or op.type.shape[0] != 1:
            return
        if any(v.type.dtype != F32 for v in (op.result, *op.operands)):
            return
        weights = op.operands[1].constant
        if weights is None or any(v.constant is None for v in op.operands[2:]):
            return
        if not int(number(op, "groups")) == op.operands[0].type.shape[3] == len(weights):
            return
        per_mac = SOFT_CYCLES_PER_MAC if target.fpu == "none" else CYCLES_PER_MAC
        cycles = weights[0].size * op.type.size * per_mac + op.type.size * CYCLES_PER_OUTPUT
        constants = weights.nbytes + 4 * len(weights)
        text = 120 + 40 * CHANNELS * (1 + (len(weights) % CHANNELS > 0))
        yield Kernel("float-depthwise", lambda: _code(op, weights, target), constants, text, cycles)


def _code(op: Op, weights: Array, target: Target) -> Code:
    _, height, width, channels = op.operands[0].type.shape
    top, bottom, left, right = ints(op, "pad")
    (sh, sw), (dh, dw) = ints(op, "stride"), ints(op, "dilation")
    kernel = weights.shape[1], weights.shape[2]
    pad = top, left, bottom, right
    window = Window(height, width, channels, kernel, (sh, sw), (dh, dw), pad)
    bias = op.operands[2].constant if len(op.operands) == 3 else np.zeros(channels, np.float32)
    assert bias is not None
    low, high = bounds(op)
    f, micro = function(window, CHANNELS, low, high, fused=target.cpu == "cortex-m7")
    return Code(f, (pack(weights, CHANNELS), bias), micro)


FAMILY = FloatDepthwise()

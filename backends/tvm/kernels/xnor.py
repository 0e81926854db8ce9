"""xnor: layers in bits, on every core."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from math import prod

import numpy as np

from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.tir import xnor
from tinycc_nn.backends.tvm.tir.template import Requantize, Window
from tinycc_nn.backends.tvm.tir.wide import function
from tinycc_nn.ir.graph import Op
from tinycc_nn.numeric.requantize import multipliers
from tinycc_nn.ops import ints, number
from tinycc_nn.ops.activation import int8_bounds
from tinycc_nn.target import Target

WORD, OUTPUT = 13.0, 25.0
"""Cycles of a word of 32 products, and of an output."""

SIGN = {True: 2.0, False: 6.0}
"""Of an element that is packed, with the DSP extension and without."""


class XnorFamily:
    """One kernel for each of the two operators."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if op.name == "pack_signs":
            size = op.operands[0].type.size
            for dsp in {False, target.dsp}:
                name = f"pack-signs{'-dsp' if dsp else ''}"
                yield Kernel(name, partial(_pack, op, dsp), 0, 200, SIGN[dsp] * size)
        elif op.name == "xnor_conv2d" and _fits(op):
            yield _layer(op)


def _fits(op: Op) -> bool:
    return op.operands[0].type.shape[0] == 1 and all(
        v.constant is not None for v in op.operands[1:]
    )


def _pack(op: Op, dsp: bool) -> Code:
    x = op.operands[0].type
    name, text = xnor.pack(prod(x.shape[:3]), x.shape[3], int(number(op, "threshold")), dsp=dsp)
    return Code(function(name, (("x", x.size, "int8"), ("y", op.type.size, "int32"))), (), (text,))


def _layer(op: Op) -> Kernel:
    x, w = op.operands[0].type, op.operands[1]
    weights, bias, y = w.constant, op.operands[2].constant, op.type.quant
    assert weights is not None and bias is not None and y is not None
    m, shift = multipliers(x.steps() * w.type.steps() / op.type.steps())
    bits = w.type.shape[1] * w.type.shape[2] * int(number(op, "channels"))
    largest = bits + int(np.abs(bias.astype(np.int64)).max())
    narrow = largest << (32 - shift) < 2**31
    requantize = Requantize(shift, y.zero, *int8_bounds(op), len(m) > 1, narrow)
    top, bottom, left, right = ints(op, "pad")
    (sh, sw), (dh, dw) = ints(op, "stride"), ints(op, "dilation")
    window = Window(
        x.shape[1], x.shape[2], x.shape[3], (w.type.shape[1], w.type.shape[2]),
        (sh, sw), (dh, dw), (top, left, bottom, right),
    )  # fmt: skip
    layer = xnor.Xnor(window, bits, len(bias), requantize)

    def code() -> Code:
        kernels = layer.micro_kernels()
        buffers = [
            ("x", x.size, "int32"), ("weights", weights.size, "int32"),
            ("bias", bias.size, "int32"), ("multiplier", m.size, "int32"),
            ("y", op.type.size, "int8"),
        ]  # fmt: skip
        if layer.scratch:
            buffers.append(("scratch", layer.scratch, "int8"))
        constants = (weights.reshape(-1), bias, m)
        return Code(function(kernels[-1][0], buffers), constants, tuple(t for _, t in kernels))

    cycles = op.type.size * (layer.words * WORD + OUTPUT)
    return Kernel("xnor", code, weights.nbytes + bias.nbytes + m.nbytes, 300, cycles, layer.scratch)


FAMILY = XnorFamily()

"""mve: int8 layers for Cortex-M55, compiled to assembly by TVM's LLVM, which vectorizes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.te.define import define
from tinycc_nn.backends.tvm.tir.depthwise_mve import depthwise_mve
from tinycc_nn.backends.tvm.tir.mve import gemm_mve
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import I8, Array
from tinycc_nn.ops import opdef
from tinycc_nn.target import Target

ELEMENTWISE = {"add": 3.0, "sub": 3.0, "relu": 0.5, "clip": 0.5, "minimum": 1.0, "maximum": 1.0}
"""Instructions for an element."""

MAX_TAPS = 25
"""Products of a depthwise kernel that are unrolled."""


class Mve:
    """Estimates are instructions, as counted in QEMU, for want of a model of the core's cycles."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if not target.mve or target.fpu == "none":
            return
        if (layer := Weighted.of(op)) is not None:
            if layer.largest_sum << (33 - layer.requantize.shift) < 2**31:
                yield from _weighted(layer)
        elif op.name in ELEMENTWISE and all(v.type.dtype == I8 for v in (op.result, *op.operands)):
            yield _elementwise(op)


def _weighted(layer: Weighted) -> Iterable[Kernel]:
    w, zero, out = layer.window, layer.input_zero, len(layer.weights)
    packed = layer.weights.nbytes
    if layer.is_depthwise:
        if w.kernel[0] * w.kernel[1] > MAX_TAPS:
            return
        for channels in (16, 4):
            planes = depthwise_mve(w, zero, layer.requantize, channels)
            copied = w.height * w.width * w.channels * (0.3 if channels == 16 else 0.8)
            cycles = layer.macs * 1.2 + layer.op.type.size * 3.0 + copied
            yield _vector(layer.kernel(planes, packed, cycles, 200 + 12 * packed // w.channels))
    elif layer.groups == 1:
        # A copy of each pixel costs little, and lets a 1x1 convolution work in place.
        direct = w.pointwise and (out > w.channels or w.pixels == 1)
        copied = 0.0 if direct else 20 * w.kernel[0] + w.depth / 4
        for block in (4, 2):
            loop = -(-w.depth // 16) * (2 + 2 * block) + 10 + 6 * block
            each = -(-out // block) * loop + 3 * out
            template = gemm_mve(w, out, zero, layer.requantize, block, direct=direct)
            kernel = layer.kernel(template, packed, w.pixels * (each + copied), 400 + 60 * block)
            yield _vector(kernel, np.array([w.depth], np.int32))


def _elementwise(op: Op) -> Kernel:
    whole = opdef(op.name).elementwise
    in_place = tuple(
        i for i, v in enumerate(op.operands) if whole and v.type.shape == op.type.shape
    )
    constants = sum(v.type.nbytes for v in op.operands if v.constant is not None)
    cycles = op.type.size * ELEMENTWISE[op.name]

    def code() -> Code:
        function, arrays = define(op)
        return Code(function, arrays, vector=True)

    return Kernel("mve", code, constants, 300, cycles, in_place=in_place)


def _vector(kernel: Kernel, *further: Array) -> Kernel:
    def code() -> Code:
        made = kernel.code()
        return replace(made, constants=(*made.constants, *further), vector=True)

    nbytes = sum(a.nbytes for a in further)
    return replace(kernel, code=code, constants=kernel.constants + nbytes)


FAMILY = Mve()

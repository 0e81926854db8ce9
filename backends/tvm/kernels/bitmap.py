"""bitmap: 1x1 convolution and dense layers, weights that are zero stored as a bit; for flash."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.kernels.scalar import THUMB_1
from tinycc_nn.backends.tvm.tir.bitmap import bitmap, bitmap_bytes
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target

MOST = 0.8
"""Part of the weights that may differ from zero: a bit each is 1/8 of what they take as bytes."""

CYCLES = {True: 4.0, False: 8.0}
"""Of a product, with the DSP extension and without; measured."""

DECODE = 11.0
"""Cycles to lay out a weight, on a Cortex-M4."""

PLAIN_FACTOR, THUMB_1_FACTOR = 1.15, 1.8
"""On a Cortex-M3, on a Cortex-M0+; measured."""


class Bitmap:
    """Layers without windows of which enough weights are zero."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        layer = Weighted.of(op)
        if layer is None or not self.value_facts(op):
            return
        nbytes, window = bitmap_bytes(layer.weights), layer.window
        template = bitmap(window, len(layer.weights), layer.requantize, nbytes, target.dsp)
        cycles = layer.macs * CYCLES[target.dsp] + layer.weights.size * DECODE
        cycles += layer.op.type.size * 20.0
        cycles *= THUMB_1_FACTOR if target.cpu in THUMB_1 else 1.0 if target.dsp else PLAIN_FACTOR
        yield replace(layer.kernel(template, nbytes, cycles, 220), facts=self.value_facts(op))

    def value_facts(self, op: Op) -> tuple[str, ...]:
        layer = Weighted.of(op)
        if layer is None or layer.groups != 1 or not layer.window.pointwise:
            return ()
        live = int(np.count_nonzero(layer.weights))
        if layer.weights.dtype != np.int8 or live > MOST * layer.weights.size:
            return ()
        return (f"nonzero={live}",)


FAMILY = Bitmap()

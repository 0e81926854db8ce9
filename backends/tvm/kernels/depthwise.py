"""depthwise: depthwise convolution with the DSP extension, one channel at a time as an int16 plane."""

from __future__ import annotations

from collections.abc import Iterable

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.tir.depthwise import depthwise_dsp
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target

CYCLES_PER_MAC = 2.6
CYCLES_PER_PIXEL = 4.0
"""For laying out the plane, in each channel."""

TEXT_BYTES = 700


class Depthwise:
    """All rows from one plane, or a few rows at a time where a plane would be large."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        layer = Weighted.of(op)
        if not target.dsp or layer is None or not layer.is_depthwise:
            return
        if layer.window.dilation != (1, 1) or max(layer.window.kernel) > 7:
            return
        w = layer.window
        for rows in sorted({w.out_height, min(8, w.out_height)}):
            template = depthwise_dsp(
                w,
                layer.input_zero,
                layer.requantize,
                rows,
                together=8 if target.cpu == "cortex-m4" else 1,
            )
            overlap = 1 + max(0, w.kernel[0] - w.stride[0]) / (rows * w.stride[0])
            cycles = layer.macs * CYCLES_PER_MAC
            cycles += w.height * w.width * w.channels * CYCLES_PER_PIXEL * overlap
            words = layer.weights.nbytes * 2 + 2 * w.kernel[0] * w.channels
            yield layer.kernel(template, words, cycles, TEXT_BYTES)


FAMILY = Depthwise()

"""depthwise: depthwise convolution with the DSP extension, one channel at a time as an int16 plane."""

from __future__ import annotations

from collections.abc import Iterable

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.tir.depthwise import block_width, depthwise_dsp
from tinycc_nn.backends.tvm.tir.plane import Plane
from tinycc_nn.backends.tvm.tir.products import pairs
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target

COLUMNS = 6
"""Outputs of a row that are computed together in C."""

MOST_TAPS = 64
"""Kernel elements, all of which are unrolled."""

SPILLS = 1.5
"""Cycles in C over those with registers for everything."""

CYCLES_PER_PIXEL = 4.0
"""For laying out the plane, in each channel."""

TEXT_BYTES = 300


class Depthwise:
    """All rows from one plane, or a few rows at a time where a plane would be large. Also first
    layers on one channel, and those with several outputs for a channel."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if not target.dsp or (layer := Weighted.of(op)) is None or not layer.multiplier:
            return
        w = layer.window
        if w.kernel[0] * w.kernel[1] > MOST_TAPS or w.pointwise:
            return
        for rows in sorted({w.out_height, min(8, w.out_height)}):
            width = block_width(Plane(w, rows, wide=True), layer.requantize, len(layer.weights))
            if width:
                yield _kernel(layer, target, rows, width, assembly=True)
            yield _kernel(layer, target, rows, min(COLUMNS, w.out_width), assembly=False)


def _kernel(layer: Weighted, target: Target, rows: int, width: int, *, assembly: bool) -> Kernel:
    w = layer.window
    template = depthwise_dsp(
        w,
        layer.input_zero,
        layer.requantize,
        rows,
        COLUMNS,
        together=8 if target.cpu == "cortex-m4" else 1,
        multiplier=layer.multiplier,
        assembly=assembly,
    )
    overlap = 1 + max(0, w.kernel[0] - w.stride[0]) / (rows * w.stride[0])
    words = w.kernel[0] * len(pairs(w))
    one = w.kernel[1] if w.dilation[1] > 1 else (w.kernel[1] + 1) // 2
    loads = ((width - 1) * w.stride[1] + (w.kernel[1] - 1) * w.dilation[1]) / 2 + 1
    block = w.kernel[0] * (width * one + 1.7 * loads) + 4 * width + 15
    call = 35 if assembly else 0
    blocks = w.out_height * (-(-w.out_width // width)) * (block * (1 if assembly else SPILLS))
    blocks += -(-w.out_height // rows) * (-(-w.out_width // width) * call + 2 * words + 20)
    cycles = len(layer.weights) * blocks
    cycles += w.height * w.width * w.channels * CYCLES_PER_PIXEL * overlap
    text = TEXT_BYTES + int(5 * block)
    return layer.kernel(template, 4 * words * len(layer.weights), cycles, text)


FAMILY = Depthwise()

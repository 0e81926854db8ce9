"""unrolled: convolution and dense layers in C with an unrolled loop, without the DSP extension."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.kernels.scalar import THUMB_1
from tinycc_nn.backends.tvm.tir.depthwise_unrolled import depthwise_unrolled
from tinycc_nn.backends.tvm.tir.packing import Blocking
from tinycc_nn.backends.tvm.tir.unrolled import gemm_unrolled
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target

BLOCKS = ((1, 4), (1, 8), (2, 4), (3, 2))
UNROLL = 8
DEPTHWISE_COLUMNS = (4, 5)
MOST_TAPS = 25
"""Kernel elements, all of which are unrolled."""

DEPTHWISE_CYCLES_PER_INSTRUCTION = 1.7
REQUANTIZE = 12
"""Instructions from a sum to a stored int8."""

FIELD = 1.2
"""Instructions to copy an element of a receptive field."""

CYCLES_PER_INSTRUCTION = 2.0


class Unrolled:
    """Register blocks of pixels x channels."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if target.dsp or target.cpu in THUMB_1 or (layer := Weighted.of(op)) is None:
            return
        if layer.weights.dtype != np.int8:
            return
        taps = layer.window.kernel[0] * layer.window.kernel[1]
        for columns in DEPTHWISE_COLUMNS if layer.is_depthwise and taps <= MOST_TAPS else ():
            yield _depthwise(layer, columns)
        if layer.groups != 1:
            return
        w, out = layer.window, len(layer.weights)
        for pixels, channels in BLOCKS:
            if pixels > w.pixels:
                continue
            for direct in (True, False) if w.pointwise and out <= w.channels else (True,):
                yield _kernel(layer, Blocking(pixels, channels, UNROLL), direct)


def _kernel(layer: Weighted, blocking: Blocking, direct: bool) -> Kernel:
    w, out = layer.window, len(layer.weights)
    pixels, channels = blocking.pixels, blocking.channels
    template = gemm_unrolled(w, out, layer.input_zero, layer.requantize, blocking, direct=direct)
    blocks = -(-w.pixels // pixels) * -(-out // channels)
    step = pixels + channels + pixels * channels
    total = blocks * (w.depth * (step + 4 / blocking.unroll) + pixels * channels * REQUANTIZE + 20)
    if template.scratch:
        total += w.pixels * w.depth * FIELD
    text = 150 + 4 * blocking.unroll * step + 40 * pixels * channels
    name = template.name if direct else f"{template.name}-staged"
    cycles = total * CYCLES_PER_INSTRUCTION
    return layer.kernel(template, layer.weights.nbytes, cycles, text, name)


def _depthwise(layer: Weighted, columns: int) -> Kernel:
    w, (kh, kw) = layer.window, layer.window.kernel
    template = depthwise_unrolled(w, layer.input_zero, layer.requantize, columns)
    blocks = -(-w.out_width // columns)
    width = -(-w.out_width // blocks)
    block = kh * (kw + width * w.stride[1] + kw - 1 + width * kw) + width * 8 + 12
    total = blocks * w.out_height * w.channels * block + w.height * w.width * w.channels * 3
    text = 300 + 2 * 4 * block
    return layer.kernel(
        template, layer.weights.nbytes, total * DEPTHWISE_CYCLES_PER_INSTRUCTION, text
    )


FAMILY = Unrolled()

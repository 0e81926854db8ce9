"""gemm-4x2-words: convolution and dense layers with the DSP extension, loaded by pairs of words."""

from __future__ import annotations

from collections.abc import Iterable

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.tir.gemm_words import BLOCKING, gemm_words
from tinycc_nn.backends.tvm.tir.im2col import padded_depth
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target


class GemmWords:
    """Layers of at least four pixels and an even number of channels."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if target.cpu == "cortex-m55":
            return  # GCC keeps lr for loops there, and the 14 registers are one too many
        if not target.dsp or (layer := Weighted.of(op)) is None or layer.groups != 1:
            return
        if len(layer.weights) % 2 or layer.window.pixels < BLOCKING.pixels:
            return
        yield _kernel(layer)


def _kernel(layer: Weighted) -> Kernel:
    out, window = len(layer.weights), layer.window
    template = gemm_words(window, out, layer.input_zero, layer.requantize)
    steps, strips = padded_depth(window) // 2, -(-window.pixels // BLOCKING.pixels)
    block = 17.0 * steps + 62
    columns = 1.25 * (BLOCKING.pixels * steps * 3 + 30)
    packed = 4 * out * BLOCKING.words(window.depth)
    text = 500 + 44 * min(steps, 31)
    return layer.kernel(template, packed, strips * (out / 2 * block + columns), text)


FAMILY = GemmWords()

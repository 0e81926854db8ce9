"""gemm: convolution and dense layers with the DSP extension, strips of pixels times packed weights."""

from __future__ import annotations

from collections.abc import Iterable

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.tir.gemm import gemm_dsp
from tinycc_nn.backends.tvm.tir.packing import Blocking, Packing, pairs_fit
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target

BLOCKS = ((1, 2), (1, 4), (2, 2), (3, 2), (2, 4))
CYCLES_PER_INSTRUCTION = 1.25
REQUANTIZE = 6
"""Instructions from a sum to a stored int8."""


class Gemm:
    """Register blocks of pixels x channels, with each packing of the weights."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if not target.dsp or (layer := Weighted.of(op)) is None or layer.groups != 1:
            return
        packings = [Packing.BYTES, Packing.WORDS]
        if pairs_fit(layer.weights):
            packings.append(Packing.PAIRS)
        for pixels, channels in BLOCKS:
            if pixels > layer.window.pixels:
                continue
            for packing in packings:
                yield self._kernel(layer, Blocking(pixels, channels, 2, packing))

    def _kernel(self, layer: Weighted, blocking: Blocking) -> Kernel:
        out = len(layer.weights)
        template = gemm_dsp(layer.window, out, layer.input_zero, layer.requantize, blocking)
        fours = -(-layer.window.depth // 4)
        packed = 4 * out * blocking.words(layer.window.depth)
        inner = instructions(blocking)
        strips = -(-layer.window.pixels // blocking.pixels)
        groups = -(-out // blocking.channels)
        block = fours * (inner + 3 / blocking.unroll) + 20
        block += blocking.pixels * blocking.channels * REQUANTIZE
        total = strips * (groups * block + blocking.pixels * fours * 6 + 30)
        text = 250 + round(3.2 * blocking.unroll * inner) + 8 * blocking.pixels * blocking.channels
        return layer.kernel(template, packed, total * CYCLES_PER_INSTRUCTION, text)


def instructions(b: Blocking) -> float:
    """Executed for four products of each sum of a block: loads, expansions, SMLADs."""
    weights = {Packing.BYTES: 3.0, Packing.PAIRS: 1.5, Packing.WORDS: 2.0}[b.packing] * b.channels
    return weights + 2 * b.pixels + 2 * b.pixels * b.channels


FAMILY = Gemm()

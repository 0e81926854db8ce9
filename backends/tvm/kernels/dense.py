"""dense: a dense layer of one row with the DSP extension, without scratch."""

from __future__ import annotations

from collections.abc import Iterable

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.tir.dense import dense_dsp
from tinycc_nn.backends.tvm.tir.packing import Blocking, Packing, pairs_fit
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target

CYCLES_PER_INSTRUCTION = 1.25
REQUANTIZE = 8
"""Instructions from a sum to a stored int8, with the call."""


class Dense:
    """A few output channels at a time, with each packing of the weights."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if not target.dsp or (layer := Weighted.of(op)) is None:
            return
        if not layer.window.pointwise or layer.window.pixels != 1 or layer.groups != 1:
            return
        packings = [Packing.BYTES, Packing.WORDS]
        if pairs_fit(layer.weights):
            packings.append(Packing.PAIRS)
        for packing in packings:
            for channels in (2, 4):
                yield _kernel(layer, Blocking(1, channels, 2, packing))


def _kernel(layer: Weighted, blocking: Blocking) -> Kernel:
    depth, out = layer.window.depth, len(layer.weights)
    template = dense_dsp(depth, out, layer.requantize, blocking)
    reads = {Packing.BYTES: 3.0, Packing.PAIRS: 1.5, Packing.WORDS: 2.0}[blocking.packing]
    four = 3 + blocking.channels * (reads + 2) + 2 / blocking.unroll
    groups = -(-out // blocking.channels)
    total = groups * (-(-depth // 4) * four + 15 + blocking.channels * REQUANTIZE)
    text = 150 + round(3.2 * blocking.unroll * four)
    packed = 4 * out * blocking.words(depth)
    return layer.kernel(template, packed, total * CYCLES_PER_INSTRUCTION, text)


FAMILY = Dense()

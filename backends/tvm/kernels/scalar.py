"""scalar: convolution, depthwise and dense layers in plain C, for cores without the DSP extension.

On cores with it they are the small alternatives: their weights are not expanded.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.tir.depthwise_scalar import depthwise_scalar
from tinycc_nn.backends.tvm.tir.packing import Blocking
from tinycc_nn.backends.tvm.tir.scalar import gemm_scalar
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target

BLOCKS = ((1, 1), (1, 2), (2, 2), (3, 2), (2, 4), (1, 4))
THUMB_1 = ("cortex-m0", "cortex-m0plus")
THUMB_1_INSTRUCTIONS = {
    (1, 1): 7.5, (1, 2): 7.5, (2, 2): 6.1, (3, 2): 5.1, (2, 4): 6.2, (1, 4): 7.0,
}  # fmt: skip
"""For a product, by pixels and channels of a block: measured on 1x1 64 -> 64, Cortex-M0+, GCC 12 -O2.
Eight registers are too few to say it by a formula."""

REQUANTIZE = 12
"""Instructions from a sum to a stored int8; three times as many without a long multiplication."""

CYCLES_PER_INSTRUCTION = 1.4
SLOW_CYCLES_PER_INSTRUCTION = 1.95
"""Where a multiply-accumulate takes two cycles and a loaded byte is used at once: Cortex-M3."""

DEPTHWISE_INSTRUCTIONS = 5.0
"""For a product, where each input element and weight is loaded for it alone."""


class Scalar:
    """Register blocks of pixels x channels, one product at a time."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if (layer := Weighted.of(op)) is None:
            return
        finish = REQUANTIZE * (3 if target.cpu in THUMB_1 else 1)
        if layer.is_depthwise:
            yield from _depthwise(layer, finish, _cycles_per_instruction(target))
        elif layer.groups == 1:
            yield from _gemm(layer, target, finish)


def _gemm(layer: Weighted, target: Target, finish: int) -> Iterable[Kernel]:
    w, out = layer.window, len(layer.weights)
    for pixels, channels in BLOCKS:
        if pixels > w.pixels:
            continue
        for direct in (True, False) if w.pointwise and out <= w.channels else (True,):
            template = gemm_scalar(
                w,
                out,
                layer.input_zero,
                layer.requantize,
                Blocking(pixels, channels),
                direct=direct,
            )
            blocks = -(-w.pixels // pixels) * -(-out // channels)
            step = pixels + channels + 1.3 * pixels * channels + 3
            if target.cpu in THUMB_1:
                step = THUMB_1_INSTRUCTIONS[pixels, channels] * pixels * channels
            total = blocks * (w.depth * step + pixels * channels * finish + 12)
            if template.scratch:
                total += w.pixels * w.depth * 1.2
            text = 150 + 24 * pixels * channels + (150 if template.scratch else 0)
            name = template.name if direct else f"{template.name}-staged"
            cycles = total * _cycles_per_instruction(target)
            yield layer.kernel(template, layer.weights.nbytes, cycles, text, name)


def _cycles_per_instruction(target: Target) -> float:
    slow = not target.dsp and target.cpu not in THUMB_1
    return SLOW_CYCLES_PER_INSTRUCTION if slow else CYCLES_PER_INSTRUCTION


def _depthwise(layer: Weighted, finish: int, rate: float) -> Iterable[Kernel]:
    template = depthwise_scalar(layer.window, layer.input_zero, layer.requantize)
    total = layer.macs * DEPTHWISE_INSTRUCTIONS + layer.op.type.size * finish
    yield layer.kernel(template, layer.weights.nbytes, total * rate, 350)


FAMILY = Scalar()

"""skip-zeros: 1x1 convolution and dense layers that leave out the inputs that are zero."""

from __future__ import annotations

from collections.abc import Iterable

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.kernels.scalar import THUMB_1
from tinycc_nn.backends.tvm.tir.skip_zeros import Lay, packed_bytes, pairs_fit, skip_zeros
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target

CYCLES = {Lay.PAIRS: 2.1, Lay.HALVES: 3.9}
"""Of a product, measured."""

THUMB_1_FACTOR = 1.3

LISTED = 10.0
"""Cycles to look at an input and list it."""

BLOCK = 160.0
"""Cycles of a block of output channels beside its products."""


class SkipZeros:
    """Layers that are marked by the attribute `skip`. Costs are those of inputs none of which is
    zero."""

    skips = True

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        layer = Weighted.of(op)
        if layer is None or not layer.window.pointwise or layer.groups != 1:
            return
        most = max(127 - layer.input_zero, layer.input_zero + 128)
        pairs = target.dsp and pairs_fit(layer.weights, most)
        if not pairs and layer.input_zero != -128:
            return
        channels = 4 if target.cpu in THUMB_1 else 8
        if (layer.window.depth + 1) * channels < 2**16:
            yield _kernel(layer, Lay.PAIRS if pairs else Lay.HALVES, channels, target)

    def value_facts(self, op: Op) -> tuple[str, ...]:
        """What tells a marked layer from one like it: their kernels differ."""
        return ("skips=1",) if op.attrs.get("skip") else ()


def _kernel(layer: Weighted, lay: Lay, channels: int, target: Target) -> Kernel:
    window, out = layer.window, len(layer.weights)
    template = skip_zeros(window, out, layer.input_zero, layer.requantize, lay, channels)
    blocks = -(-out // channels)
    each = window.depth * (LISTED + blocks * channels * CYCLES[lay]) + blocks * BLOCK
    cycles = window.pixels * each * (THUMB_1_FACTOR if target.cpu in THUMB_1 else 1.0)
    return layer.kernel(template, packed_bytes(channels, window.depth, out), cycles, 600)


FAMILY = SkipZeros()

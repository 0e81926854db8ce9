"""winograd: 3x3 convolution of stride 1 with the DSP extension, with fewer multiplications."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.tir.winograd import winograd_dsp
from tinycc_nn.backends.tvm.tir.winograd_tiling import Tiling, fits
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target

TILES = ((4, 4), (2, 4), (4, 2), (2, 2))
SCRATCH = 32 << 10
"""Bytes that every layer may take; others may take what their input and output take."""


class Winograd:
    """Tiles of several sizes; weights transformed offline, or as int8 for strips of tiles."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if not target.dsp or (layer := Weighted.of(op)) is None or layer.groups != 1:
            return
        window, channels = layer.window, len(layer.weights)
        limit = max(SCRATCH, op.operands[0].type.nbytes + op.type.nbytes)
        for outputs in TILES:
            if not fits(window, channels, outputs, layer.largest_sum):
                continue
            for tiling in _tilings(Tiling(window, channels, outputs, wide=True)):
                if tiling.scratch <= limit:
                    yield _kernel(layer, tiling)


def _tilings(wide: Tiling) -> Iterator[Tiling]:
    """Fewer and fewer strips of as many blocks each, after the one with transformed weights."""
    yield wide
    blocks = 0
    for strips in (wide.strips, 8, 4, 3, 2, 1):
        if -(-wide.strips // strips) > blocks:
            blocks = -(-wide.strips // strips)
            yield Tiling(wide.window, wide.channels, wide.outputs, blocks)


def _kernel(layer: Weighted, tiling: Tiling) -> Kernel:
    template = winograd_dsp(tiling, layer.input_zero, layer.requantize)
    packed = 4 * tiling.packed_words * len(layer.weights) // 2
    return layer.kernel(template, packed, cycles(tiling), text_bytes(tiling))


def cycles(tiling: Tiling) -> float:
    """On a Cortex-M4, within a tenth on 114 tilings of seven layers: transformed inputs and
    weights, products, and outputs, each for every point.
    """
    tiles = tiling.strips * tiling.blocks * tiling.block
    words, channels = tiling.words, tiling.channels
    weights = 0.0 if tiling.wide else 5.1 * tiling.strips * channels * words
    products = 2.17 * tiles * channels * words
    return tiling.points * (16.6 * tiles * words + weights + products + 11.4 * tiles * channels)


def text_bytes(tiling: Tiling) -> int:
    """Of all micro-kernels."""
    weights = 0 if tiling.wide else 35 * tiling.points
    return 300 + 110 * tiling.points + weights + 44 * min(16, tiling.words)


FAMILY = Winograd()

"""thumb1: convolution and dense layers for Cortex-M0 and M0+, two products in one multiplication."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.kernels.scalar import THUMB_1
from tinycc_nn.backends.tvm.tir.depthwise_thumb1 import depthwise_thumb1, fits
from tinycc_nn.backends.tvm.tir.packing import Blocking
from tinycc_nn.backends.tvm.tir.template import Requantize
from tinycc_nn.backends.tvm.tir.thumb1 import LARGEST_DEPTH, gemm_thumb1
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target

BLOCKS = ((1, 4), (2, 2), (2, 3))
UNROLL = 8
LARGEST_BIAS = 2**29
"""With it the folded bias fits int32 for every depth that is allowed."""

SMALL = 2**29
"""Sums for which the requantization without long multiplication is short."""

REQUANTIZE = 28
"""Cycles from a sum to a stored int8."""

STAGE = 10
"""Cycles to stage one element of a receptive field."""


class Thumb1:
    """Register blocks of pixels x channels."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if target.cpu not in THUMB_1 or (layer := Weighted.of(op)) is None:
            return
        largest = int(np.abs(layer.bias.astype(np.int64)).max())
        if layer.weights.dtype != np.int8 or largest > LARGEST_BIAS:
            return
        if layer.is_depthwise and fits(layer.window):
            yield _depthwise(layer)
        if layer.groups != 1 or layer.window.depth > LARGEST_DEPTH:
            return
        for pixels, channels in BLOCKS:
            if pixels <= layer.window.pixels:
                yield _kernel(layer, Blocking(pixels, channels, UNROLL))


def _kernel(layer: Weighted, blocking: Blocking) -> Kernel:
    w, out = layer.window, len(layer.weights)
    pixels, channels = blocking.pixels, blocking.channels
    template = gemm_thumb1(w, out, layer.input_zero, requantize(layer), blocking)
    product = 4 if pixels == 1 else 6
    step = 2 + channels * product + 6 / blocking.unroll
    block = w.depth * step + pixels * channels * REQUANTIZE + 30
    blocks = -(-w.pixels // pixels) * -(-out // channels)
    total = blocks * block + w.pixels * w.depth * STAGE
    parts = 1 if w.pixels % pixels == 0 else 2
    steps = min(w.depth, 2 * blocking.unroll)
    text = 250 + parts * (2 * steps * (1 + channels * product) + 80 * pixels * channels)
    return layer.kernel(template, layer.weights.nbytes, total, text)


def _depthwise(layer: Weighted) -> Kernel:
    w = layer.window
    template = depthwise_thumb1(w, layer.input_zero, requantize(layer))
    rows = 2 * -(-w.out_height // 2)
    cycles = rows * w.out_width * w.channels * (w.kernel[0] * w.kernel[1] * 3.5 + REQUANTIZE)
    cycles += w.height * w.width * w.channels * STAGE
    text = 400 + 34 * w.kernel[0] * w.kernel[1]
    return layer.kernel(template, layer.weights.nbytes, cycles, text)


def requantize(layer: Weighted) -> Requantize:
    """A layer's, with the range that matters to a core without long multiplication."""
    r = layer.requantize
    return replace(r, small=layer.largest_sum << (32 - r.shift) < SMALL)


FAMILY = Thumb1()

"""inline-weights: 1x1 convolution and dense layers with few weights that aren't zero, as code."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.kernels.scalar import THUMB_1
from tinycc_nn.backends.tvm.tir.inline_weights import function, pixel
from tinycc_nn.backends.tvm.tir.template import folded_bias
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target

MOST = 0.25
"""Part of the weights that may differ from zero: their code takes ten times their bytes."""

MOST_WEIGHTS = 4096
"""That differ from zero: 45 kB of code."""

CYCLES, CHANNEL_CYCLES = 3.6, 10.0
"""Of a weight and of an output channel, for each pixel; measured on a Cortex-M4."""

PLAIN_FACTOR = 1.3
"""Without the DSP extension; measured on a Cortex-M3."""

TEXT, CHANNEL_TEXT = 10.5, 26.0
"""Bytes of code; measured."""


class InlineWeights:
    """Layers without windows of which most weights are zero, anywhere. Not for Thumb-1, whose loads
    take no offset of this size and whose requantization is long."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        layer, facts = Weighted.of(op), self.value_facts(op)
        if layer is None or not facts or target.mve or target.cpu in THUMB_1:
            return
        live, channels = int(np.count_nonzero(layer.weights)), len(layer.weights)
        cycles = layer.window.pixels * (live * CYCLES + channels * CHANNEL_CYCLES + 10.0)
        cycles *= 1.0 if target.dsp else PLAIN_FACTOR
        text = round(live * TEXT + channels * CHANNEL_TEXT) + 40
        share = live / layer.weights.size
        yield Kernel(
            "inline-weights", lambda: _code(layer), 0, text, cycles, facts=facts, share=share
        )

    def value_facts(self, op: Op) -> tuple[str, ...]:
        layer = Weighted.of(op)
        if layer is None or layer.groups != 1 or not layer.window.pointwise:
            return ()
        live = int(np.count_nonzero(layer.weights))
        if layer.weights.dtype != np.int8 or live > min(MOST * layer.weights.size, MOST_WEIGHTS):
            return ()
        return (f"nonzero={live}",)


def _code(layer: Weighted) -> Code:
    bias = folded_bias(layer.bias, layer.weights, layer.input_zero)
    weights = layer.weights.reshape(len(bias), -1)
    name, text = pixel(weights, bias, layer.multipliers, layer.requantize)
    return Code(function(layer.window, len(bias), name), (), (text,))


FAMILY = InlineWeights()

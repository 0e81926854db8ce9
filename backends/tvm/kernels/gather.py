"""gather: int8 grouped and transposed convolutions, receptive fields in scratch memory.

A transposed convolution is one ordinary convolution for each residue of the output's place by the
stride.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from tinycc_nn.backends.tvm.convolution import geometry_of
from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.tir.blocks import Block, quads, scalars
from tinycc_nn.backends.tvm.tir.gather import Gather, Kind, function
from tinycc_nn.backends.tvm.tir.template import Window, folded_bias
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import I8, Array
from tinycc_nn.numeric.requantize import multipliers
from tinycc_nn.ops import number
from tinycc_nn.target import Target

BLOCKS = ((1, 1), (1, 4), (2, 2))
UNROLL = 2
REQUANTIZE = 10
"""Instructions from a sum to a stored int8; more without a long multiplication."""

CYCLES_PER_INSTRUCTION = 1.3
TAP = 14.0
"""Instructions to copy a run of a receptive field, without its elements."""


class GatherFamily:
    """What the families for ordinary and depthwise convolutions leave."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if any(v.type.dtype != I8 for v in (op.result, *op.operands[:2])):
            return
        if (layer := _layer(op)) is None:
            return
        geometry = geometry_of(op)
        assert geometry is not None
        finish = REQUANTIZE * (3 if target.cpu in ("cortex-m0", "cortex-m0plus") else 1)
        zero, requantize = layer.input_zero, layer.requantize
        count = len(_multipliers(op)) if requantize.per_channel else 1

        def quad(b: Block) -> tuple[str, str]:
            return quads(b, requantize, UNROLL)

        def scalar(b: Block) -> tuple[str, str]:
            return scalars(b, requantize)

        kinds = [("gather", Kind("int8", "int32", scalar, zero, False, count))]
        if target.dsp:
            kinds.append(("gather-dsp", Kind("int8", "int32", quad, zero, True, count)))
        for name, kind in kinds:
            for pixels, channels in BLOCKS:
                if channels > geometry.each or pixels > geometry.pixels:
                    continue
                gather = Gather(geometry, kind, pixels, channels)
                words = 4 * (geometry.outputs * len(geometry.phases) + count)
                yield Kernel(
                    f"{name}-{pixels}x{channels}",
                    partial(_code, layer, gather),
                    gather.packed * (4 if kind.quad else 1) + words,
                    _text(gather),
                    _instructions(gather, finish) * CYCLES_PER_INSTRUCTION,
                    gather.scratch,
                )


def _layer(op: Op) -> Weighted | None:
    """The layer if it is a transposed, or a grouped but not a depthwise convolution."""
    if op.name == "conv2d":
        layer = Weighted.of(op)
        return layer if layer and layer.groups > 1 and not layer.is_depthwise else None
    if op.name != "conv2d_transpose" or geometry_of(op) is None:
        return None
    weights, quant = op.operands[1].constant, op.operands[1].type.quant
    if weights is None or quant is None or quant.zero != 0:
        return None
    bias = op.operands[2].constant if len(op.operands) == 3 else None
    if bias is None:
        bias = np.zeros(len(weights), np.int32)
    return Weighted(op, Window(1, 1, 1), int(number(op, "groups")), weights, bias)


def _multipliers(op: Op) -> Array:
    x, w, y = op.operands[0].type.quant, op.operands[1].type.quant, op.type.quant
    assert x is not None and w is not None and y is not None
    m, _ = multipliers(x.scales() * w.scales() / y.scales())
    return m


def _code(layer: Weighted, gather: Gather) -> Code:
    weights = layer.weights
    parts, micro = gather.parts()

    def folded(rows: Array) -> Array:
        return folded_bias(layer.bias, rows.astype(np.int8), layer.input_zero)

    bias = gather.biases(folded, weights)
    constants = gather.pack(weights), bias, _multipliers(layer.op)
    return Code(function(gather, parts), constants, tuple(micro.values()))


def _instructions(gather: Gather, finish: int) -> float:
    g, total = gather.geometry, 0.0
    for phase in g.phases:
        outputs = phase.rows.count * phase.columns.count
        row = outputs if phase.flat else phase.columns.count
        pixels = min(gather.pixels, row)
        runs = -(-row // pixels) * (outputs // row) * g.groups
        depth = g.depth(phase)
        for group in gather.groups:
            p, n = pixels, group.width
            products: float
            if gather.kind.quad:
                products = -(-depth // 4) * (3 * (p + n) + 2 * p * n + 2)
            else:
                products = depth * (p + n + 1.3 * p * n + 3)
            total += runs * group.count * (products + p * n * finish + 20)
        if not gather.direct(phase):
            copies = phase.taps if g.groups > 1 else 2 * len(phase.rows.taps)
            total += runs * pixels * (copies * TAP + depth * 0.6 + 20)
    return total


def _text(gather: Gather) -> int:
    p, n = gather.pixels, gather.channels
    block = 24 * p * n + 12 * (p + n) * (UNROLL if gather.kind.quad else 1)
    phases = len(gather.geometry.phases)
    return 120 + phases * (len(gather.groups) * block + (150 if gather.scratch else 0))


FAMILY = GatherFamily()

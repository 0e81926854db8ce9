"""float: float32 convolutions of any kind and dense layers in blocks of registers."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from math import prod

import numpy as np

from tinycc_nn.backends.tvm.convolution import geometry_of
from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.tir.blocks import Block, floats
from tinycc_nn.backends.tvm.tir.gather import Gather, Kind, function
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import F32, Array
from tinycc_nn.ops.activation import bounds
from tinycc_nn.target import Target

BLOCKS = ((4, 4), (2, 8), (1, 8))
"""Pixels x channels whose sums, inputs and weights lie in 32 floating-point registers."""

SOFT_BLOCKS = ((1, 1),)
"""Where a product is a call."""

UNROLL = 4
CALL = 230.0
"""Cycles of a product and its addition without floating-point instructions."""

FIELD = 4.0
"""Cycles to copy an element of a receptive field."""


class FloatGemm:
    """conv2d of any groups, conv2d_transpose and dense with constant weights."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if any(v.type.dtype != F32 for v in (op.result, *op.operands)):
            return
        if (geometry := geometry_of(op)) is None:
            return
        low, high = bounds(op)
        hard = target.fpu != "none"

        def block(b: Block) -> tuple[str, str]:
            return floats(b, low, high, UNROLL if hard else 1, fused=target.cpu == "cortex-m7")

        kind = Kind("float32", "float32", block)
        for pixels, channels in BLOCKS if hard else SOFT_BLOCKS:
            if pixels > geometry.pixels:
                continue
            gather = Gather(geometry, kind, pixels, channels)
            yield Kernel(
                f"float-{pixels}x{channels}",
                partial(_code, op, gather),
                4 * (gather.packed + geometry.outputs * len(geometry.phases)),
                _text(gather, hard),
                _cycles(gather, hard),
                gather.scratch,
            )


def _cycles(gather: Gather, hard: bool) -> float:
    total = 0.0
    g = gather.geometry
    for phase in g.phases:
        outputs = phase.rows.count * phase.columns.count
        row = outputs if phase.flat else phase.columns.count
        pixels = min(gather.pixels, row)
        runs = -(-row // pixels) * (outputs // row)
        depth = g.depth(phase)
        product = 2.1 if hard else CALL
        for group in gather.groups:
            step = pixels * group.width * product + pixels + group.width + 2
            block = depth * step + pixels * group.width * 8 + 25
            total += runs * g.groups * group.count * block
        if not gather.direct(phase):
            total += runs * g.groups * pixels * (depth * FIELD + 60)
    return total


def _text(gather: Gather, hard: bool) -> int:
    blocks = len(gather.groups) * len(gather.geometry.phases)
    step = 12 * gather.pixels * gather.channels + 8 * (gather.pixels + gather.channels)
    return 150 + blocks * step * (UNROLL if hard else 1) + (150 if gather.scratch else 0)


def _code(op: Op, gather: Gather) -> Code:
    weights = op.operands[1].constant
    assert weights is not None
    if weights.ndim == 2:
        weights = weights.reshape(len(weights), 1, 1, -1)
    bias = _bias(op)
    parts, micro = gather.parts()
    constants = gather.pack(weights), gather.biases(lambda _: bias, weights)
    return Code(function(gather, parts), constants, tuple(micro.values()))


def _bias(op: Op) -> Array:
    if len(op.operands) == 2:
        return np.zeros(prod(op.type.shape[-1:]), np.float32)
    bias = op.operands[2].constant
    assert bias is not None
    return bias


FAMILY = FloatGemm()

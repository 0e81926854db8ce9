"""The geometry of a convolution, transposed convolution or dense layer with constant weights."""

from __future__ import annotations

from math import prod

from tinycc_nn.backends.tvm.tir.patches import Axis, Geometry, Phase, convolved, transposed
from tinycc_nn.ir.graph import Op
from tinycc_nn.ops import ints, number


def geometry_of(op: Op) -> Geometry | None:
    """None for other ops, for weights that run, and for several images at once."""
    if op.name not in ("conv2d", "conv2d_transpose", "dense"):
        return None
    if any(v.constant is None for v in op.operands[1:]):
        return None
    x, weights = op.operands[0].type.shape, op.operands[1].type.shape
    if op.name == "dense":
        rows = prod(x[:-1])
        phase = Phase(Axis(1, 1), Axis(rows, rows))
        return Geometry(x[-1], weights[0], rows, (phase,))
    if x[0] != 1:
        return None
    axes = convolved if op.name == "conv2d" else transposed
    stride, dilation, pad = (ints(op, n) for n in ("stride", "dilation", "pad"))
    rows_, columns = (
        axes(x[1 + i], weights[1 + i], stride[i], dilation[i], pad[2 * i], op.type.shape[1 + i])
        for i in (0, 1)
    )
    phases = tuple(Phase(r, c) for r in rows_ for c in columns)
    return Geometry(x[3], weights[0], op.type.shape[2], phases, int(number(op, "groups")))

"""moves: concat, slice and pad as copies of contiguous runs."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.tir.moves import Move, box, function
from tinycc_nn.ir.graph import Op
from tinycc_nn.ops import ints, number
from tinycc_nn.ops.shape import pad_value, slice_ranges
from tinycc_nn.target import Target

CYCLES_PER_COPY = 40.0
CYCLES_PER_BYTE = 0.6


class Moves:
    """All operands run; the fill of a pad must be the same byte throughout."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        del target
        if any(v.constant is not None for v in op.operands) or not (moves := _moves(op)):
            return
        fill = _fill(op)
        if op.name == "pad" and fill is None:
            return
        copies = sum(prod(n for n, _, _ in m.loops) for m in moves)
        cycles = copies * CYCLES_PER_COPY + op.type.nbytes * CYCLES_PER_BYTE
        yield Kernel("moves", lambda: _code(op, moves, fill), 0, 60 + 40 * len(moves), cycles)


def _moves(op: Op) -> list[Move]:
    shape = op.type.shape
    if op.name == "concat":
        return _concat(op)
    source, start = op.operands[0].type.shape if op.operands else (), [0] * len(shape)
    if op.name == "slice" and all(s == 1 for s in ints(op, "step")):
        begins = [r.start for r in slice_ranges(op)]
        return [box(0, shape, shape, start, source, begins)]
    if op.name == "pad":
        return [box(0, source, shape, ints(op, "pads")[::2], source, start)]
    return []


def _concat(op: Op) -> list[Move]:
    axis, shape = int(number(op, "axis")), op.type.shape
    moves, done = [], 0
    for i, v in enumerate(op.operands):
        start = [done if a == axis else 0 for a in range(len(shape))]
        moves.append(box(i, v.type.shape, shape, start, v.type.shape, [0] * len(shape)))
        done += v.type.shape[axis]
    return moves


def _fill(op: Op) -> int | None:
    """The byte that a pad writes; None for other operators, and for a float that is not 0."""
    if op.name != "pad":
        return None
    value = pad_value(op)
    if op.type.dtype.is_float:
        return 0 if value == 0 else None
    return int(value) & 0xFF


def _code(op: Op, moves: list[Move], fill: int | None) -> Code:
    dtype = op.type.dtype.numpy
    sizes = [v.type.size for v in op.operands]
    return Code(function(sizes, op.type.size, dtype.name, dtype.itemsize, moves, fill), ())


FAMILY = Moves()

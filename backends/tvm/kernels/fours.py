"""fours: tables, sums and products element by element, four at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import numpy as np

from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.tir.blocks import clipped
from tinycc_nn.backends.tvm.tir.fours import Compute, Fours, Operand, function
from tinycc_nn.backends.tvm.tir.template import Requantize
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import F32, I8, Array
from tinycc_nn.numeric.requantize import requantize
from tinycc_nn.ops.activation import bounds, int8_bounds
from tinycc_nn.ops.binary import product_factors, quants, sum_factors
from tinycc_nn.ops.quant import requantize_factor
from tinycc_nn.ops.unary import BY_NAME, lookup_table
from tinycc_nn.target import Target

CYCLES = {"table": 5.0, "add": 11.0, "sub": 11.0, "mul": 9.0, "float": 7.0}
"""For an element."""

FLOATS = {"add": "+", "sub": "-", "mul": "*"}


class FoursFamily:
    """int8 functions of one element; add, sub and mul whose operands have one shape, or one of them
    is a row of the last axis.
    """

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if (table := _table(op)) is not None:
            x = (Operand(op.type.size),)
            kind = Fours("int8", lambda _names, _i: [], x, op.type.size, True)
            yield _kernel(op, kind, "table", (table,), (0,))
            return
        if target.cpu in ("cortex-m0", "cortex-m0plus"):
            return  # too few registers: one at a time is as fast
        if op.name not in FLOATS or (operands := _operands(op)) is None:
            return
        whole = tuple(
            i for i, o in enumerate(operands) if o.size == op.type.size and not o.constant
        )
        arrays = tuple(v.constant for v in op.operands if v.constant is not None)
        if op.type.dtype == F32 and target.fpu != "none":
            kind = Fours("float32", _float(op), operands, op.type.size)
            yield _kernel(op, kind, "float", arrays, whole)
        elif op.type.dtype == I8:
            compute = _product(op) if op.name == "mul" else _sum(op)
            kind = Fours("int8", compute, operands, op.type.size)
            yield _kernel(op, kind, op.name, arrays, whole)


def _kernel(
    op: Op, kind: Fours, cost: str, constants: tuple[Array, ...], in_place: tuple[int, ...]
) -> Kernel:
    def code() -> Code:
        f, micro = function(kind)
        return Code(f, constants, micro)

    cycles = op.type.size * CYCLES[cost]
    return Kernel("fours", code, sum(a.nbytes for a in constants), 150, cycles, in_place=in_place)


def _table(op: Op) -> Array | None:
    """int8[256] by the operand's byte, for an int8 function of one int8 element; else None."""
    if op.type.dtype != I8 or not op.operands or op.operands[0].type.dtype != I8:
        return None
    if op.operands[0].constant is not None:
        return None
    if op.name in BY_NAME:
        return np.roll(lookup_table(op), 128)
    x, y = op.operands[0].type.quant, op.type.quant
    if op.name != "requantize" or x is None or y is None or x.axis is not None:
        return None
    m, shift = requantize_factor(op)
    centred = np.arange(-128, 128, dtype=np.int64) - x.zero
    stored = requantize(centred, np.array([m], np.int32), shift, y.zero, -128, 127)
    return np.roll(stored.astype(np.int8), 128)


def _operands(op: Op) -> tuple[Operand, ...] | None:
    """None where an operand is neither whole nor a row, or none runs as a whole."""
    found = []
    for v in op.operands:
        row = prod(v.type.shape) == v.type.shape[-1] == op.type.shape[-1] if v.type.rank else False
        if v.type.shape != op.type.shape and not row:
            return None
        if v.type.quant is not None and v.type.quant.axis is not None:
            return None
        if v.type.dtype != op.type.dtype:
            return None
        found.append(Operand(v.type.size, v.constant is not None))
    runs = any(o.size == op.type.size and not o.constant for o in found)
    return tuple(found) if runs else None


def _float(op: Op) -> Compute:
    low, high = bounds(op)

    def compute(names: Sequence[str], i: int) -> list[str]:
        a, b = names
        lines = [f"float r{i} = {a} {FLOATS[op.name]} {b};"]
        return [*lines, *clipped(f"r{i}", low, high), f"y[{i}] = r{i};"]

    return compute


def _product(op: Op) -> Compute:
    a, b, y = quants(op)
    m, shift = product_factors(op)
    low, high = int8_bounds(op)
    narrow = 255 * 255 << (32 - shift) < 2**31
    rule = Requantize(shift, y.zero, low, high, False, narrow)

    def compute(names: Sequence[str], i: int) -> list[str]:
        product = f"({names[0]} - {a.zero}) * ({names[1]} - {b.zero})"
        return [
            f"const int32_t s{i} = {product.replace('- -', '+ ')};",
            f"y[{i}] = {rule.c(f's{i}', str(m))};",
        ]

    return compute


def _sum(op: Op) -> Compute:
    a, b, y = quants(op)
    ma, mb, shift = sum_factors(op)
    offset = (1 << (shift - 1)) - a.zero * ma - b.zero * mb + (y.zero << shift)
    low, high = int8_bounds(op)

    def compute(names: Sequence[str], i: int) -> list[str]:
        total = f"({names[0]} * {ma} + {names[1]} * {mb} + {offset}) >> {shift}"
        return [f"y[{i}] = tcnn_clamp({total}, {low}, {high});"]

    return compute


FAMILY = FoursFamily()

"""add-dsp: sums and differences of two int8 tensors of one shape, with the DSP extension.

Alone, as here, a sum takes 6.25 instructions and 6.9 cycles an element (Cortex-M4, GCC 12 -O2). In the
producer's requantization it was measured to take 7.1 and 8.8: its operand is loaded byte by byte, and
the producer's result has to be rounded and limited to int8 all the same. So it isn't fused.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.tir.addition import Sum, kernel
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import I8
from tinycc_nn.ops.activation import int8_bounds
from tinycc_nn.ops.binary import quants, sum_factors
from tinycc_nn.target import Target

CYCLES_PER_ELEMENT = 7.0
TEXT_BYTES = 220


class Addition:
    """Both operands run; broadcasting and constants are for the generic kernel."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if op.name not in ("add", "sub") or op.type.dtype != I8 or not target.dsp:
            return
        if any(v.constant is not None or v.type.shape != op.type.shape for v in op.operands):
            return
        cycles = op.type.size * CYCLES_PER_ELEMENT
        yield Kernel("add-dsp", lambda: _code(op), 0, TEXT_BYTES, cycles, in_place=(0, 1))


def _code(op: Op) -> Code:
    a, b, y = quants(op)
    ma, mb, shift = sum_factors(op)
    offset = (1 << (shift - 1)) - a.zero * ma - b.zero * mb + (y.zero << shift)
    low, high = int8_bounds(op)
    total = Sum(ma, mb, offset, shift, low, high)
    function, micro_kernels = kernel(op.type.size, total)
    return Code(function, (), micro_kernels)


FAMILY = Addition()

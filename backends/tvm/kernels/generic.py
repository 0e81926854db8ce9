"""generic: the tensor expression of an op, lowered as it stands. It fits every op and core."""

from __future__ import annotations

from collections.abc import Iterable

from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.te.define import define, is_defined
from tinycc_nn.ir.graph import Op
from tinycc_nn.ops import ints, opdef
from tinycc_nn.target import Target

CYCLES_PER_MAC = 10.0
CYCLES_PER_PADDED_MAC = 30.0
"""Where each product asks whether its pixel lies in the image."""

CYCLES_PER_TRANSPOSED_MAC = 55.0
"""Where each product also asks whether its place is a multiple of the stride."""

CYCLES_PER_SOFT_MAC = 240.0
"""More of a float product on a core without floating-point instructions."""

CYCLES_PER_ELEMENT = 20.0
CODE_BYTES = 300


class Generic:
    """Loops over the result, each element computed from memory."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if not is_defined(op):
            return
        d = opdef(op.name)
        constants = sum(v.type.nbytes for v in op.operands if v.constant is not None)
        same_size = tuple(
            i
            for i, v in enumerate(op.operands)
            if d.elementwise and (v.type.shape, v.type.dtype) == (op.type.shape, op.type.dtype)
        )
        yield Kernel(
            "generic",
            lambda: _code(op),
            constants,
            CODE_BYTES,
            d.macs(op) * _cycles_per_mac(op, target) + op.type.size * CYCLES_PER_ELEMENT,
            in_place=same_size,
        )


def _cycles_per_mac(op: Op, target: Target) -> float:
    soft = CYCLES_PER_SOFT_MAC if op.type.dtype.is_float and target.fpu == "none" else 0.0
    if op.name == "conv2d_transpose":
        return soft + CYCLES_PER_TRANSPOSED_MAC
    padded = opdef(op.name).attribute("pad") is not None and any(ints(op, "pad"))
    return soft + (CYCLES_PER_PADDED_MAC if padded else CYCLES_PER_MAC)


def _code(op: Op) -> Code:
    function, constants = define(op)
    return Code(function, constants)


FAMILY = Generic()

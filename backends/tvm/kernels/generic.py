"""generic: the tensor expression of an op, lowered as it stands. It fits every op and core."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

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

CYCLES_PER_SOFT_MAC, CYCLES_PER_SOFT_TAP = 240.0, 70.0
"""More of a float product, and of a float sum, on a core without floating-point instructions."""

CYCLES_PER_PADDED_TAP, CYCLES_PER_TAP = 20.0, 3.5
"""For an element of a pool's window."""

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
            _cycles(op, target),
            in_place=same_size,
        )


def _cycles(op: Op, target: Target) -> float:
    d = opdef(op.name)
    soft = op.type.dtype.is_float and target.fpu == "none"
    padded = d.attribute("pad") is not None and any(ints(op, "pad"))
    per_mac = CYCLES_PER_PADDED_MAC if padded else CYCLES_PER_MAC
    if op.name == "conv2d_transpose":
        per_mac = CYCLES_PER_TRANSPOSED_MAC
    per_element = CYCLES_PER_ELEMENT
    if d.attribute("kernel") is not None:
        per_tap = CYCLES_PER_PADDED_TAP if padded else CYCLES_PER_TAP
        per_element += prod(ints(op, "kernel")) * (per_tap + soft * CYCLES_PER_SOFT_TAP)
    return d.macs(op) * (per_mac + soft * CYCLES_PER_SOFT_MAC) + op.type.size * per_element


def _code(op: Op) -> Code:
    function, constants = define(op)
    return Code(function, constants)


FAMILY = Generic()

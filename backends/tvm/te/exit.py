"""exit_if as a choice of two values that are both there: where no inference can end at it."""

from __future__ import annotations

from tvm import te, tirx

from tinycc_nn.backends.tvm.te.define import Definition, Expr, Terms
from tinycc_nn.backends.tvm.te.integer import f32, i32
from tinycc_nn.ops.exit import least


def exit_if(t: Terms) -> te.Tensor:
    shape, bound = t.op.type.shape or (1,), least(t.op)
    every = [te.reduce_axis((0, n)) for n in shape]

    def is_sure(*_place: Expr) -> Expr:
        x = t[0](*every)
        large = x >= f32(bound) if t.is_float else i32(x) >= int(bound)
        return te.sum(
            tirx.Select(large, tirx.const(1, "int32"), tirx.const(0, "int32")), axis=every
        )

    sure = t.reduce(is_sure)
    return t.compute(lambda *i: tirx.Select(sure(*i) > 0, t[0](*i), t[1](*i)))


DEFINITIONS: dict[str, Definition] = {"exit_if": exit_if}

"""Between real numbers and stored integers."""

from __future__ import annotations

from tvm import te, tirx

from tinycc_nn.backends.tvm.te.define import Definition, Expr, Terms
from tinycc_nn.backends.tvm.te.integer import clamp, f32, i32, requantize64
from tinycc_nn.ir.types import Quant
from tinycc_nn.ops.quant import requantize_factor, scale_of

MAGIC = 12582912.0
"""1.5 * 2^23: adding and subtracting it rounds a float32 below 2^22 to an integer, half to even."""


def _scale(t: Terms, q: Quant) -> te.Tensor | float:
    scale = scale_of(q, t.op.type.rank)
    return scale if isinstance(scale, float) else t.constant(scale[0])


def _at(scale: te.Tensor | float, i: tuple[Expr, ...]) -> Expr:
    if isinstance(scale, float):
        return f32(scale)
    return scale[tuple(0 if n == 1 else e for n, e in zip(scale.shape, i, strict=True))]


def quantize(t: Terms) -> te.Tensor:
    q = t.op.type.quant
    assert q is not None
    scale = _scale(t, q)

    def body(*i: Expr) -> Expr:
        x = clamp(t[0][i] / _at(scale, i), f32(-1024.0), f32(1024.0))
        rounded = tirx.call_pure_extern("float32", "tcnn_rint", x)
        return clamp(rounded.astype("int32") + q.zero, i32(-128), i32(127)).astype("int8")

    return t.compute(body)


def dequantize(t: Terms) -> te.Tensor:
    q = t.op.operands[0].type.quant
    assert q is not None
    scale = _scale(t, q)
    return t.compute(lambda *i: f32(i32(t[0][i]) - q.zero) * _at(scale, i))


def requantize(t: Terms) -> te.Tensor:
    x, y = t.op.operands[0].type.quant, t.op.type.quant
    assert x is not None and y is not None
    m, shift = requantize_factor(t.op)
    return t.compute(
        lambda *i: requantize64(
            (i32(t[0][i]) - x.zero).astype("int64") * tirx.const(m, "int64"),
            shift, y.zero, -128, 127,
        )
    )  # fmt: skip


DEFINITIONS: dict[str, Definition] = {
    "quantize": quantize,
    "dequantize": dequantize,
    "requantize": requantize,
}

"""Between real numbers and stored integers: quantize, dequantize, requantize."""

from __future__ import annotations

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import F32, I8, I16, I32, Array, Quant, TensorType
from tinycc_nn.numeric.requantize import dequantize, multipliers, quantize, requantize
from tinycc_nn.ops.activation import stored_limits
from tinycc_nn.ops.definition import Attribute, Int8, OpDef
from tinycc_nn.ops.registry import number


def scale_of(q: Quant, rank: int) -> Array | float:
    """The scale as float, or float32 in a shape that broadcasts against [samples, *shape]."""
    if isinstance(q.scale, float):
        return q.scale
    return q.broadcast(rank)[None].astype(np.float32)


def _infer_quantize(op: Op) -> tuple[TensorType, ...]:
    x = op.operands[0].type
    if x.dtype != F32:
        raise TinyccError(f"quantize takes f32, not {x.dtype}", op.loc)
    return (TensorType(I8, x.shape),)


def _infer_dequantize(op: Op) -> tuple[TensorType, ...]:
    x = op.operands[0].type
    if (x.dtype not in (I8, I16, I32) and x.dtype.book is None) or x.quant is None:
        message = f"dequantize takes i8, i16, i32 or codes with a quantization, not {x}"
        raise TinyccError(message, op.loc)
    return (TensorType(F32, x.shape),)


def _infer_requantize(op: Op) -> tuple[TensorType, ...]:
    x = op.operands[0].type
    if x.dtype not in (I8, I16) or x.quant is None or not isinstance(x.quant.scale, float):
        raise TinyccError(f"requantize takes i8 or i16 with one scale, not {x}", op.loc)
    if (bits := number(op, "bits")) not in (8, 16):
        raise TinyccError(f"requantize makes 8 or 16 bits, not {bits}", op.loc)
    return (TensorType(I16 if bits == 16 else I8, x.shape),)


def _run_quantize(op: Op, x: Array) -> Array:
    q = op.type.quant
    assert q is not None
    return quantize(x, scale_of(q, op.type.rank), q.zero)


def _run_dequantize(op: Op, x: Array) -> Array:
    dtype, q = op.operands[0].type.dtype, op.operands[0].type.quant
    assert q is not None
    scale = np.asarray(scale_of(q, op.type.rank), np.float32) * np.float32(dtype.unit)
    return dequantize(dtype.decode(x), np.asarray(scale), q.zero)


def requantize_factor(op: Op) -> tuple[int, int]:
    """(m, shift) of a requantize: y = ((q - zx) * m + half >> shift) + zy."""
    x, y = op.operands[0].type.quant, op.type.quant
    assert x is not None and y is not None
    m, shift = multipliers(x.scales() / y.scales())
    return int(m[0]), shift


def _run_requantize(op: Op, x: Array) -> Array:
    qx, qy = op.operands[0].type.quant, op.type.quant
    assert qx is not None and qy is not None
    m, shift = requantize_factor(op)
    factor = np.array([m], np.int32)
    dtype, centred = op.type.dtype, x.astype(np.int64) - qx.zero
    return requantize(centred, factor, shift, qy.zero, *stored_limits(dtype), dtype.numpy)


OPS = (
    OpDef(
        "quantize",
        "f32 to i8: saturate(rint(x / scale) + zero), halves to even, in float32",
        _infer_quantize,
        _run_quantize,
        int8=Int8.REQUANTIZE,
        elementwise=True,
    ),
    OpDef(
        "dequantize",
        "i8, i16 or i32 to f32: (q - zero) * scale in float32",
        _infer_dequantize,
        _run_dequantize,
        int16=True,
        int8=Int8.REQUANTIZE,
        elementwise=True,
    ),
    OpDef(
        "requantize",
        "i8 or i16 to i8 or i16 of another scale and zero point",
        _infer_requantize,
        _run_requantize,
        (Attribute("bits", 8, "of an element of the result, 8 or 16"),),
        int16=True,
        int8=Int8.REQUANTIZE,
        elementwise=True,
    ),
)

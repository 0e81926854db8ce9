"""ONNX readers of QuantizeLinear and DequantizeLinear.

uint8 becomes int8: 128 is subtracted from the stored values and from the zero point, which
leaves the real values as they are.
"""

from __future__ import annotations

import numpy as np

from tinycc_nn.ir.graph import Value
from tinycc_nn.ir.types import F32, I8, Array, Blob, Quant, TensorType
from tinycc_nn.reader import Node, Reader

STORED = ("int8", "uint8", "int32")
FLOAT, UINT8, INT8 = 1, 2, 3
"""TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8"""


def _quant(n: Node, rank: int, offset: int) -> Quant:
    """The quantization that inputs 1 and 2 describe; `offset` is subtracted from the zero."""
    scale = n.constant(1).astype(np.float32)
    zeros = n.optional_constant(2)
    zeros = np.zeros(1, np.int8) if zeros is None else zeros
    if n.integer("block_size", 0):
        raise n.fail("blocks of scales are not supported", "one scale per tensor or per channel")
    if scale.size == 0 or not np.all(np.isfinite(scale)) or np.any(scale <= 0):
        raise n.fail("the scales must be positive and finite")
    found = sorted({int(z) for z in zeros.reshape(-1)})
    if len(found) != 1:
        raise n.fail("the zero points differ between channels", "quantize weights symmetrically")
    zero = found[0] - offset
    if not -128 <= zero <= 127:
        raise n.fail(f"the zero point {found[0]} is out of range")
    if scale.size == 1:
        return Quant(float(scale.reshape(-1)[0]), zero)
    axis = n.integer("axis", 1)
    axis += rank * (axis < 0)
    if scale.ndim != 1 or not 0 <= axis < rank:
        raise n.fail("the scales must be one number or one for each channel")
    return Quant(Blob("scale", scale), zero, axis)


def _check_length(n: Node, q: Quant, shape: tuple[int, ...]) -> Quant:
    if isinstance(q.scale, Blob) and q.axis is not None and len(q.scale.array) != shape[q.axis]:
        raise n.fail(f"{len(q.scale.array)} scales for {shape[q.axis]} channels")
    return q


def _quantize(n: Node) -> Value:
    x, zero = n.value(0), n.optional_constant(2)
    to = zero.dtype.name if zero is not None else "uint8"
    if (wanted := n.integer("output_dtype", 0)) and zero is None:
        to = {UINT8: "uint8", INT8: "int8"}.get(wanted, f"type {wanted}")
    if to not in ("int8", "uint8"):
        raise n.fail(f"quantization to {to} is not supported", "int8 or uint8")
    if n.integer("precision", FLOAT) not in (0, FLOAT):
        raise n.fail("the precision of the division must be float")
    q = _check_length(n, _quant(n, x.type.rank, 128 * (to == "uint8")), x.type.shape)
    if q.axis is not None and x.constant is None:
        raise n.fail("an activation has more than one scale", "quantize it per tensor")
    return n.emit("quantize", [x], quant=q)


def _is_uint8(n: Node) -> bool:
    zero = n.optional_constant(2)
    return zero is not None and zero.dtype == np.uint8


def _stored(n: Node, array: Array) -> Value:
    if array.dtype.name not in STORED:
        raise n.fail(f"dequantization from {array.dtype} is not supported", "int8, uint8 or int32")
    unsigned = array.dtype == np.uint8
    q = _check_length(n, _quant(n, array.ndim, 128 * unsigned), array.shape)
    kept = (array.astype(np.int16) - 128).astype(np.int8) if unsigned else array
    return n.add_constant(kept, q)


def _dequantize(n: Node) -> Value:
    if n.integer("output_dtype", FLOAT) not in (0, FLOAT):
        raise n.fail("dequantization is to float32 only")
    x = n.known(0)
    if x is None:
        raise n.fail("input 0 is missing")
    if not isinstance(x, Value):
        return n.emit("dequantize", [_stored(n, x)])
    q = _quant(n, x.type.rank, 128 * _is_uint8(n))
    if x.owner is None and x.type.dtype == I8 and x.type.quant is None:
        x.type = TensorType(I8, x.type.shape, q)
    if x.type.dtype == F32:
        raise n.fail("the input is float already")
    if x.type.quant != q:
        raise n.fail(f"the tensor was quantized by {x.type.quant}, not by {q}")
    return n.emit("dequantize", [x])


READERS = (
    Reader(
        ("QuantizeLinear",),
        _quantize,
        ("axis", "saturate", "block_size", "output_dtype", "precision"),
    ),
    Reader(("DequantizeLinear",), _dequantize, ("axis", "block_size", "output_dtype")),
)

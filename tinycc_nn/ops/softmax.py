"""softmax and log_softmax along one axis."""

from __future__ import annotations

from math import exp, floor, prod

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op, Value
from tinycc_nn.ir.types import F32, Array, Quant, TensorType
from tinycc_nn.ops.definition import Attribute, Int8, OpDef
from tinycc_nn.ops.registry import number
from tinycc_nn.reader import Node, Reader

OUTPUT = Quant(1 / 256, -128)
"""Probabilities 0..255/256: all that int8 can tell apart."""


def infer(op: Op) -> tuple[TensorType, ...]:
    x, axis = op.operands[0].type, int(number(op, "axis"))
    if not 0 <= axis < x.rank:
        raise TinyccError(
            f"{op.name}: axis {axis} of a tensor with {x.rank} axes", op.loc, f"0..{x.rank - 1}"
        )
    return (TensorType(x.dtype, x.shape),)


def infer_float(op: Op) -> tuple[TensorType, ...]:
    (t,) = infer(op)
    if t.dtype != F32:
        raise TinyccError(f"{op.name}: the input must be f32", op.loc, "dequantize it first")
    return (t,)


def exponentials(q: Quant) -> Array:
    """uint16[256]: round(2^15 * exp(-scale * d)) for the distance d below the largest element."""
    scale = float(q.scales()[0])
    return np.array([floor(2**15 * exp(-scale * d) + 0.5) for d in range(256)], np.uint16)


def inverse_scale(q: Quant) -> int:
    """round(1 / scale) of the result: what a probability of 1 is, in its steps."""
    return floor(1 / float(q.scales()[0]) + 0.5)


def run_softmax(op: Op, x: Array) -> Array:
    axis = int(number(op, "axis")) + 1
    top = x.max(axis=axis, keepdims=True)
    if op.type.dtype == F32:
        e = np.exp(x - top)
        return np.asarray(e / e.sum(axis=axis, keepdims=True))
    qx, qy = op.operands[0].type.quant, op.type.quant
    assert qx is not None and qy is not None
    e = exponentials(qx)[top.astype(np.int32) - x].astype(np.int64)
    total = e.sum(axis=axis, keepdims=True)
    y = (e * inverse_scale(qy) + total // 2) // total + qy.zero
    return np.asarray(np.clip(y, -128, 127).astype(np.int8))


def run_log_softmax(op: Op, x: Array) -> Array:
    axis = int(number(op, "axis")) + 1
    z = x - x.max(axis=axis, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=axis, keepdims=True)))


AXIS = Attribute("axis", int, "the axis whose elements compete, from 0")

OPS = (
    OpDef(
        "softmax",
        "exp(x) / sum(exp(x)) along an axis of x f32|i8; int8 with the scales sx and sy: "
        "e = round(2^15 * exp(-sx * (max - x))), y = (e * round(1 / sy) + sum(e) / 2) / sum(e) "
        "+ zero, divisions rounded down, saturated",
        infer,
        run_softmax,
        (AXIS,),
        int8=Int8.REQUANTIZE,
        output=OUTPUT,
    ),
    OpDef(
        "log_softmax",
        "x - log(sum(exp(x))) along an axis of x f32",
        infer_float,
        run_log_softmax,
        (AXIS,),
    ),
)


def read(n: Node) -> Value:
    x, name = n.value(0), {"Softmax": "softmax", "LogSoftmax": "log_softmax"}[n.op_type]
    axis = n.integer("axis", -1 if n.opset >= 13 else 1)
    if not -x.type.rank <= axis < x.type.rank:
        raise n.fail(f"axis {axis} of a tensor with {x.type.rank} axes")
    axis %= x.type.rank
    if n.opset >= 13:
        return n.emit(name, [x], {"axis": axis})
    # Up to opset 12 all elements from the axis on compete.
    shape = x.type.shape
    wide = [i for i in range(axis, len(shape)) if shape[i] > 1] or [axis]
    if len(wide) == 1:
        return n.emit(name, [x], {"axis": wide[0]})
    flat = n.emit("reshape", [x], {"shape": (prod(shape[:axis]), prod(shape[axis:]))})
    return n.emit("reshape", [n.emit(name, [flat], {"axis": 1})], {"shape": shape})


READERS = (Reader(("Softmax", "LogSoftmax"), read, ("axis",)),)

"""reduce_mean, reduce_sum, reduce_max: over whole axes."""

from __future__ import annotations

from math import prod

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op, Value
from tinycc_nn.ir.types import F32, Array, TensorType
from tinycc_nn.numeric.requantize import multipliers, requantize
from tinycc_nn.ops.activation import stored_limits
from tinycc_nn.ops.definition import Attribute, Int8, OpDef
from tinycc_nn.ops.registry import flag, ints
from tinycc_nn.reader import Node, Reader


def _shape(op: Op) -> tuple[int, ...]:
    x, axes = op.operands[0].type, ints(op, "axes")
    if len(set(axes)) != len(axes) or not all(0 <= a < x.rank for a in axes):
        raise TinyccError(
            f"{op.name}: axes {list(axes)} of a tensor with {x.rank} axes",
            op.loc,
            f"each of 0..{x.rank - 1} at most once",
        )
    if flag(op, "keep"):
        return tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return tuple(n for i, n in enumerate(x.shape) if i not in axes)


def infer(op: Op) -> tuple[TensorType, ...]:
    return (TensorType(op.operands[0].type.dtype, _shape(op)),)


def infer_max(op: Op) -> tuple[TensorType, ...]:
    return (op.operands[0].type.with_shape(*_shape(op)),)


def reduced(op: Op) -> int:
    """How many elements make one element of the result."""
    return prod(op.operands[0].type.shape[a] for a in ints(op, "axes"))


def sum_multiplier(op: Op) -> tuple[int, int]:
    """The multiplier and shift of an int8 reduce_mean, sx / (sy * n), or reduce_sum, sx / sy."""
    x, y = op.operands[0].type.quant, op.type.quant
    assert x is not None and y is not None
    n = reduced(op) if op.name == "reduce_mean" else 1
    m, shift = multipliers(x.scales() / (y.scales() * n))
    return int(m[0]), shift


def run_sum(op: Op, x: Array) -> Array:
    axes, keep = _numpy_axes(op), flag(op, "keep")
    if op.type.dtype == F32:
        y = x.sum(axis=axes, keepdims=keep, dtype=np.float32)
        return np.asarray(y / np.float32(reduced(op)) if op.name == "reduce_mean" else y)
    qx, qy = op.operands[0].type.quant, op.type.quant
    if qx is None or qy is None:
        return np.asarray(x.sum(axis=axes, keepdims=keep, dtype=x.dtype))
    acc = (x.astype(np.int64) - qx.zero).sum(axis=axes, keepdims=keep)
    m, shift = sum_multiplier(op)
    factor, dtype = np.array([m], np.int32), op.type.dtype
    return requantize(acc, factor, shift, qy.zero, *stored_limits(dtype), dtype.numpy)


def run_max(op: Op, x: Array) -> Array:
    return np.asarray(x.max(axis=_numpy_axes(op), keepdims=flag(op, "keep")))


def _numpy_axes(op: Op) -> tuple[int, ...]:
    return tuple(a + 1 for a in ints(op, "axes"))


ATTRS = (
    Attribute("axes", tuple, "the axes that are reduced, from 0"),
    Attribute("keep", True, "reduced axes stay, with one element"),
)

OPS = (
    OpDef(
        "reduce_mean",
        "the mean over axes of x f32|i8; int8: the sum of x - zero with the multiplier "
        "sx / (sy * n), where n elements are reduced",
        infer,
        run_sum,
        ATTRS,
        int8=Int8.REQUANTIZE,
        int16=True,
    ),
    OpDef(
        "reduce_sum",
        "the sum over axes of x f32|i8; int8: the sum of x - zero with the multiplier sx / sy",
        infer,
        run_sum,
        ATTRS,
        int8=Int8.REQUANTIZE,
        int16=True,
    ),
    OpDef(
        "reduce_max",
        "the largest element over axes",
        infer_max,
        run_max,
        ATTRS,
        int8=Int8.STORAGE,
    ),
)


def read(n: Node) -> Value:
    x = n.value(0)
    if n.opset >= (13 if n.op_type == "ReduceSum" else 18):
        given = n.optional_constant(1)
        axes = () if given is None else tuple(int(a) for a in given.reshape(-1))
    else:
        axes = n.integers("axes", ())
    if not axes:
        if n.integer("noop_with_empty_axes", 0):
            return x
        axes = tuple(range(x.type.rank))
    positive = tuple(a + x.type.rank if a < 0 else a for a in axes)
    name = {"ReduceMean": "reduce_mean", "ReduceSum": "reduce_sum", "ReduceMax": "reduce_max"}
    return n.emit(name[n.op_type], [x], {"axes": positive, "keep": bool(n.integer("keepdims", 1))})


READERS = (
    Reader(
        ("ReduceMean", "ReduceSum", "ReduceMax"), read, ("axes", "keepdims", "noop_with_empty_axes")
    ),
)

"""dense and matmul: products of matrices, with constant weights and of two activations."""

from __future__ import annotations

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import F32, Array, TensorType
from tinycc_nn.numeric import exact
from tinycc_nn.numeric.requantize import multipliers, requantize
from tinycc_nn.ops.activation import ACT, clamp
from tinycc_nn.ops.conv import finish_int8
from tinycc_nn.ops.definition import Int8, OpDef


def infer_dense(op: Op) -> tuple[TensorType, ...]:
    x, w = op.operands[0].type, op.operands[1].type
    if x.rank < 1 or w.rank != 2 or x.shape[-1] != w.shape[1]:
        raise TinyccError(
            f"dense: weights {list(w.shape)} do not fit the input {list(x.shape)}",
            op.loc,
            "weights are [out, in], where in is the last axis of the input",
        )
    if len(op.operands) == 3 and op.operands[2].type.shape != (w.shape[0],):
        raise TinyccError(f"dense: the bias must have {w.shape[0]} elements", op.loc)
    return (TensorType(x.dtype, (*x.shape[:-1], w.shape[0])),)


def run_dense(op: Op, x: Array, w: Array, b: Array | None = None) -> Array:
    rows, weight = x.reshape(-1, x.shape[-1]), w[0]
    bias = None if b is None else b[0]
    if op.type.dtype == F32:
        y = rows @ weight.T
        y = clamp(op, y if bias is None else y + bias)
    else:
        qx, qw = op.operands[0].type.quant, op.operands[1].type.quant
        assert qx is not None and qw is not None
        acc = exact.matmul(rows.astype(np.int32) - qx.zero, weight.T.astype(np.int32) - qw.zero)
        y = finish_int8(op, acc, bias)
    return y.reshape(x.shape[0], *op.type.shape)


def macs_dense(op: Op) -> int:
    return op.type.size * op.operands[1].type.shape[1]


def infer_matmul(op: Op) -> tuple[TensorType, ...]:
    a, b = op.operands[0].type, op.operands[1].type
    fits = a.rank == b.rank >= 2 and a.shape[-1] == b.shape[-2]
    if not fits or any(i != j and 1 not in (i, j) for i, j in _outer(a, b)):
        raise TinyccError(
            f"matmul: {list(a.shape)} times {list(b.shape)} is not defined",
            op.loc,
            "[..., m, k] times [..., k, n], where axes before the last two are equal or 1",
        )
    outer = tuple(max(i, j) for i, j in _outer(a, b))
    return (TensorType(a.dtype, (*outer, a.shape[-2], b.shape[-1])),)


def _outer(a: TensorType, b: TensorType) -> list[tuple[int, int]]:
    return list(zip(a.shape[:-2], b.shape[:-2], strict=True))


def run_matmul(op: Op, a: Array, b: Array) -> Array:
    if op.type.dtype == F32:
        return np.asarray(a @ b)
    qa, qb, qy = op.operands[0].type.quant, op.operands[1].type.quant, op.type.quant
    assert qa is not None and qb is not None and qy is not None
    acc = exact.matmul(a.astype(np.int32) - qa.zero, b.astype(np.int32) - qb.zero)
    m, shift = multipliers(qa.scales() * qb.scales() / qy.scales())
    return requantize(acc, m, shift, qy.zero, -128, 127)


def macs_matmul(op: Op) -> int:
    return op.type.size * op.operands[0].type.shape[-1]


OPS = (
    OpDef(
        "dense",
        "x f32|i8[..., k] times the weights [n, k], each row one output, and an optional bias [n]",
        infer_dense,
        run_dense,
        ACT,
        roles=("x", "weight", "bias"),
        macs=macs_dense,
        int8=Int8.REQUANTIZE,
    ),
    OpDef(
        "matmul",
        "f32|i8[..., m, k] times [..., k, n] of equal rank; int8: one multiplier sa * sb / sy",
        infer_matmul,
        run_matmul,
        macs=macs_matmul,
        int8=Int8.REQUANTIZE,
    ),
)

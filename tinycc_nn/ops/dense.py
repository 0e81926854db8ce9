"""dense and matmul: products of matrices, with constant weights and of two activations."""

from __future__ import annotations

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op, Value
from tinycc_nn.ir.types import F32, Array, TensorType
from tinycc_nn.numeric import exact
from tinycc_nn.numeric.requantize import multipliers, requantize
from tinycc_nn.ops.activation import ACT, clamp
from tinycc_nn.ops.conv import SKIP, check_skip, finish_int8
from tinycc_nn.ops.definition import Int8, OpDef
from tinycc_nn.ops.layout import known, weight
from tinycc_nn.reader import Node, Reader


def infer_dense(op: Op) -> tuple[TensorType, ...]:
    check_skip(op)
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
    rows, weight = x.reshape(-1, x.shape[-1]), op.operands[1].type.dtype.decode(w[0])
    bias = None if b is None else b[0]
    if op.type.dtype == F32:
        y = rows @ weight.T
        y = clamp(op, y if bias is None else y + bias)
    else:
        qx, qw = op.operands[0].type.quant, op.operands[1].type.quant
        assert qx is not None and qw is not None
        centred = rows.astype(np.int32) - qx.zero
        if op.operands[1].type.dtype.is_whole:
            acc = exact.matmul(centred, weight.T.astype(np.int32) - qw.zero)
        else:
            acc = centred @ weight.T
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
        (*ACT, SKIP),
        roles=("x", "weight", "bias"),
        macs=macs_dense,
        int8=Int8.REQUANTIZE,
        int16=True,
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


def read_gemm(n: Node) -> Value:
    a, b, c = n.value(0), n.value(1), n.optional(2)
    if a.type.rank != 2 or b.type.rank != 2:
        raise n.fail("A and B must have 2 axes")
    alpha, beta = n.real("alpha", 1.0), n.real("beta", 1.0)
    if n.integer("transA", 0):
        a = n.emit("transpose", [a], {"perm": (1, 0)})
    if beta == 0:
        c = None
    found, by_rows = known(b), bool(n.integer("transB", 0))
    if found is None:
        b = n.emit("transpose", [b], {"perm": (1, 0)}) if by_rows else b
        return _plus(n, _times(n, n.emit("matmul", [a, b]), alpha), c, beta)
    if alpha == 1:
        w = weight(n, 1, lambda b: b if by_rows else b.T)
    else:
        real = found.real() * np.float32(alpha)
        w = n.add_constant(real if by_rows else real.T)
    bias = None if c is None else _bias(n, c, beta, w.type.shape[0])
    if bias is not None:
        return n.emit("dense", [a, w, bias])
    return _plus(n, n.emit("dense", [a, w]), c, beta)


def _bias(n: Node, c: Value, beta: float, size: int) -> Value | None:
    """beta * C as a bias [size], or None if C isn't one constant row."""
    found = known(c)
    if found is None or any(i != 1 for i in c.type.shape[:-1]):
        return None
    if c.type.shape == (size,) and beta == 1:
        return c
    row = found.real().reshape(-1) * np.float32(beta)
    return n.add_constant(np.broadcast_to(row, (size,)).copy())


def _plus(n: Node, y: Value, c: Value | None, beta: float) -> Value:
    if c is None:
        return y
    flat = n.emit("reshape", [c], {"shape": (1,) * (2 - c.type.rank) + c.type.shape})
    return n.emit("add", [y, _times(n, flat, beta)])


def _times(n: Node, x: Value, factor: float) -> Value:
    if factor == 1:
        return x
    return n.emit("mul", [x, n.add_constant(np.full((1, 1), factor, np.float32))])


def read_matmul(n: Node) -> Value:
    a, b = n.value(0), n.value(1)
    if not a.type.rank or not b.type.rank:
        raise n.fail("the operands must have at least one axis")
    if known(b) is not None and all(i == 1 for i in b.type.shape[:-2]):
        outer = a.type.shape[:-1]
        leading = max(0, b.type.rank - max(a.type.rank, 2))
        w = weight(n, 1, lambda b: b.reshape(1, -1) if b.ndim == 1 else b.reshape(b.shape[-2:]).T)
        y = n.emit("dense", [a, w])
        columns = b.type.shape[-1:] if b.type.rank > 1 else ()
        return _reshaped(n, y, ((1,) * leading + outer + columns))
    rank = max(a.type.rank, b.type.rank, 2)
    left = a.type.shape if a.type.rank > 1 else (1, *a.type.shape)
    right = b.type.shape if b.type.rank > 1 else (*b.type.shape, 1)
    left, right = (1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right
    y = n.emit("matmul", [_reshaped(n, a, left), _reshaped(n, b, right)])
    shape = y.type.shape[:-2]
    shape += y.type.shape[-2:-1] if a.type.rank > 1 else ()
    shape += y.type.shape[-1:] if b.type.rank > 1 else ()
    return _reshaped(n, y, shape)


def _reshaped(n: Node, x: Value, shape: tuple[int, ...]) -> Value:
    return x if x.type.shape == shape else n.emit("reshape", [x], {"shape": shape})


READERS = (
    Reader(("Gemm",), read_gemm, ("alpha", "beta", "transA", "transB")),
    Reader(("MatMul",), read_matmul),
)

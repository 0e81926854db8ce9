"""exit_if: what an early classifier says where it is sure of it, else what the network says."""

from __future__ import annotations

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import Array, TensorType
from tinycc_nn.ops.definition import Attribute, Int8, OpDef
from tinycc_nn.ops.registry import number


def infer(op: Op) -> tuple[TensorType, ...]:
    early, final = (v.type for v in op.operands)
    if (early.dtype, early.shape, early.quant) != (final.dtype, final.shape, final.quant):
        hint = "both are what the network gives: one type, one scale"
        raise TinyccError(f"exit_if: {early} and {final} do not go together", op.loc, hint)
    if early.quant is not None and not isinstance(early.quant.scale, float):
        raise TinyccError("exit_if: a scale for each channel can't be compared", op.loc)
    if number(op, "threshold") != number(op, "threshold"):
        raise TinyccError("exit_if: the threshold is not a number", op.loc)
    return (early,)


def least(op: Op) -> float:
    """The smallest stored element that is sure enough: float32, or an integer -128..128, where 128
    is more than any."""
    threshold, quant = number(op, "threshold"), op.type.quant
    if quant is None:
        return float(np.float32(threshold))
    stored = np.ceil(threshold / float(quant.scales()[0])) + quant.zero
    return float(np.clip(stored, -128, 128))


def is_sure(op: Op, early: Array) -> Array:
    """bool[samples]: whether any element of early [samples, *shape], as stored, is large enough."""
    bound = np.float32(least(op)) if op.type.dtype.is_float else int(least(op))
    return np.asarray((early.reshape(len(early), -1) >= bound).any(axis=1))


def run(op: Op, early: Array, final: Array) -> Array:
    n = max(len(early), len(final))
    early, final = (np.broadcast_to(a, (n, *a.shape[1:])) for a in (early, final))
    sure = is_sure(op, early).reshape(n, *(1 for _ in op.type.shape))
    return np.where(sure, early, final)


OPS = (
    OpDef(
        "exit_if",
        "the operand early if any of its elements, as a real number, is at least the threshold, "
        "else the operand final, which then needs not be computed; f32|i8 of one type",
        infer,
        run,
        (Attribute("threshold", float, "of the largest element of early, a real number"),),
        int8=Int8.STORAGE,
    ),
)

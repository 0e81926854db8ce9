"""batch_norm: normalization with constant statistics; on floats, `fold-bn` removes it."""

from __future__ import annotations

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Attr, Op, Value
from tinycc_nn.ir.types import F32, Array, TensorType
from tinycc_nn.ops.definition import Attribute, OpDef
from tinycc_nn.ops.registry import number
from tinycc_nn.reader import Node, Reader

PARAMETERS = ("gamma", "beta", "mean", "variance")


def infer(op: Op) -> tuple[TensorType, ...]:
    x, *parameters = (v.type for v in op.operands)
    if x.dtype != F32:
        raise TinyccError("batch_norm: the input must be f32", op.loc, "fold it or dequantize")
    if len(parameters) != len(PARAMETERS):
        raise TinyccError("batch_norm takes x, gamma, beta, mean, variance", op.loc)
    for name, t in zip(PARAMETERS, parameters, strict=True):
        if t.shape != x.shape[-1:]:
            raise TinyccError(
                f"batch_norm: {name} is {list(t.shape)}, the input {list(x.shape)}",
                op.loc,
                "one element for each channel, the last axis of the input",
            )
    return (TensorType(F32, x.shape),)


def scale_and_offset(
    epsilon: float, gamma: Array, beta: Array, mean: Array, variance: Array
) -> tuple[Array, Array]:
    """float32[...] scale and offset with batch_norm(x) = x * scale + offset."""
    scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


def run(op: Op, x: Array, *parameters: Array) -> Array:
    middle = (1,) * (x.ndim - 2)
    each = [p.reshape(p.shape[0], *middle, p.shape[1]) for p in parameters]
    scale, offset = scale_and_offset(number(op, "epsilon"), *each)
    return np.asarray(x * scale + offset)


OPS = (
    OpDef(
        "batch_norm",
        "(x - mean) / sqrt(variance + epsilon) * gamma + beta of x f32[..., c], parameters f32[c]",
        infer,
        run,
        (Attribute("epsilon", 1e-5, "added to the variance"),),
    ),
)


def read(n: Node) -> Value:
    if n.integer("training_mode", 0) or n.results > 1:
        raise n.fail("BatchNormalization in training mode", "export the network for inference")
    if n.integer("spatial", 1) != 1:
        raise n.fail("BatchNormalization with spatial=0 is not supported")
    x, *parameters = (n.value(i) for i in range(5))
    attrs: dict[str, Attr] = {"epsilon": n.real("epsilon", 1e-5)}
    if (rank := x.type.rank) == 2:
        return n.emit("batch_norm", [x, *parameters], attrs)
    if rank < 2:
        raise n.fail(f"BatchNormalization of a tensor with {rank} axes", "[n, c, ...]")
    there = (0, *range(2, rank), 1)
    back = (0, rank - 1, *range(1, rank - 1))
    y = n.emit("batch_norm", [n.emit("transpose", [x], {"perm": there}), *parameters], attrs)
    return n.emit("transpose", [y], {"perm": back})


READERS = (
    # The momentum only matters in training.
    Reader(("BatchNormalization",), read, ("epsilon", "momentum", "spatial", "training_mode")),
)

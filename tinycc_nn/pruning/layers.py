"""Weighted layers as matrices of real numbers, float and int8 alike, and layers by their names."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinycc_nn.diagnostics import TinyccError, nearest
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import F32, I8, Array
from tinycc_nn.ops import number, opdef
from tinycc_nn.quantization.weights import (
    guard_scales,
    quantize_bias,
    quantize_weight,
    weight_scales,
)


def is_layer(op: Op) -> bool:
    """Whether `op` is a conv2d or dense whose weights, float or int8, and bias are constants."""
    if op.name not in ("conv2d", "dense") or any(v.constant is None for v in op.operands[1:]):
        return False
    return op.type.dtype in (F32, I8) and op.operands[1].type.dtype == op.type.dtype


def group_count(op: Op) -> int:
    """Groups of a convolution, 1 for a dense layer."""
    return int(number(op, "groups")) if op.name == "conv2d" else 1


def total_macs(graph: Graph) -> int:
    """Multiply-accumulates of one inference."""
    return sum(opdef(op.name).macs(op) for op in graph.ops)


def real(v: Value, stored: Array) -> Array:
    """What elements of `v` [..., *shape] stand for, float64."""
    q, dtype = v.type.quant, v.type.dtype
    numbers = dtype.decode(stored).astype(np.float64)
    if q is None:
        return numbers
    return np.asarray((numbers - q.zero) * q.broadcast(stored.ndim) * dtype.unit)


def weights_of(op: Op) -> Array:
    """float64[groups, out / groups, k], where k = height x width x inputs of a group."""
    w = op.operands[1].constant
    assert w is not None
    groups = group_count(op)
    return real(op.operands[1], w).reshape(groups, w.shape[0] // groups, -1)


def bias_of(op: Op) -> Array:
    """float64[out], zeros where there is none."""
    b = op.operands[2].constant if len(op.operands) == 3 else None
    if b is None:
        return np.zeros(op.type.shape[-1])
    return b.astype(np.float64) * _bias_scale(op)


def _bias_scale(op: Op) -> Array:
    x, w = op.operands[0].type, op.operands[1].type
    return np.ones(1) if x.quant is None or w.quant is None else x.steps() * w.steps()


def set_layer(graph: Graph, op: Op, w: Array, bias: Array) -> None:
    """Give a layer other real weights (as `weights_of`) and another bias (as `bias_of`).

    On int8 the weights get new scales, per channel where they had them. TinyccError if integers
    can't compute the layer any more.
    """
    name, shape = op.operands[1].name, op.operands[1].type.shape
    weight = w.reshape(shape).astype(np.float32)
    if op.type.dtype == F32:
        graph.set_operand(op, 1, graph.constant(name, weight, before=op))
        set_bias(graph, op, bias)
        return
    x, old, y = (v.type.quant for v in (op.operands[0], op.operands[1], op.result))
    assert x is not None and old is not None and y is not None
    sx, sy = float(x.scales()[0]), float(y.scales()[0])
    per_channel = weight_scales(weight, per_channel=old.axis is not None)
    try:
        scales = guard_scales(per_channel, bias.astype(np.float32), sx, sy)
    except ValueError as e:
        message = f"{op.name} {op.result}: the new weights don't fit: {e}"
        raise TinyccError(message, op.loc, "prune before quantize") from None
    stored, quant = quantize_weight(name, weight, scales)
    graph.set_operand(op, 1, graph.constant(name, stored, quant, before=op))
    set_bias(graph, op, bias)


def set_bias(graph: Graph, op: Op, bias: Array) -> None:
    """Give a layer another bias, real float64[out]; one of zeros is only stored over another."""
    if len(op.operands) < 3 and not bias.any():
        return
    has_bias = len(op.operands) == 3
    name = op.operands[2].name if has_bias else "{}.bias".format(op.result.name.rstrip("'"))
    stored = bias.astype(np.float32)
    if op.type.dtype == I8:
        x, w = op.operands[0].type.quant, op.operands[1].type.quant
        assert x is not None and w is not None
        stored = quantize_bias(bias, float(x.scales()[0]), w.scales())
    new = graph.constant(name, stored, before=op)
    if has_bias:
        graph.set_operand(op, 2, new)
        return
    op.operands = (*op.operands, new)
    new.uses.append((op, 2))


def zero_weights(graph: Graph, op: Op, keep: Array) -> None:
    """Set the weights to real 0 where bool[groups, out / groups, k] `keep` is false."""
    v = op.operands[1]
    w, quant = v.constant, v.type.quant
    assert w is not None
    zero = np.asarray(0 if quant is None else quant.zero, w.dtype)
    stored = np.where(keep.reshape(w.shape), w, zero)
    graph.set_operand(op, 1, graph.constant(v.name, stored, quant, before=op))


def named(graph: Graph, names: Iterable[str], option: str) -> frozenset[Op]:
    """The ops whose results have these names; TinyccError for a name that none has.

    Passes add primes to names that are taken, so `conv1` also stands for `conv1'`. `option` is
    where the names were given, as `prune-channels: skip`.
    """
    made = [op for op in graph.ops if op.name != "const"]
    found: set[Op] = set()
    for name in names:
        exact = [op for op in made if op.result.name == name]
        loose = [op for op in made if op.result.name.rstrip("'") == name]
        if not loose and not exact:
            hint = nearest(name, {op.result.name.rstrip("'") for op in made})
            raise TinyccError(f"{option}: no layer is called '{name}'", hint=hint)
        found.update(exact or loose)
    return frozenset(found)

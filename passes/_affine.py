"""Layers and what scales and shifts their channels: batch_norm, mul, add, sub, div by constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinycc_nn.ir.graph import Attr, Graph, Op, Value
from tinycc_nn.ir.types import F32, Array
from tinycc_nn.ops import emit, ints, number, word
from tinycc_nn.ops.activation import bounds
from tinycc_nn.passes._clip import EVERYTHING

LAYERS = ("conv2d", "conv2d_transpose", "dense")


@dataclass(frozen=True)
class Affine:
    """x * scale + offset, both float64[channels] along the last axis of x."""

    x: Value
    scale: Array
    offset: Array


def batch_norm(op: Op) -> Affine | None:
    """What a batch_norm with constant parameters computes."""
    found = [v.constant for v in op.operands[1:]]
    known = [a.astype(np.float64) for a in found if a is not None]
    if op.name != "batch_norm" or len(known) != 4:
        return None
    gamma, beta, mean, variance = known
    s = gamma / np.sqrt(variance + number(op, "epsilon"))
    return Affine(op.operands[0], s, beta - mean * s)


def arithmetic(op: Op) -> Affine | None:
    """What mul, add, sub, div by constants compute, but for their activation."""
    if op.name not in ("mul", "add", "sub", "div") or op.type.dtype != F32:
        return None
    a, b = op.operands
    swapped = a.constant is not None
    x, k = (b, a) if swapped else (a, b)
    c = _per_channel(k, x)
    if c is None or x.constant is not None:
        return None
    one, zero = np.ones_like(c), np.zeros_like(c)
    match op.name:
        case "mul":
            return Affine(x, c, zero)
        case "add":
            return Affine(x, one, c)
        case "sub":
            return Affine(x, -one, c) if swapped else Affine(x, one, -c)
        case _:
            return None if swapped or not c.all() else Affine(x, 1 / c, zero)


def _per_channel(k: Value, x: Value) -> Array | None:
    """float64[channels] of a float constant that varies along the last axis of x at most."""
    a = k.constant
    if a is None or a.dtype != np.float32 or not x.type.rank or a.size not in (1, a.shape[-1]):
        return None
    if a.ndim > x.type.rank or a.shape[-1] not in (1, x.type.shape[-1]):
        return None
    return np.broadcast_to(a.reshape(-1), x.type.shape[-1:]).astype(np.float64)


def into_layer_before(graph: Graph, op: Op, a: Affine) -> Value | None:
    """`op` computes `a`: the layer that makes a.x with `a` in its weights and bias."""
    layer = a.x.owner
    if layer is None or layer.name not in LAYERS or not _only_reader(graph, a.x):
        return None
    w, bias = _parameters(layer)
    if w is None or bias is None or bounds(layer) != EVERYTHING:
        return None
    weight = w * a.scale.reshape(-1, *[1] * (w.ndim - 1))
    attrs = {k: v for k, v in op.attrs.items() if k.startswith("act")}
    return _layer(graph, op, layer, layer.operands[0], weight, bias * a.scale + a.offset, attrs)


def into_neighbour(graph: Graph, op: Op, a: Affine) -> bool:
    """`op` computes `a`: let the layer before it, else one that reads it, do so. False if none can."""
    if (new := into_layer_before(graph, op, a)) is not None:
        graph.replace_value(op.result, new)
        return True
    for layer in op.result.users:
        if (new := into_layer_after(graph, layer, op, a)) is not None:
            graph.replace_value(layer.result, new)
            return True
    return False


def into_layer_after(graph: Graph, layer: Op, op: Op, a: Affine) -> Value | None:
    """`op` computes `a`, its only reader is `layer`: that layer on a.x.

    An offset can only go into the bias where no padding comes between.
    """
    if layer.name not in ("conv2d", "dense") or layer.operands[0] is not op.result:
        return None
    if not _only_reader(graph, op.result) or _activation(op) != "none":
        return None
    w, bias = _parameters(layer)
    padded = layer.name == "conv2d" and any(ints(layer, "pad"))
    if w is None or bias is None or (padded and a.offset.any()):
        return None
    groups = int(number(layer, "groups")) if layer.name == "conv2d" else 1
    each = w.shape[0] // groups
    shape = (w.shape[0], *[1] * (w.ndim - 2), w.shape[-1])
    scale, offset = (
        np.repeat(p.reshape(groups, -1), each, axis=0).reshape(shape) for p in (a.scale, a.offset)
    )
    bias = bias + (w * offset).reshape(w.shape[0], -1).sum(axis=1)
    return _layer(graph, layer, layer, a.x, w * scale, bias, layer.attrs)


def _activation(op: Op) -> str:
    """The activation of an op, "none" for operators that have none."""
    return word(op, "act") if "act" in op.attrs else "none"


def _only_reader(graph: Graph, v: Value) -> bool:
    return len(v.uses) == 1 and v not in graph.outputs


def _parameters(layer: Op) -> tuple[Array | None, Array | None]:
    """Weights and bias as float64, None where they aren't float constants."""
    w = layer.operands[1].constant
    if w is None or layer.type.dtype != F32:
        return None, None
    if len(layer.operands) == 2:
        return w.astype(np.float64), np.zeros(w.shape[0])
    b = layer.operands[2].constant
    return w.astype(np.float64), None if b is None else b.astype(np.float64)


def _layer(
    graph: Graph, at: Op, layer: Op, x: Value, w: Array, b: Array, act: Mapping[str, Attr]
) -> Value:
    """`layer` with other weights and bias, in front of `at`."""
    name = layer.operands[1].name
    has_bias = len(layer.operands) == 3
    weight = graph.constant(name, w.astype(np.float32), before=at)
    operands = [x, weight]
    if has_bias or b.any():
        bias_name = (
            layer.operands[2].name if has_bias else "{}.bias".format(at.result.name.rstrip("'"))
        )
        operands.append(graph.constant(bias_name, b.astype(np.float32), before=at))
    attrs = {k: v for k, v in layer.attrs.items() if not k.startswith("act")} | dict(act)
    return emit(graph, layer.name, operands, attrs, result=at.result.name, before=at, loc=layer.loc)

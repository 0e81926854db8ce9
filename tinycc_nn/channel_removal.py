"""Remove channels from a graph: weights, biases, constants and shapes shrink with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tinycc_nn.channels import Channel, Group, channel_count, is_depthwise, is_mixing, ties
from tinycc_nn.ir.graph import Attr, Graph, Op, Value
from tinycc_nn.ir.types import F32, Array, Blob, Quant
from tinycc_nn.ops import emit, ints


def remove_groups(
    graph: Graph, groups: Iterable[Group], offsets: Mapping[Op, Array] | None = None
) -> None:
    """Remove whole groups (none fixed, no value may lose all its channels), in place.

    offsets: what the removed channels added to a weighted layer's accumulators, [out], stored
    units: it goes into the bias.
    """
    keep = kept(channel for g in groups for channel in g.channels)
    new: dict[Value, Value] = {}
    for op in graph:
        if op.name == "const":
            continue
        offset = (offsets or {}).get(op)
        if not any(v in keep for v in (*op.operands, *op.results)) and offset is None:
            for i, v in enumerate(op.operands):
                graph.set_operand(op, i, new.get(v, v))
            continue
        operands = _operands(graph, op, keep, new, offset)
        new[op.result] = emit(
            graph, op.name, operands, _attrs(op, keep), result=op.result.name,
            quant=op.type.quant, before=op, loc=op.loc,
        )  # fmt: skip
    graph.outputs[:] = [new.get(v, v) for v in graph.outputs]
    graph.sweep()


def kept(removed: Iterable[Channel]) -> dict[Value, Array]:
    """int[...]: the channels that stay, for values that lose some."""
    masks: dict[Value, Array] = {}
    for v, i in removed:
        masks.setdefault(v, np.ones(channel_count(v), np.bool_))[i] = False
    return {v: np.flatnonzero(m) for v, m in masks.items()}


def _operands(
    graph: Graph,
    op: Op,
    keep: Mapping[Value, Array],
    new: Mapping[Value, Value],
    offset: Array | None,
) -> list[Value]:
    x, rows = op.operands[0], keep.get(op.result)
    if is_mixing(op) or (is_depthwise(op) and ties(op) is not None):
        columns = keep.get(x) if is_mixing(op) else None
        weight = _taken(graph, _taken(graph, op.operands[1], 0, rows, op), -1, columns, op)
        return [new.get(x, x), weight, *_bias(graph, op, rows, offset)]
    found = []
    for v in op.operands:
        sliced = v.constant is not None and v.type.rank and channel_count(v) > 1
        found.append(_taken(graph, v, -1, rows, op) if sliced else new.get(v, v))
    return found


def _bias(graph: Graph, op: Op, rows: Array | None, offset: Array | None) -> list[Value]:
    given = list(op.operands[2:])
    if offset is None:
        return [_taken(graph, b, 0, rows, op) for b in given]
    old = given[0].constant if given else None
    dtype = np.float32 if op.type.dtype == F32 else np.int32
    total = (0 if old is None else old.astype(offset.dtype)) + offset
    quant = given[0].type.quant if given else _bias_quant(op)
    name = given[0].name if given else "{}.bias".format(op.result.name.rstrip("'"))
    bias = graph.constant(name, total.astype(dtype), quant, before=op)
    return [_taken(graph, bias, 0, rows, op)]


def _bias_quant(op: Op) -> Quant | None:
    """Scale x * weight, as every int32 bias has."""
    x, w = op.operands[0].type, op.operands[1].type
    if x.quant is None or w.quant is None:
        return None
    scales = x.steps() * w.steps()
    if w.quant.axis is None:
        return Quant(float(scales[0]), 0)
    name = op.result.name.rstrip("'")
    return Quant(Blob(f"{name}.scale", scales.astype(np.float32)), 0, 0)


def _taken(graph: Graph, v: Value, axis: int, keep: Array | None, before: Op) -> Value:
    """A constant with some of its slices along an axis."""
    a = v.constant
    if keep is None or a is None:
        return v
    axis %= a.ndim
    quant = v.type.quant
    if quant is not None and isinstance(quant.scale, Blob) and quant.axis == axis:
        quant = Quant(Blob(quant.scale.name, quant.scale.array[keep]), quant.zero, axis)
    return graph.constant(v.name, np.take(a, keep, axis), quant, dtype=v.type.dtype, before=before)


def _attrs(op: Op, keep: Mapping[Value, Array]) -> dict[str, Attr]:
    attrs: dict[str, Attr] = dict(op.attrs)
    rows = keep.get(op.result)
    if rows is None:
        return attrs
    if op.name == "reshape":
        attrs["shape"] = (*ints(op, "shape")[:-1], len(rows))
    elif op.name == "slice":
        attrs["end"] = (*ints(op, "end")[:-1], len(rows))
    elif is_depthwise(op):
        attrs["groups"] = len(rows)
    return attrs

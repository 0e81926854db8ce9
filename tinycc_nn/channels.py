"""
Channels that stand or fall together: which channel of one value is which of another.

A channel is an index along the last axis of a value. Weighted layers make new channels; all other
operators pass channels on, so removing one somewhere removes it everywhere in its group.

Source: the dependency groups of Fang et al., "DepGraph: Towards Any Structural Pruning", 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np

from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.ops import ints, number, opdef

MIXING = ("conv2d", "conv2d_transpose", "dense")
SPATIAL = ("max_pool2d", "avg_pool2d", "resize_nearest", "resize_linear", "batch_norm")
REDUCTIONS = ("reduce_mean", "reduce_sum", "reduce_max")

Channel = tuple[Value, int]


@dataclass(frozen=True)
class Group:
    """Channels that can only be removed together; not at all if one of them is `fixed`."""

    channels: tuple[Channel, ...]
    fixed: bool


def channel_count(v: Value) -> int:
    return v.type.shape[-1] if v.type.rank else 1


def is_depthwise(op: Op) -> bool:
    """One filter for each channel: the channels pass through."""
    if op.name != "conv2d":
        return False
    w = op.operands[1].type.shape
    return w[3] == 1 and number(op, "groups") == w[0] > 1


def is_mixing(op: Op) -> bool:
    """Every output channel is a sum over all input channels, by constant weights."""
    if op.name not in MIXING or any(v.constant is None for v in op.operands[1:]):
        return False
    return op.name == "dense" or number(op, "groups") == 1


def ties(op: Op) -> list[tuple[Value, Array]] | None:
    """For operands that aren't constants, int[channels of the result]: the operand's channel that
    each channel of the result goes with, -1 for none. None if the op needs channels as they are.
    """
    if is_mixing(op):
        return []
    if op.name == "concat":
        return _concat(op)
    x = op.operands[0] if op.operands else None
    if x is None or not x.type.rank or not op.type.rank:
        return None
    n, same = channel_count(op.result), np.arange(channel_count(op.result))
    if _per_channel_scales(op):
        return None
    if opdef(op.name).elementwise:
        return _elementwise(op, same)
    if any(v.constant is None for v in op.operands[1:]):
        return None
    if is_depthwise(op):
        return [(x, same)]
    if op.name == "reshape":
        return [(x, same % channel_count(x))] if n % channel_count(x) == 0 else None
    return [(x, same)] if _leaves_last_axis(op) else None


def _concat(op: Op) -> list[tuple[Value, Array]] | None:
    n = channel_count(op.result)
    if any(v.constant is not None for v in op.operands):
        return None
    if int(number(op, "axis")) != op.type.rank - 1:
        return [(v, np.arange(n)) for v in op.operands]
    found, start = [], 0
    for v in op.operands:
        mine = np.arange(n) - start
        found.append((v, np.where((mine >= 0) & (mine < channel_count(v)), mine, -1)))
        start += channel_count(v)
    return found


def _per_channel_scales(op: Op) -> bool:
    values = [op.result, *(v for v in op.operands if v.constant is None)]
    return any(v.type.quant is not None and v.type.quant.axis is not None for v in values)


def _elementwise(op: Op, same: Array) -> list[tuple[Value, Array]] | None:
    found = [(v, same) for v in op.operands if v.constant is None]
    return found if all(channel_count(v) == len(same) for v, _ in found) else None


def _leaves_last_axis(op: Op) -> bool:
    x = op.operands[0]
    last = x.type.rank - 1
    if op.name in SPATIAL:
        return True
    if op.name in REDUCTIONS:
        return last not in ints(op, "axes")
    match op.name:
        case "transpose":
            return ints(op, "perm")[last] == last
        case "pad":
            return not any(ints(op, "pads")[-2:])
        case "take":
            return int(number(op, "axis")) != last
        case "slice":
            return (ints(op, "begin")[-1], ints(op, "end")[-1], ints(op, "step")[-1]) == (
                0, channel_count(x), 1,
            )  # fmt: skip
        case _:
            return False


def to_networkx(graph: Graph) -> nx.Graph[int]:
    """Channels as nodes (see `numbering`), ties as edges; the attribute `fixed` of a node says
    that the interface or an operator needs the channel as it is."""
    out: nx.Graph[int] = nx.Graph()
    first = numbering(graph)
    for v, start in first.items():
        out.add_nodes_from(range(start, start + channel_count(v)))
    pinned = [*graph.inputs, *graph.outputs]
    for op in graph.ops:
        if op.name == "const":
            continue
        tied = ties(op)
        if tied is None:
            pinned += [*op.operands, *op.results]
            continue
        for x, at in tied:
            here = first[op.result] + np.flatnonzero(at >= 0)
            there = first[x] + at[at >= 0]
            out.add_edges_from(zip(here.tolist(), there.tolist(), strict=True))
    for v in dict.fromkeys(v for v in pinned if v in first):
        for i in range(channel_count(v)):
            out.nodes[first[v] + i]["fixed"] = True
    return out


def numbering(graph: Graph) -> dict[Value, int]:
    """The number of channel 0 of each value that isn't a constant; the others follow."""
    values = [*graph.inputs, *(r for op in graph.ops if op.name != "const" for r in op.results)]
    starts = np.cumsum([0, *(channel_count(v) for v in values)])
    return {v: int(s) for v, s in zip(values, starts, strict=False)}


def channel_groups(graph: Graph) -> list[Group]:
    """Every channel of the graph in its group, in the order of the graph."""
    coupled = to_networkx(graph)
    names: list[Channel] = [(v, i) for v in numbering(graph) for i in range(channel_count(v))]
    groups = []
    for members in nx.connected_components(coupled):
        fixed = any("fixed" in coupled.nodes[m] for m in members)
        groups.append(Group(tuple(names[m] for m in sorted(members)), fixed))
    return groups

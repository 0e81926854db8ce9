"""
drop-dead-channels: remove channels that are constant or that nobody reads, bit for bit.

    %c = conv2d %x, %w, %b {act=relu}   (channel 1 of w is all zero)
    %y = conv2d %c, %v, %d
 ->
    %c = conv2d %x, %w', %b' {act=relu}     w', b' without channel 1
    %y = conv2d %c, %v', %d'                v' without it; d' = d + v[:, 0, 0, 1] * relu(b[1])

A channel is constant if interval analysis gives it one value for every possible input; it is
unread if its weights are zero in every layer that takes it. A constant other than 0 stays where
the next layer pads. Through depthwise layers, residual additions, concatenations, pools and
flattening, channels go together or stay.

Source: coupled channels as in Fang et al., "DepGraph: Towards Any Structural Pruning", 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinycc_nn.channel_removal import kept, remove_groups
from tinycc_nn.channels import Group, channel_count, channel_groups, is_mixing
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import I8, Array
from tinycc_nn.numeric.requantize import multipliers
from tinycc_nn.ops import ints
from tinycc_nn.pipeline import Context, Pass
from tinycc_nn.ranges import Range, centred, value_ranges


@dataclass(frozen=True)
class DropDeadChannels(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        while _drop_once(graph):
            pass


def _drop_once(graph: Graph) -> bool:
    ranges = value_ranges(graph)
    free = {v: _removable(v, r) for v, r in ranges.items() if v.constant is None}
    dead = [
        g for g in channel_groups(graph)
        if not g.fixed and all(free[v][i] for v, i in g.channels)
    ]  # fmt: skip
    dead = _with_survivors(dead)
    dead = _same_multipliers(graph, dead)
    if not dead:
        return False
    keep = kept(c for g in dead for c in g.channels)
    offsets = _offsets(graph, keep, ranges)
    remove_groups(graph, dead, offsets)
    return True


def _removable(v: Value, r: Range) -> Array:
    """bool[channels]: every weighted layer that reads the channel can do without it."""
    free = np.ones(channel_count(v), np.bool_)
    for op in v.users:
        if not is_mixing(op) or op.operands[0] is not v:
            continue
        w = op.operands[1].integers
        assert w is not None
        unread = ~centred(op.operands[1], w).reshape(-1, w.shape[-1]).any(axis=0)
        same = r.constant & ((centred(v, r.low) == 0) | (not _has_edges(op)))
        free &= unread | same
    return free


def _has_edges(op: Op) -> bool:
    """Whether some positions of the result sum fewer products than others."""
    return op.name == "conv2d_transpose" or (op.name == "conv2d" and any(ints(op, "pad")))


def _with_survivors(groups: list[Group]) -> list[Group]:
    """Without groups that would leave a value without channels."""
    found = list(groups)
    while True:
        counts: dict[Value, int] = {}
        for g in found:
            for v, _ in g.channels:
                counts[v] = counts.get(v, 0) + 1
        empty = next((v for v, n in counts.items() if n == channel_count(v)), None)
        if empty is None:
            return found
        found.remove(next(g for g in found if any(v is empty for v, _ in g.channels)))


def _same_multipliers(graph: Graph, groups: list[Group]) -> list[Group]:
    """Without groups whose removal would change the shift that a layer's channels share."""
    while True:
        keep = kept(c for g in groups for c in g.channels)
        pinned = [(v, c) for v, rows in keep.items() if (c := _sets_shift(v, rows)) is not None]
        if not pinned:
            return groups
        groups = [g for g in groups if not any(c in pinned for c in g.channels)]


def _sets_shift(v: Value, rows: Array) -> int | None:
    """The removed channel whose multiplier is the largest, if its removal changes the shift."""
    op = v.owner
    if op is None or op.type.dtype != I8 or op.name not in ("conv2d", "conv2d_transpose", "dense"):
        return None
    x, w, y = (t.type.steps() for t in (op.operands[0], op.operands[1], v))
    real = np.broadcast_to(x * w / y, (channel_count(v),))
    if multipliers(real)[1] == multipliers(real[rows])[1]:
        return None
    return int(np.argmax(real))


def _offsets(
    graph: Graph, keep: Mapping[Value, Array], ranges: Mapping[Value, Range]
) -> dict[Op, Array]:
    """What removed channels that aren't 0 add to the accumulators of the layers that read them."""
    found = {}
    for op in graph.ops:
        x = op.operands[0] if op.operands else None
        if x is None or x not in keep or not is_mixing(op):
            continue
        w = op.operands[1].integers
        assert w is not None
        gone = np.setdiff1d(np.arange(channel_count(x)), keep[x])
        taps = centred(op.operands[1], w).reshape(w.shape[0], -1, w.shape[-1]).sum(axis=1)[:, gone]
        value = np.where(taps.any(axis=0), centred(x, ranges[x].low[gone]), 0)
        offset = taps @ value
        if offset.any():
            found[op] = offset.astype(np.int64) if op.type.dtype == I8 else offset
    return found

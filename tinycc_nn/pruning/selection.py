"""
Which groups of channels go: the least important ones, until a target is met.

Groups whose channels lie in the same values are a layer. `scope=layer` removes the same share of
each layer; `scope=global` compares layers. A score that is relative to its layer is compared as
its share in what the layer would still have: the last channel of a layer counts as all of it.

Source of that share: Lee et al., "Layer-Adaptive Sparsity for the Magnitude-based Pruning", 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinycc_nn.channels import Group, channel_count, is_mixing
from tinycc_nn.diagnostics import LimitError
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.ops import opdef


@dataclass(frozen=True)
class Unit:
    """Groups of one layer, by its number, that go together, after those before them.

    removed: the groups of the layer that are gone with this unit, of `size`. score: that of its
    groups together.
    """

    groups: tuple[Group, ...]
    layer: int
    removed: int
    size: int
    score: float

    @property
    def share(self) -> float:
        """Of the layer's groups that are gone with this unit."""
        return self.removed / self.size


def layer_adaptive(scores: Array) -> Array:
    """Each score over the sum of itself and all greater ones, float64[n] in 0..1."""
    order = np.argsort(scores, kind="stable")
    left = np.cumsum(scores[order][::-1])[::-1]
    out = np.empty(len(scores))
    out[order] = np.divide(scores[order], left, out=np.ones(len(scores)), where=left > 0)
    return np.where((scores == 0) & (scores.max(initial=0) > 0), 0.0, out)


def units(groups: Sequence[Group], scores: Array, multiple: int, *, relative: bool) -> list[Unit]:
    """Every step that leaves a multiple of `multiple` channels in a layer, layer by layer.

    Groups with an infinite score stay; so does at least one group of each layer.
    """
    layers: dict[frozenset[Value], list[int]] = {}
    for i, g in enumerate(groups):
        layers.setdefault(frozenset(v for v, _ in g.channels), []).append(i)
    found = []
    for layer, members in enumerate(layers.values()):
        mine = scores[members]
        order = np.argsort(mine, kind="stable")
        free = int(np.isfinite(mine).sum())
        compared = layer_adaptive(np.where(np.isfinite(mine), mine, 0)) if relative else mine
        found += _steps([groups[members[i]] for i in order], compared[order], free, multiple, layer)
    return found


def _steps(groups: list[Group], scores: Array, free: int, multiple: int, layer: int) -> list[Unit]:
    n, gone = len(groups), 0
    found: list[Unit] = []
    while True:
        size = (n - gone) % multiple or multiple
        if gone + size > free or gone + size >= n:
            return found
        some = slice(gone, gone + size)
        gone += size
        found.append(Unit(tuple(groups[some]), layer, gone, n, float(scores[some].sum())))


def by_ratio(found: Sequence[Unit], total: int, ratio: float, *, together: bool) -> list[Unit]:
    """The units that leave at least 1 - ratio: of each layer, or of all `total` groups together."""
    if not together:
        return [u for u in found if u.share <= ratio + 1e-9]
    taken, gone = [], 0
    for u in sorted(found, key=lambda u: u.score / len(u.groups)):
        gone += len(u.groups)
        if gone > ratio * total + 1e-9:
            break
        taken.append(u)
    return taken


def by_count(found: Sequence[Unit], keep: int) -> list[Unit]:
    """The units that leave at least `keep` channels in each layer."""
    return [u for u in found if u.size - u.removed >= keep]


def by_macs(graph: Graph, found: Sequence[Unit], part: float, *, together: bool) -> list[Unit]:
    """As many units as it takes to leave at most `part` of the graph's MACs.

    LimitError with the least that can be reached if all of them are not enough.
    """
    costs = Costs(graph)
    before = costs.total()
    limit = int(part * before)
    taken: list[Unit] = []
    for u in _order(costs, found, together=together):
        if costs.total() <= limit:
            break
        costs.remove(u.groups)
        taken.append(u)
    if (least := costs.total()) > limit:
        raise LimitError(
            f"{part:g} of {before} MACs is {limit}, but the channels that may be removed "
            f"leave {least}",
            hint=f"the nearest that can be met is macs={np.ceil(least / before * 1e4) / 1e4:g}",
        )
    return _given_back(costs, taken, limit)


def _order(costs: Costs, found: Sequence[Unit], *, together: bool) -> list[Unit]:
    """Least important first for what it saves, or the same share of each layer."""
    if together:
        return sorted(found, key=lambda u: u.score / costs.saved(u.groups))
    return sorted(found, key=lambda u: u.share)


def by_cycles(
    graph: Graph,
    found: Sequence[Unit],
    limit: float,
    cycles: Callable[[Sequence[Unit]], float],
    *,
    together: bool,
) -> list[Unit]:
    """As few units as it takes to need at most `limit` cycles: `cycles` of the network without
    units. LimitError with the least that can be reached."""
    order = _order(Costs(graph), found, together=together)
    if (least := cycles(order)) > limit:
        raise LimitError(
            f"{limit:,.0f} cycles at most, but the channels that may be removed leave {least:,.0f}",
            hint=f"the nearest that can be met is max_cycles={int(np.ceil(least))}",
        )
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cycles(order[:middle]) <= limit else (middle + 1, high)
    return order[:high]


def _given_back(costs: Costs, taken: list[Unit], limit: int) -> list[Unit]:
    """Without units that the last, large one made needless; the latest first."""
    kept = list(taken)
    for u in reversed(taken):
        last = not any(o.layer == u.layer and o.removed > u.removed for o in kept)
        costs.remove(u.groups, back=True)
        if last and costs.total() <= limit:
            kept.remove(u)
        else:
            costs.remove(u.groups)
    return kept


class Costs:
    """The MACs of a graph while groups of channels go."""

    def __init__(self, graph: Graph) -> None:
        self.ops: list[tuple[Op, int]] = [
            (op, n) for op in graph.ops if (n := opdef(op.name).macs(op)) > 0
        ]
        self.left: dict[Value, int] = {}

    def count(self, v: Value) -> int:
        return self.left.get(v, channel_count(v))

    def total(self) -> int:
        return self._sum(self.ops)

    def _sum(self, ops: Sequence[tuple[Op, int]]) -> int:
        return sum(self._of(op, n) for op, n in ops)

    def _of(self, op: Op, macs: int) -> int:
        x, y = op.operands[0], op.result
        macs = macs * self.count(y) // channel_count(y)
        return macs * self.count(x) // channel_count(x) if is_mixing(op) else macs

    def remove(self, groups: Sequence[Group], *, back: bool = False) -> None:
        """Take groups away, or put them back."""
        for g in groups:
            for v, _ in g.channels:
                self.left[v] = self.count(v) + (1 if back else -1)

    def saved(self, groups: Sequence[Group]) -> int:
        """MACs that go with these groups alone, at least 1."""
        touched = {v for g in groups for v, _ in g.channels}
        some = [(op, n) for op, n in self.ops if op.result in touched or op.operands[0] in touched]
        before, left = self._sum(some), dict(self.left)
        self.remove(groups)
        after, self.left = self._sum(some), left
        return max(1, before - after)

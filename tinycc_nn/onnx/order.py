"""The nodes of a graph that its outputs need, in an order that runs."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.onnx.node import label

if TYPE_CHECKING:
    from onnx import NodeProto

BROKEN = "the model is broken; export it again"


def ordered(
    nodes: Sequence[NodeProto], given: Iterable[str], outputs: Sequence[str], where: str
) -> list[NodeProto]:
    """The nodes that `outputs` depend on, producers first, otherwise as in the file.

    `given` are the names of inputs and initializers. TinyccError for a name that nothing
    defines or that is defined twice, and for a cycle.
    """
    known, makers = set(given), _makers(nodes)
    if twice := sorted(known & makers.keys()):
        raise TinyccError(f"'{twice[0]}' is defined twice", label(nodes[makers[twice[0]]]), BROKEN)
    for name in outputs:
        if name not in makers and name not in known:
            raise TinyccError(f"nothing defines the output '{name}'", where, BROKEN)
    needs: dict[int, set[int]] = {}
    todo = [makers[name] for name in outputs if name in makers]
    while todo:
        if (i := todo.pop()) in needs:
            continue
        inputs = [name for name in nodes[i].input if name]
        for name in inputs:
            if name not in makers and name not in known:
                raise TinyccError(f"nothing defines the input '{name}'", label(nodes[i]), BROKEN)
        needs[i] = {makers[name] for name in inputs if name in makers}
        todo += needs[i]
    return [nodes[i] for i in _sorted(needs, nodes)]


def _makers(nodes: Sequence[NodeProto]) -> dict[str, int]:
    """The number of the node that makes each name."""
    makers: dict[str, int] = {}
    for i, n in enumerate(nodes):
        for out in filter(None, n.output):
            if makers.setdefault(out, i) != i or list(n.output).count(out) > 1:
                raise TinyccError(f"'{out}' is defined twice", label(n), BROKEN)
    return makers


def _sorted(needs: dict[int, set[int]], nodes: Sequence[NodeProto]) -> list[int]:
    sorter = TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as e:
        cycle = ", ".join(dict.fromkeys(label(nodes[i]) for i in e.args[1]))
        raise TinyccError(f"the graph has a cycle: {cycle}", hint=BROKEN) from None
    order, ready = [], list(sorter.get_ready())
    heapq.heapify(ready)
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        sorter.done(i)
        for j in sorter.get_ready():
            heapq.heappush(ready, j)
    return order

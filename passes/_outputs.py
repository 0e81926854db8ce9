"""The interface of a graph: every output is a buffer of its own."""

from __future__ import annotations

from tinycc_nn.ir.graph import Graph, Value


def may_replace(graph: Graph, old: Value, new: Value) -> bool:
    """Whether outputs stay distinct from inputs and from each other if `new` replaces `old`."""
    return old not in graph.outputs or (new.owner is not None and new not in graph.outputs)

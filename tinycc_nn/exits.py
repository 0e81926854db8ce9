"""
Early exits: where an inference may end before the last layer.

    %s = exit_if %a, %t        the output is %s: after %a the inference ends if that is sure; else
    %t = ...                   the rest runs, which makes %t

The value of a graph does not depend on it: an `exit_if` elsewhere is a choice of two values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.ops.exit import is_sure
from tinycc_nn.reference import check_inputs, visit
from tinycc_nn.schedule import storage


def exits(graph: Graph) -> list[Op]:
    """The `exit_if` at which inferences of the graph end, in the order of their precedence, which
    is that in which their first operands can be computed."""
    found: list[Op] = []
    seen: set[Value] = set()
    v = graph.outputs[0] if len(graph.outputs) == 1 else None
    while v is not None and (op := v.owner) is not None and op.name == "exit_if":
        early, final = op.operands
        home = storage(early)
        known = home.owner is None or home.constant is not None or home in seen
        if known or storage(final) is home or len(v.uses) > 1:
            break
        seen |= _needed(home)
        found.append(op)
        v = final
    return found


def _needed(v: Value) -> set[Value]:
    """The value and all that it is computed from."""
    found: set[Value] = set()
    left = [v]
    while left:
        if (one := left.pop()) in found:
            continue
        found.add(one)
        left += one.owner.operands if one.owner is not None else ()
    return found


@dataclass(frozen=True)
class Staged:
    """`graph` computes the last result without any exit. `exits`: each `exit_if` of the graph as
    given, with the value of `graph` that it looks at."""

    graph: Graph
    exits: tuple[tuple[Op, Value], ...]

    @property
    def first(self) -> tuple[Value, ...]:
        """What is computed before all that it does not need, in this order."""
        return tuple(early for _, early in self.exits)


def staged(graph: Graph) -> Staged:
    """The graph and its exits, apart."""
    found = exits(graph)
    if not found:
        return Staged(graph, ())
    copy = graph.clone()
    pairs = []
    for op, same in zip(found, exits(copy), strict=True):
        early, final = same.operands
        copy.outputs[:] = [final]
        copy.erase(same)
        pairs.append((op, early))
    return Staged(copy, tuple(pairs))


def taken(graph: Graph, inputs: Mapping[str, Array]) -> Array:
    """int[samples]: the number of the exit at which each of the samples [samples, *shape], as
    stored, ends; the number of exits for those that run to the end."""
    found = exits(graph)
    samples = check_inputs(graph, inputs)
    if not found:
        return np.zeros(samples, np.int64)
    sure: dict[Value, list[Array]] = {op.operands[0]: [] for op in found}

    def see(v: Value, a: Array) -> None:
        if v in sure:
            sure[v].append(a)

    visit(graph, inputs, see)
    out = np.full(samples, len(found))
    for i, op in reversed(list(enumerate(found))):
        out[is_sure(op, np.concatenate(sure[op.operands[0]]))] = i
    return out

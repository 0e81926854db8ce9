"""The order of execution with the least peak of live bytes, and the lifetimes that follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ops import opdef

STATES = 20_000
"""Sets of executed ops that are looked at before the search settles for the given order."""


def storage(v: Value) -> Value:
    """The value whose bytes `v` is: itself, or what an alias such as reshape was made from."""
    while (
        v.owner is not None and opdef(v.owner.name).alias and v.owner.operands[0].constant is None
    ):
        v = v.owner.operands[0]
    return v


def steps(graph: Graph) -> list[Op]:
    """The ops that run on the device: neither constants nor aliases of running values."""
    return [op for op in graph.ops if op.name != "const" and storage(op.result) is op.result]


def best_order(graph: Graph, scratch: Callable[[Op], int], first: Sequence[Value] = ()) -> list[Op]:
    """The steps in an order of least peak memory: the arena's live bytes with scratch (bytes).

    first: values each of which is made before all steps that neither it nor one before it needs.

    Exact by dynamic programming over sets of executed ops (Liberis and Lane, "Neural networks on
    microcontrollers: saving memory at inference via operator reordering", 2019) for graphs of up
    to STATES such sets; beyond that, or where nothing is gained, the order as given.
    """
    ops, stages = _staged(steps(graph), first)
    outside = {storage(v) for v in (*graph.inputs, *graph.outputs)}
    index = {op: i for i, op in enumerate(ops)}
    reads = [_reads(op) for op in ops]
    makers = [{index[v.owner] for v in r if v.owner in index} for r in reads]
    readers = _reader_sets(ops, reads)
    for end in stages:
        for i in range(end, len(ops)):
            makers[i].add(end - 1)

    def size(v: Value) -> int:
        return 0 if v in outside else v.type.nbytes

    def peak_of(i: int, done: frozenset[int]) -> int:
        live = size(ops[i].result) + scratch(ops[i])
        for v, users in readers.items():
            maker = index.get(v.owner) if v.owner is not None else None
            if (maker is None or maker in done) and not users <= done:
                live += size(v)
        return live

    chain = all(len(users) <= 1 for users in readers.values()) and all(len(m) <= 1 for m in makers)
    if chain and not stages:
        return ops
    found = _search(len(ops), makers, peak_of)
    return ops if found is None else [ops[i] for i in found]


def _staged(ops: list[Op], first: Sequence[Value]) -> tuple[list[Op], list[int]]:
    """The ops with those that each of the values needs in front, and where each of these ends."""
    order: list[Op] = []
    ends: list[int] = []
    for v in first:
        needed = {storage(v)}
        for op in reversed(ops):
            if op.result in needed:
                needed.update(_reads(op))
        order += [op for op in ops if op.result in needed and op not in order]
        ends.append(len(order))
    return order + [op for op in ops if op not in order], [e for e in dict.fromkeys(ends) if e]


def _search(
    count: int, makers: Sequence[set[int]], peak_of: Callable[[int, frozenset[int]], int]
) -> list[int] | None:
    """Layers of sets, each with the least peak and the first (in given order) way to reach it."""
    front: dict[frozenset[int], tuple[int, tuple[int, ...]]] = {frozenset(): (0, ())}
    seen = 0
    for _ in range(count):
        after: dict[frozenset[int], tuple[int, tuple[int, ...]]] = {}
        for done, (peak, path) in front.items():
            for i in range(count):
                if i in done or not makers[i] <= done:
                    continue
                candidate = max(peak, peak_of(i, done)), (*path, i)
                new = done | {i}
                if new not in after or candidate < after[new]:
                    after[new] = candidate
            if seen + len(after) > STATES:
                return None
        seen += len(after)
        front = after
    return list(next(iter(front.values()))[1])


def _reads(op: Op) -> list[Value]:
    return [storage(v) for v in op.operands if storage(v).constant is None]


def _reader_sets(ops: list[Op], reads: list[list[Value]]) -> dict[Value, set[int]]:
    readers: dict[Value, set[int]] = {}
    for op in ops:
        readers.setdefault(op.result, set())
    for i, r in enumerate(reads):
        for v in r:
            readers.setdefault(v, set()).add(i)
    return readers

"""
The memory plan: which tensors share bytes of the one arena.

Tensors of a straight-line program live from the step that writes them to the last step that
reads them. Graph inputs and outputs lie in the caller's buffers and take no arena. The lower
bound is the largest sum of live bytes over the steps: no placement can do better in that order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

ALIGN = 8
"""Every buffer starts at a multiple of so many bytes."""


@dataclass(frozen=True)
class Buffer:
    """`nbytes` of the arena, live from step `first` to step `last`, both included."""

    name: str
    nbytes: int
    first: int
    last: int

    def overlaps(self, other: Buffer) -> bool:
        """Whether both are live in some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class MemoryPlan:
    """
    buffers: every buffer with its lifetime; offsets: where each starts, in bytes of the arena.
    size:    bytes of the arena; bound: the least that any placement of these buffers needs.
    """

    buffers: tuple[Buffer, ...]
    offsets: tuple[int, ...]
    size: int
    bound: int

    def offset(self, name: str) -> int:
        """Where a buffer starts; KeyError if there is none of that name."""
        for b, o in zip(self.buffers, self.offsets, strict=True):
            if b.name == name:
                return o
        raise KeyError(name)


def align(nbytes: int) -> int:
    """Rounded up to a multiple of ALIGN."""
    return -(-nbytes // ALIGN) * ALIGN


def live_bytes(buffers: Sequence[Buffer]) -> list[int]:
    """The sum of live bytes for each step."""
    steps = max((b.last for b in buffers), default=-1) + 1
    change = [0] * (steps + 1)
    for b in buffers:
        change[b.first] += align(b.nbytes)
        change[b.last + 1] -= align(b.nbytes)
    total, sums = 0, []
    for c in change[:-1]:
        total += c
        sums.append(total)
    return sums


def plan(buffers: Sequence[Buffer]) -> MemoryPlan:
    """Place buffers by several greedy orders, then by moving late ones forward; keep the best.

    The result does not depend on anything but the buffers.
    """
    kept = tuple(b for b in buffers if b.nbytes > 0)
    bound = max(live_bytes(kept), default=0)
    best: tuple[int, tuple[int, ...]] | None = None
    for order in _orders(kept):
        offsets = _place(kept, order)
        size = _size(kept, offsets)
        if best is None or size < best[0]:
            best = size, offsets
        if size == bound:
            break
    assert best is not None
    return MemoryPlan(kept, best[1], best[0], bound)


def _orders(buffers: tuple[Buffer, ...]) -> Iterator[list[int]]:
    indices = range(len(buffers))
    keys = (
        lambda i: (-buffers[i].nbytes, buffers[i].first),
        lambda i: (-buffers[i].nbytes * (buffers[i].last - buffers[i].first + 1), i),
        lambda i: (buffers[i].first, -buffers[i].nbytes),
        lambda i: (-buffers[i].last, -buffers[i].nbytes),
    )
    for key in keys:
        order = sorted(indices, key=key)
        yield order
        yield from _improve(buffers, order)


def _improve(
    buffers: tuple[Buffer, ...], order: list[int], rounds: int = 40
) -> Iterator[list[int]]:
    """Orders in which the buffer that ends highest is placed first, again and again."""
    for _ in range(rounds):
        offsets = _place(buffers, order)
        top = max(order, key=lambda i: (offsets[i] + buffers[i].nbytes, -i))
        if order[0] == top:
            return
        order = [top, *(i for i in order if i != top)]
        yield order


def _place(buffers: tuple[Buffer, ...], order: Iterable[int]) -> tuple[int, ...]:
    """Each buffer, in this order, at the smallest gap that fits among the live ones placed."""
    offsets = [0] * len(buffers)
    placed: list[int] = []
    for i in order:
        need = align(buffers[i].nbytes)
        taken = sorted(
            (offsets[j], offsets[j] + align(buffers[j].nbytes))
            for j in placed
            if buffers[j].overlaps(buffers[i])
        )
        offsets[i] = _gap(taken, need)
        placed.append(i)
    return tuple(offsets)


def _gap(taken: list[tuple[int, int]], need: int) -> int:
    merged = [(0, 0)]
    for start, end in taken:
        if start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    fits = [(b[0] - a[1], a[1]) for a, b in pairwise(merged) if b[0] - a[1] >= need]
    return min(fits)[1] if fits else merged[-1][1]


def _size(buffers: tuple[Buffer, ...], offsets: tuple[int, ...]) -> int:
    ends = (o + align(b.nbytes) for b, o in zip(buffers, offsets, strict=True))
    return max(ends, default=0)

"""Kernels, order and places of a network together: the fastest whose scratch fits into the arena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from tinycc_nn.backend import BackendOptions
from tinycc_nn.backends.tvm.allocate import Allocation, allocate
from tinycc_nn.backends.tvm.choose import Choice, Choices
from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.exits import Staged
from tinycc_nn.ir.graph import Op
from tinycc_nn.memory import live_bytes
from tinycc_nn.schedule import best_order

GROWTH = 1.25
SPARE_BYTES = 2048
"""Below -O3 the arena may grow so many times, or by so many bytes, for the sake of speed."""

STACK_BYTES = 512
"""Kept free of RAM: the stack is known only when the C is built."""


@dataclass(frozen=True)
class Settled:
    """The kernel of each op, the order of execution, the places in the arena."""

    taken: Mapping[Op, Choice]
    order: Sequence[Op]
    allocation: Allocation


def settle(parts: Staged, choices: Choices, options: BackendOptions) -> Settled:
    """Take kernels; where the arena exceeds its room, ban those that take most and try again.
    LimitError names ops that no kernel computes in the RAM of `options`."""
    room = _room(parts, choices, options)
    banned: set[Kernel] = set()
    while True:
        taken = choices.take(banned)
        order = best_order(
            parts.graph,
            lambda op: taken[op].kernel.scratch,  # noqa: B023
            parts.first,
        )
        allocation = allocate(parts.graph, order, taken)
        too_large = _too_large(order, allocation, room)
        if not too_large:
            return Settled(taken, order, allocation)
        for op in too_large:
            banned |= _no_better(taken[op].kernel, [c.kernel for c in choices.allowed[op]])


def _room(parts: Staged, choices: Choices, options: BackendOptions) -> float:
    """Bytes that the arena may take: what the user's limit leaves beside the stack and the caller's
    buffers, and below -O3 not much more than the network needs with the least scratch."""
    graph, room = parts.graph, inf
    if options.max_ram is not None:
        buffers = sum(v.type.nbytes for v in (*graph.inputs, *graph.outputs))
        room = options.max_ram - STACK_BYTES - buffers
    if options.level == "O3":
        return room
    frugal = choices.frugal()
    order = best_order(graph, lambda op: frugal[op].kernel.scratch, parts.first)
    least = allocate(graph, order, frugal).plan.size
    return min(room, max(GROWTH * least, least + SPARE_BYTES))


def _too_large(order: Sequence[Op], allocation: Allocation, room: float) -> list[Op]:
    """The ops at whose steps most bytes live, if the arena exceeds its room."""
    if allocation.plan.size <= room:
        return []
    live = live_bytes(allocation.plan.buffers)
    least = min(room + 1, max(live, default=0))
    return [op for op, nbytes in zip(order, live, strict=False) if nbytes >= least]


def _no_better(kernel: Kernel, kernels: Sequence[Kernel]) -> set[Kernel]:
    """The kernel, and all that take as much scratch and that are no better in place."""
    return {
        k
        for k in kernels
        if k.scratch >= kernel.scratch and set(k.in_place) <= set(kernel.in_place)
    }

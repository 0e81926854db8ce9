"""From a verified graph to C files: choose kernels, order and place tensors, lower, print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinycc_nn.backend import Artifact, BackendOptions, Effort, Observe, Tuned
from tinycc_nn.backends.tvm.allocate import Allocation, allocate, scratch_name
from tinycc_nn.backends.tvm.choose import Choice, Choices
from tinycc_nn.backends.tvm.emit import emit
from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.tuning.tune import tune
from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.memory import live_bytes
from tinycc_nn.schedule import best_order, steps
from tinycc_nn.target import Target

__all__ = ["TvmBackend", "scratch_name"]

STACK_BYTES = 512
"""Kept free of RAM: the stack is known only when the C is built."""


class TvmBackend:
    """Plain C99 without a runtime: kernels are TIR functions, weights are constants."""

    def compile(self, graph: Graph, target: Target, options: BackendOptions) -> Artifact:
        """Generate C. TinyccError names every op that no kernel of the target takes, LimitError
        those that no kernel computes in the RAM of `options`."""
        choices = Choices.of(steps(graph), target, options)
        banned: set[Kernel] = set()
        while True:
            taken = choices.take(banned)
            order = best_order(graph, lambda op: taken[op].kernel.scratch)  # noqa: B023
            allocation = allocate(graph, order, taken)
            too_large = _too_large(graph, order, taken, allocation, options.max_ram)
            if not too_large:
                return emit(graph, order, taken, allocation, options)
            for op in too_large:
                banned |= _no_better(taken[op].kernel, [c.kernel for c in choices.allowed[op]])

    def tune(
        self,
        graph: Graph,
        target: Target,
        options: BackendOptions,
        effort: Effort,
        observe: Observe,
    ) -> Tuned:
        """Measure the kernels of every layer that are not known yet; see `Tunable`."""
        return tune(graph, target, options, effort, observe)


def _too_large(
    graph: Graph,
    order: Sequence[Op],
    taken: Mapping[Op, Choice],
    allocation: Allocation,
    max_ram: int | None,
) -> list[Op]:
    """The ops at whose steps most bytes live, if the arena and the caller's buffers exceed it."""
    if max_ram is None:
        return []
    buffers = sum(v.type.nbytes for v in (*graph.inputs, *graph.outputs))
    room = max_ram - STACK_BYTES - buffers
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

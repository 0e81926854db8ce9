"""
prune-iteratively: prune channels a little, train a little, until the network keeps to a budget.

    %c = conv2d %x, %w, %b                           %c = conv2d %x, %w', %b'
    %y = conv2d %c, %v, %k                     ->    %y = conv2d %c, %v', %k'

Each round removes the same share of the MACs that are left, or of the cycles, as prune-channels
does, then trains for `epochs` (or `minutes`), as distill or finetune do; so that a later round judges
channels by what is left of them after training. The teacher of every round is the network as it was
read. On float graphs, in front of quantize, or on int8 ones.

Say how much with one of macs, latency, max_cycles and max_ms; half of the MACs without. Cycles are
those of the network as it stands, built and run on the emulated core: int8 ones need quantize in
front. What can't be reached is said before anything is trained.

Sources: Han et al., "Learning both Weights and Connections for Efficient Neural Networks", 2015;
Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", 2017;
Yang et al., "NetAdapt: Platform-Aware Neural Network Adaptation for Mobile Applications", 2018
(measured latency, in steps).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tinycc_nn.diagnostics import LimitError
from tinycc_nn.ir.graph import Graph
from tinycc_nn.passes._budget import Budget, cycles_limit
from tinycc_nn.passes._training import TrainingPass, check_labels, trainer
from tinycc_nn.passes.prune_channels import PruneChannels
from tinycc_nn.pipeline import Context, option
from tinycc_nn.pruning.layers import total_macs

HALF = 0.5
"""Of the MACs stay where no limit is given."""

STEP = 1 / 32
"""Where cycles fall more slowly than MACs, at least this share of the MACs goes in addition."""


@dataclass(frozen=True)
class PruneIteratively(TrainingPass):
    needs_calibration: ClassVar[bool] = True
    reads_training: ClassVar[bool] = True

    macs: float = option(
        0.0,
        "of the network's MACs to keep at most, 0..1; 0: half of them if there is no other limit",
        choices=(0.7, 0.5),
    )
    latency: float = option(0.0, "limit of cycles, as a part (0..1) of what the network takes")
    max_cycles: int = option(0, "limit of an inference's cycles")
    max_ms: float = option(0.0, "limit of an inference's time in ms, for a target with a clock")
    rounds: int = option(3, "of pruning and training", choices=(2, 3, 5))
    criterion: Literal["l1", "l2", "activation", "sensitivity"] = option(
        "activation", "of prune-channels: which channels matter least"
    )
    multiple: int = option(4, "of channels that stay in a layer")
    learn: Literal["teacher", "labels"] = option(
        "teacher", "from the network as it was read, or from labels"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("macs", "latency"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in 0..1, below 1")
        if min(self.max_cycles, self.max_ms) < 0:
            raise ValueError("limits must be positive")
        if sum(x != 0 for x in (self.macs, self.latency, self.max_cycles, self.max_ms)) > 1:
            raise ValueError("give one of macs, latency, max_cycles and max_ms")
        if self.rounds < 1 or self.multiple < 1:
            raise ValueError("rounds and multiple must be at least 1")

    def apply(self, graph: Graph, context: Context) -> None:
        check_labels(context, self, self.learn, self.name())
        graph.sweep()
        budget = self._budget(graph, context)
        least = self._smallest(graph)
        if (size := budget.size(least)) > budget.limit:
            message = (
                f"{self.name()}: the limit is {budget.limit} {budget.unit}, but the channels that "
                f"may be removed leave {size}"
            )
            hint = f"the nearest that can be met is {budget.nearest(size)}"
            raise LimitError(message, hint=hint)
        train = trainer(self, graph, self.learn)
        for limit in budget.steps(self.rounds):
            graph.assign(train(self._pruned(graph, context, budget, limit), context))
        note = f"{budget.whole} -> {budget.size(graph)} {budget.unit} of at most {budget.limit}"
        context.watcher.note(f"{self.name()}: {note}")

    def _budget(self, graph: Graph, context: Context) -> Budget:
        whole = total_macs(graph)
        if not (self.latency or self.max_cycles or self.max_ms):
            return Budget("MACs", "macs", total_macs, whole, int((self.macs or HALF) * whole))
        costs = context.costs_for(self.name())
        whole = costs.built(graph)
        limit = cycles_limit(costs, whole, self.latency, self.max_cycles, self.max_ms, self.name())
        assert limit is not None
        named = "latency" if self.latency else "max_cycles"
        return Budget("cycles", named, costs.built, whole, limit)

    def _smallest(self, graph: Graph) -> Graph:
        """All channels gone that may go; the weights don't matter."""
        prune = PruneChannels(keep=1, criterion="l1", multiple=self.multiple, reconstruct=False)
        return prune(graph)

    def _pruned(self, graph: Graph, context: Context, budget: Budget, limit: int) -> Graph:
        """The first network that keeps to the limit, of ever fewer MACs."""
        size, macs = budget.size(graph), total_macs(graph)
        if size <= limit:
            return graph
        least = total_macs(self._smallest(graph))
        left = int(macs * limit / size)
        while True:
            left = max(left, least)
            part = (left + 0.5) / macs
            prune = PruneChannels(macs=part, criterion=self.criterion, multiple=self.multiple)
            found = prune(graph, context)
            size = budget.size(found)
            if size <= limit:
                return found
            if left == least:
                message = f"{self.name()}: {size} {budget.unit} are left, more than {limit}"
                hint = f"the nearest that can be met is {budget.nearest(size)}"
                raise LimitError(message, hint=hint)
            left = int(left * min(limit / size, 1 - STEP))

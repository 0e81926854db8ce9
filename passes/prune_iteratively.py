"""
prune-iteratively: prune channels a little, train a little, until few enough MACs are left.

    %c = conv2d %x, %w, %b                           %c = conv2d %x, %w', %b'
    %y = conv2d %c, %v, %k                     ->    %y = conv2d %c, %v', %k'

Each round removes the same share of the MACs that are left, as prune-channels does, then trains for
`epochs` (or `minutes`), as distill or finetune do; so that a later round judges channels by what is
left of them after training. On float graphs, in front of quantize, or on int8 ones.

Sources: Han et al., "Learning both Weights and Connections for Efficient Neural Networks", 2015;
Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tinycc_nn.ir.graph import Graph
from tinycc_nn.passes._training import TrainingPass, trainer
from tinycc_nn.passes.prune_channels import PruneChannels
from tinycc_nn.pipeline import Context, option


@dataclass(frozen=True)
class PruneIteratively(TrainingPass):
    needs_calibration: ClassVar[bool] = True
    reads_training: ClassVar[bool] = True

    macs: float = option(0.5, "of the network's MACs to keep at most, 0..1", choices=(0.7, 0.5))
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
        if not 0 < self.macs < 1:
            raise ValueError("macs must be in 0..1, between them")
        if self.rounds < 1 or self.multiple < 1:
            raise ValueError("rounds and multiple must be at least 1")

    def apply(self, graph: Graph, context: Context) -> None:
        each = self.macs ** (1 / self.rounds)
        prune = PruneChannels(macs=each, criterion=self.criterion, multiple=self.multiple)
        train = trainer(self, graph, self.learn)
        for _ in range(self.rounds):
            graph.assign(train(prune(graph, context), context))

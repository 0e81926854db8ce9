"""
prune-weights: set the weights that matter least to zero, wherever they are.

    %y = dense %x, %w, %b     ->     %y = dense %x, %w', %b'

A part `ratio` of w' is 0 and the other weights are fitted on calibration data, so that the layer
computes what it did before (reconstruct=true). Depthwise layers keep their weights: these are
few. Weights are stored as before, zeros in place: that alone saves neither time nor flash.

Sources: Hassibi, Stork, "Second Order Derivatives for Network Pruning: Optimal Brain Surgeon",
1993; Frantar, Alistarh, "Optimal Brain Compression", 2022; Han et al., 2015 (magnitude).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tinycc_nn.ir.graph import Graph
from tinycc_nn.passes._sparse import Sparsity
from tinycc_nn.pipeline import Context, Pass, option
from tinycc_nn.pruning.masks import least


@dataclass(frozen=True)
class PruneWeights(Pass):
    keeps_values: ClassVar[bool] = False

    ratio: float = option(
        0.5, "of the weights that become 0, 0..1", choices=(0.3, 0.5, 0.7, 0.8, 0.9)
    )
    criterion: Literal["magnitude", "activation", "obs"] = option(
        "obs",
        "magnitude: of the weight; activation: times its input; obs: error that is left if all "
        "other weights make up for it",
    )
    scope: Literal["layer", "global"] = option(
        "global", "least important weights anywhere, or the same ratio in each layer"
    )
    skip: tuple[str, ...] = option((), "names of layers that get no zeros", by_layer=True)
    reconstruct: bool = option(True, "fit the weights that are left on calibration data")

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise ValueError("ratio must be between 0 and 1")

    def apply(self, graph: Graph, context: Context) -> None:
        shared = Sparsity(self.name(), self.criterion, self.skip, self.reconstruct)
        layers = shared.layers(
            graph, lambda op: True, "each is skipped, depthwise, or has coded weights"
        )
        shared.apply(
            graph, context, layers, lambda s, part: least(s, part * self.ratio, self.scope)
        )

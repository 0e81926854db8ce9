"""
prune-blocks: set whole blocks of weights to zero, or all but n of m, for kernels that skip them.

    %y = conv2d %x, %w, %b     ->     %y = conv2d %x, %w', %b'

A block is block=[4,2] inputs x outputs at one position of the kernel; with n_m=[2,4], 2 of 4
inputs in a row stay for each output. The other weights are fitted on calibration data, so that the
layer computes what it did before (reconstruct=true). Layers narrower than a block, and depthwise
ones, keep their weights. The gain is a kernel's: convolutions skip blocks of 4 x 2, dense layers
those of block=[4,4]; zeros of n_m are skipped by none, but a bitmap stores them smaller at -Os. A Winograd
kernel, which skips none, may still be faster: 12 -> 12 channels, 3x3, on 32x32 pixels of a Cortex-M4
at -O2 took 1,175,466 cycles with 47 % of the blocks left, and 978,221 as Winograd.

Sources: Narang, Undersander, Diamos, "Block-Sparse Recurrent Neural Networks", 2017; Mishra et
al., "Accelerating Sparse Deep Neural Networks", 2021 (n of m); Frantar, Alistarh, "SparseGPT",
2023 (the update of the weights that stay).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.ir.types import Array
from tinycc_nn.passes._sparse import Sparsity
from tinycc_nn.pipeline import Context, Pass, option
from tinycc_nn.pruning.layers import group_count
from tinycc_nn.pruning.masks import block_means, by_input, least, n_of_m, spread


@dataclass(frozen=True)
class PruneBlocks(Pass):
    keeps_values: ClassVar[bool] = False

    ratio: float = option(0.5, "of the blocks that become 0, 0..1", choices=(0.3, 0.5, 0.7))
    block: tuple[int, ...] = option((4, 2), "[inputs, outputs] of a block")
    n_m: tuple[int, ...] = option((), "[n, m]: n of m inputs stay, in place of blocks and ratio")
    criterion: Literal["magnitude", "activation", "obs"] = option(
        "obs",
        "magnitude: of the weight; activation: times its input; obs: error that is left if all "
        "other weights make up for it",
    )
    scope: Literal["layer", "global"] = option(
        "layer", "the same ratio in each layer, or least important blocks anywhere"
    )
    skip: tuple[str, ...] = option((), "names of layers that get no zeros", by_layer=True)
    reconstruct: bool = option(True, "fit the weights that are left on calibration data")

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise ValueError("ratio must be between 0 and 1")
        if len(self.block) != 2 or min(self.block) < 1:
            raise ValueError("block must be two numbers from 1: [inputs, outputs]")
        if self.n_m and (len(self.n_m) != 2 or not 0 < self.n_m[0] < self.n_m[1]):
            raise ValueError("n_m must be two numbers, 0 < n < m")

    def apply(self, graph: Graph, context: Context) -> None:
        shared = Sparsity(self.name(), self.criterion, self.skip, self.reconstruct)
        layers = shared.layers(graph, self._fits, self._needs())
        shared.apply(graph, context, layers, self._chosen)

    def _fits(self, op: Op) -> bool:
        shape = op.operands[1].type.shape
        if group_count(op) > 1:
            return False
        if self.n_m:
            return shape[-1] % self.n_m[1] == 0
        return shape[-1] >= self.block[0] and shape[0] >= self.block[1]

    def _needs(self) -> str:
        if self.n_m:
            return f"none has one group and a multiple of {self.n_m[1]} inputs"
        return f"none has one group, {self.block[0]} inputs and {self.block[1]} outputs"

    def _chosen(self, scores: Mapping[Op, Array], part: float) -> Mapping[Op, Array]:
        flat = {op: by_input(op, s) for op, s in scores.items()}
        if self.n_m:
            n, m = self.n_m
            return {
                op: n_of_m(s, m - round(part * (m - n)), m).reshape(scores[op].shape)
                for op, s in flat.items()
            }
        block = (self.block[0], self.block[1])
        means = {op: block_means(s, block) for op, s in flat.items()}
        gone = least(means, part * self.ratio, self.scope)
        return {
            op: spread(g, block, flat[op].shape).reshape(scores[op].shape) for op, g in gone.items()
        }

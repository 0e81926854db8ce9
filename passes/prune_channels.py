"""
prune-channels: remove the channels that matter least, with everything that is coupled to them.

    %c = conv2d %x, %w, %b {act=relu}                %c = conv2d %x, %w', %b' {act=relu}
    %d = conv2d %c, %u {groups=64}             ->    %d = conv2d %c, %u' {groups=48}
    %y = conv2d %d, %v, %k                           %y = conv2d %d, %v', %k'

w' and u' are w and u without some channels; v' and k' are fitted on calibration data, from the
channels that are left to what the layer computed before (reconstruct=true). Channels that are
coupled by residual sums, depthwise layers, concatenations, pools and flattening go together.
Inputs and outputs of the network keep theirs. Say how much with one of ratio, macs and keep.

It works on float and on int8 graphs; layers whose weights are codes (quantize-weights) lose
channels but aren't fitted. There is no first-order Taylor criterion: gradients need a
training framework.

Sources: He, Zhang, Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", 2017;
coupled channels as in Fang et al., "DepGraph: Towards Any Structural Pruning", 2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from tinycc_nn.channel_removal import kept, remove_groups
from tinycc_nn.channels import Group, channel_groups
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import Array
from tinycc_nn.pipeline import Context, Pass, option
from tinycc_nn.pruning.group_scores import MEASURED, RELATIVE, group_scores
from tinycc_nn.pruning.layers import is_layer, named
from tinycc_nn.pruning.reconstruct import reconstruct, targets
from tinycc_nn.pruning.samples import calibration
from tinycc_nn.pruning.selection import Unit, by_count, by_macs, by_ratio, units


@dataclass(frozen=True)
class PruneChannels(Pass):
    keeps_values: ClassVar[bool] = False

    ratio: float = option(
        0.0, "of the channels to remove, 0..1, rounded so that more stay", choices=(0.25, 0.5)
    )
    macs: float = option(
        0.0, "of the network's MACs to keep at most, 0..1", choices=(0.9, 0.8, 0.7, 0.5)
    )
    keep: int = option(0, "channels to keep in each layer")
    criterion: Literal["l1", "l2", "bn-scale", "activation", "sensitivity"] = option(
        "activation",
        "l1, l2: norm of the filters; bn-scale: of batch_norm, so in front of fold-bn; activation: "
        "share in what the next layer computes; sensitivity: measured error of the outputs",
    )
    scope: Literal["global", "layer"] = option(
        "global", "least important channels anywhere, or the same share of each layer"
    )
    multiple: int = option(
        4, "of channels that stay in a layer; kernels work on 4 at a time", choices=(1, 4, 8)
    )
    skip: tuple[str, ...] = option(
        (), "names of layers that keep all their channels", by_layer=True
    )
    reconstruct: bool = option(True, "fit the layers that are left on calibration data")

    def __post_init__(self) -> None:
        if (self.ratio != 0) + (self.macs != 0) + (self.keep != 0) != 1:
            raise ValueError("give one of ratio, macs and keep")
        if not 0 <= self.ratio < 1:
            raise ValueError("ratio must be in 0..1, below 1")
        if not 0 <= self.macs <= 1:
            raise ValueError("macs must be in 0..1")
        if self.keep < 0 or self.multiple < 1:
            raise ValueError("keep and multiple must be at least 1")

    def apply(self, graph: Graph, context: Context) -> None:
        graph.sweep()
        kept_layers = {op.result for op in named(graph, self.skip, "prune-channels: skip")}
        groups = [
            g for g in channel_groups(graph)
            if not g.fixed and not any(v in kept_layers for v, _ in g.channels)
        ]  # fmt: skip
        if not groups:
            raise nothing_free(graph)
        inputs: dict[str, Array] = {}
        if self.reconstruct or self.criterion in MEASURED:
            why = "reconstruct" if self.reconstruct else f"criterion={self.criterion}"
            inputs = calibration(
                graph, context.calibration, f"prune-channels: {why}",
                "criterion=l1, reconstruct=false",
            )  # fmt: skip
        chosen = self._chosen(graph, groups, inputs)
        remove(graph, [g for u in chosen for g in u.groups], inputs if self.reconstruct else {})

    def _chosen(
        self, graph: Graph, groups: Sequence[Group], inputs: Mapping[str, Array]
    ) -> list[Unit]:
        scores = group_scores(graph, groups, self.criterion, inputs, compensated=self.reconstruct)
        if not np.isfinite(scores).any():
            message = f"prune-channels: criterion={self.criterion} knows none of the channels"
            raise TinyccError(message, hint="bn-scale needs batch_norm: put it before fold-bn")
        found = units(groups, scores, self.multiple, relative=self.criterion in RELATIVE)
        together = self.scope == "global"
        if self.macs:
            return by_macs(graph, found, self.macs, together=together)
        if self.keep:
            return by_count(found, self.keep)
        return by_ratio(found, len(groups), self.ratio, together=together)


def nothing_free(graph: Graph) -> TinyccError:
    """The error of a graph all of whose channels have to stay."""
    where = graph.outputs[0].name if graph.outputs else None
    return TinyccError(
        "prune-channels: no channel can be removed: the interface, an operator that needs its "
        "channels as they are, or skip holds every one",
        where,
        "layers need constant weights: run fuse-qdq first on a quantized model",
    )


def remove(graph: Graph, groups: list[Group], inputs: Mapping[str, Array]) -> None:
    """Remove groups in place; with `inputs` as stored, fit what is left to what was there."""
    if not groups:
        return
    if not inputs:
        remove_groups(graph, groups)
        return
    wanted = targets(graph, [op for op in graph.ops if is_layer(op)], inputs)
    keep = kept(c for g in groups for c in g.channels)
    before = [op for op in graph.ops if op.name != "const"]
    remove_groups(graph, groups)
    after = [op for op in graph.ops if op.name != "const"]
    pairs = zip(before, after, strict=True)
    fitted = {new: wanted[old].of(keep.get(old.result)) for old, new in pairs if old in wanted}
    reconstruct(graph, fitted, inputs)

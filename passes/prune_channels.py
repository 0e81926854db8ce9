"""
prune-channels: remove the channels that matter least, with everything that is coupled to them.

    %c = conv2d %x, %w, %b {act=relu}                %c = conv2d %x, %w', %b' {act=relu}
    %d = conv2d %c, %u {groups=64}             ->    %d = conv2d %c, %u' {groups=48}
    %y = conv2d %d, %v, %k                           %y = conv2d %d, %v', %k'

w' and u' are w and u without some channels; v' and k' are fitted on calibration data, from the
channels that are left to what the layer computed before (reconstruct=true). Channels that are
coupled by residual sums, depthwise layers, concatenations, pools and flattening go together.
Inputs and outputs of the network keep theirs. Say how much with one of ratio, macs, keep,
max_cycles and max_ms: the last two are of the network as it is here, so behind quantize of an int8
one, and hold as built and run on the emulated core.

It works on float and on int8 graphs; layers whose weights are codes (quantize-weights) lose
channels but aren't fitted. criterion=taylor works on float graphs and needs PyTorch.

Sources: He, Zhang, Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", 2017;
coupled channels as in Fang et al., "DepGraph: Towards Any Structural Pruning", 2023; Molchanov et
al., "Importance Estimation for Neural Network Pruning", 2019 (taylor).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import ClassVar, Literal

import numpy as np

from tinycc_nn.channel_removal import kept, remove_groups
from tinycc_nn.channels import Group, channel_groups, is_mixing
from tinycc_nn.cost import Costs
from tinycc_nn.diagnostics import LimitError, TinyccError
from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.passes._budget import cycles_limit
from tinycc_nn.pipeline import Context, Pass, check_torch, option
from tinycc_nn.pruning.group_scores import MEASURED, RELATIVE, group_scores, sum_over_group
from tinycc_nn.pruning.layers import is_layer, named
from tinycc_nn.pruning.reconstruct import reconstruct, targets
from tinycc_nn.pruning.samples import calibration
from tinycc_nn.pruning.selection import Unit, by_count, by_cycles, by_macs, by_ratio, units

ROUNDS = 8
"""Times that a network is built to meet max_cycles, since costs of layers are predicted."""

TAYLOR_SAMPLES = 512


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
    max_cycles: int = option(0, "of an inference on the target")
    max_ms: float = option(0.0, "the same as a time; of a target whose clock is known")
    criterion: Literal["l1", "l2", "bn-scale", "activation", "sensitivity", "taylor"] = option(
        "activation",
        "l1, l2: norm of the filters; bn-scale: of batch_norm, so in front of fold-bn; activation: "
        "share in what the next layer computes; sensitivity: measured error of the outputs; "
        "taylor: the same to the first order, by gradients, of the error if --train has labels",
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
        given = (self.ratio, self.macs, self.keep, self.max_cycles, self.max_ms)
        if sum(value != 0 for value in given) != 1:
            raise ValueError("give one of ratio, macs, keep, max_cycles and max_ms")
        if self.max_cycles < 0 or self.max_ms < 0:
            raise ValueError("max_cycles and max_ms must be above 0")
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
        chosen = self._chosen(graph, groups, inputs, context)
        remove(graph, [g for u in chosen for g in u.groups], inputs if self.reconstruct else {})

    def _chosen(
        self, graph: Graph, groups: Sequence[Group], inputs: Mapping[str, Array], context: Context
    ) -> list[Unit]:
        scores = self._scores(graph, groups, inputs, context)
        if not np.isfinite(scores).any():
            message = f"prune-channels: criterion={self.criterion} knows none of the channels"
            raise TinyccError(message, hint="bn-scale needs batch_norm: put it before fold-bn")
        found = units(groups, scores, self.multiple, relative=self.criterion in RELATIVE)
        together = self.scope == "global"
        if self.macs:
            return by_macs(graph, found, self.macs, together=together)
        if self.keep:
            return by_count(found, self.keep)
        if self.max_cycles or self.max_ms:
            return self._within(graph, found, context.costs_for(self.name()))
        return by_ratio(found, len(groups), self.ratio, together=together)

    def _scores(
        self, graph: Graph, groups: Sequence[Group], inputs: Mapping[str, Array], context: Context
    ) -> Array:
        if self.criterion != "taylor":
            return group_scores(graph, groups, self.criterion, inputs, compensated=self.reconstruct)
        check_torch(f"{self.name()}{{criterion=taylor}}")
        from tinycc_nn.training.saliency import channel_saliencies

        samples, labels = context.calibration, None
        if context.training is not None and context.training.labelled:
            batch = context.training.some(TAYLOR_SAMPLES)
            samples, labels = batch.inputs, batch.labels
        read = {op.operands[0] for op in graph.ops if is_mixing(op)}
        values = [v for v in graph_values(graph) if v in read]
        return sum_over_group(groups, channel_saliencies(graph, values, samples, labels))

    def _within(self, graph: Graph, found: list[Unit], costs: Costs) -> list[Unit]:
        """The units without which the network, as built, needs no more than it may."""
        limit = cycles_limit(costs, 0, 0.0, self.max_cycles, self.max_ms, self.name())
        assert limit is not None  # one of the options is given
        asked: float = limit
        least = inf

        def predicted(units: Sequence[Unit]) -> float:
            left = without(graph, units)
            return sum(c.cycles for c in costs.predicted(left).values())

        for _ in range(ROUNDS):
            taken = by_cycles(graph, found, asked, predicted, together=self.scope == "global")
            left = without(graph, taken)
            if (built := costs.built(left)) <= limit:
                return taken
            least = min(least, built)
            asked = min(asked * limit / built, 0.999 * predicted(taken))
        raise LimitError(
            f"{limit:,.0f} cycles at most, but what was built needs {least:,.0f}",
            hint=f"the nearest that can be met is max_cycles={least:.0f}",
        )


def without(graph: Graph, units: Sequence[Unit]) -> Graph:
    """A copy in which the groups of units are removed and nothing is fitted."""
    copy = graph.clone()
    same = dict(zip(graph_values(graph), graph_values(copy), strict=True))
    groups = [
        Group(tuple((same[v], i) for v, i in g.channels), g.fixed) for u in units for g in u.groups
    ]
    if groups:
        remove_groups(copy, groups)
    return copy


def graph_values(graph: Graph) -> list[Value]:
    """All values, in order."""
    return [*graph.inputs, *(r for op in graph.ops for r in op.results)]


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

"""
early-exit: a classifier after an inner layer, which ends the inference where it is sure.

    %c = conv2d %a, %w, %b        ->    %c = conv2d %a, %w, %b
    ...                                 %m = avg_pool2d %c {kernel=[8,8], stride=[8,8]}
    %y = softmax %z                     %r = reshape %m
                                        %l = dense %r, %u, %k
                                        %e = softmax %l
                                        ...
                                        %s = softmax %z
                                        %y = exit_if %e, %s {threshold=0.75}

Generated C stops after %e where its largest probability reaches the threshold. The classifier is
fitted to the network's own probabilities on calibration data, so no labels are needed. The
threshold is the smallest at which the share of samples that end early with another class than the
network's is at most `loss`, or the largest at which `exits` of the samples end early; both are
judged by classifiers that were fitted without the sample. It is a multiple of 1/256: all that
probabilities as int8 can tell apart. On float graphs; quantize comes after.

Source: Teerapittayanon, McDanel, Kung, "BranchyNet: Fast Inference via Early Exiting from Deep
Neural Networks", 2016; here without training of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycc_nn.diagnostics import LimitError, TinyccError
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import F32, Array
from tinycc_nn.passes._classifier import fit
from tinycc_nn.passes._exit_head import (
    LEVELS,
    Head,
    features_of,
    insert,
    level_for_exits,
    level_for_loss,
    levels,
    losses,
    skipped_macs,
    why_not,
)
from tinycc_nn.pipeline import Context, Pass, option
from tinycc_nn.pruning.layers import is_layer, named
from tinycc_nn.pruning.samples import calibration

FEWEST = 16
"""Calibration samples: no threshold can be set on fewer."""


@dataclass(frozen=True)
class EarlyExit(Pass):
    keeps_values: ClassVar[bool] = False
    needs_calibration: ClassVar[bool] = True

    after: str = option("", "name of a layer; without one, that which saves most MACs on average")
    loss: float = option(
        0.01,
        "of the samples, 0..1, that may end early with another class than the whole network's",
        choices=(0.0, 0.01, 0.02),
    )
    exits: float = option(0.0, "of the samples, 0..1, that are to end early, instead of loss")

    def __post_init__(self) -> None:
        for name in ("loss", "exits"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1")

    def apply(self, graph: Graph, context: Context) -> None:
        graph.sweep()
        final = _probabilities(graph)
        layers = self._layers(graph, final)
        inputs = calibration(graph, context.calibration, self.name(), "leave the pass out")
        seen = features_of(graph, inputs, [final, *(op.result for op in layers)])
        targets = seen[final]
        if len(targets) < FEWEST:
            message = f"early-exit: {len(targets)} calibration samples set no threshold"
            raise TinyccError(message, hint=f"give at least {FEWEST}; 250 are better")
        heads = [self._head(op, seen[op.result], targets, final) for op in layers]
        best = max(heads, key=lambda h: h.saved)
        self._check(best, heads, targets)
        insert(graph, best, final)

    def _layers(self, graph: Graph, final: Value) -> list[Op]:
        """The layers after which a classifier may come."""
        if self.after:
            # A layer and those that took its name over: the last one has what it computed.
            *_, op = [o for o in graph.ops if o in named(graph, (self.after,), "early-exit: after")]
            if why := why_not(op, final):
                raise TinyccError(f"early-exit: no exit after {op.result}: {why}", op.loc)
            return [op]
        found = [op for op in graph.ops if is_layer(op) and not why_not(op, final)]
        if not found:
            hint = "an exit comes after an inner conv2d or dense layer"
            raise TinyccError("early-exit: there is no layer for an exit", str(final), hint)
        return found

    def _head(self, op: Op, x: Array, targets: Array, final: Value) -> Head:
        fitted = fit(x, targets)
        if self.exits:
            level = level_for_exits(fitted.held_out, self.exits)
        else:
            level = level_for_loss(fitted.held_out, targets, self.loss)
        return Head(op, fitted, level, skipped_macs(op, final))

    def _check(self, best: Head, heads: Sequence[Head], targets: Array) -> None:
        """LimitError if no sample ends early, TinyccError if that saves nothing."""
        if best.exits == 0 and self.exits:
            most = max(float((levels(h.fitted.held_out) >= 1).mean()) for h in heads)
            message = f"early-exit: {self.exits:g} of the samples can't end early"
            raise LimitError(message, hint=f"the nearest that can be met is exits={most:g}")
        if best.exits == 0:
            least = min(_least_loss(h, targets) for h in heads)
            message = f"early-exit: no sample ends early with loss={self.loss:g}"
            hint = f"the nearest that can be met is loss={np.ceil(least * 1e4) / 1e4:g}"
            raise LimitError(message, hint=hint)
        if not self.after and best.saved <= 0:
            message = "early-exit: no exit saves as many MACs as its classifier takes"
            hint = "allow a larger loss, or name a layer with after"
            raise TinyccError(message, hint=hint)


def _least_loss(head: Head, targets: Array) -> float:
    """That of the highest threshold which any sample reaches."""
    early = head.fitted.held_out
    highest = min(int(levels(early).max()), LEVELS - 1)
    return float(losses(early, targets)[highest - 1])


def _probabilities(graph: Graph) -> Value:
    """The output, if it is a float softmax over classes."""
    where = graph.outputs[0].name if graph.outputs else None
    if len(graph.outputs) != 1:
        message = f"early-exit: the network has {len(graph.outputs)} outputs"
        raise TinyccError(message, where, "an exit replaces a single one")
    v = graph.outputs[0]
    if v.type.dtype != F32:
        hint = "put the pass in front of quantize"
        raise TinyccError("early-exit: the network is not float", where, hint)
    if v.owner is not None and v.owner.name == "exit_if":
        raise TinyccError("early-exit: the network has an exit already", where)
    if v.owner is None or v.owner.name != "softmax" or v.type.size != v.type.shape[-1]:
        hint = "how sure a classifier is, is the largest probability of a softmax"
        raise TinyccError("early-exit: the output is no softmax over classes", where, hint)
    return v

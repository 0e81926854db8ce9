"""What prune-weights and prune-blocks share: layers, saliencies, zeros, the fit of what is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tinycc_nn.channels import is_depthwise
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.ir.types import Array
from tinycc_nn.pipeline import Context
from tinycc_nn.pruning.layers import is_layer, named, zero_weights
from tinycc_nn.pruning.masks import Criterion, saliency
from tinycc_nn.pruning.reconstruct import Target, reconstruct, targets
from tinycc_nn.pruning.samples import calibration

Choice = Callable[[Mapping[Op, Array], float], Mapping[Op, Array]]
"""From saliencies float64[groups, out / groups, k] of layers, and the part (0..1) of the zeros that
is due, to bool: which weights go."""

STEPS = 3
"""Zeros are set and the other weights fitted so many times: what has taken over for others stays."""


@dataclass(frozen=True)
class Sparsity:
    """The options that the passes have in common."""

    made_by: str
    criterion: Criterion
    skip: tuple[str, ...]
    reconstruct: bool

    def layers(self, graph: Graph, fits: Callable[[Op], bool], why_not: str) -> list[Op]:
        """The layers to prune, without depthwise ones; TinyccError if there is none."""
        skipped = named(graph, self.skip, f"{self.made_by}: skip")
        free = [
            op for op in graph.ops
            if is_layer(op) and not is_depthwise(op) and op not in skipped and fits(op)
        ]  # fmt: skip
        if free:
            return free
        where = graph.outputs[0].name if graph.outputs else None
        message = f"{self.made_by}: no layer to prune: {why_not}"
        raise TinyccError(message, where, "weights must be constant: run fuse-qdq first")

    def apply(self, graph: Graph, context: Context, layers: list[Op], choose: Choice) -> None:
        """Zero what is chosen, in place, and fit what is left."""
        measured = self.reconstruct or self.criterion != "magnitude"
        inputs: dict[str, Array] = {}
        wanted: dict[Op, Target] = {}
        if measured:
            why = "reconstruct" if self.reconstruct else f"criterion={self.criterion}"
            otherwise = "criterion=magnitude, reconstruct=false"
            inputs = calibration(graph, context.calibration, f"{self.made_by}: {why}", otherwise)
            every = [op for op in graph.ops if is_layer(op)]
            wanted = targets(graph, every, inputs, curvature=self.criterion == "obs", sparse=layers)
            layers = [op for op in layers if op in wanted]  # others read constants
        steps = STEPS if self.reconstruct else 1
        for step in range(1, steps + 1):
            scores = {op: saliency(op, self.criterion, wanted.get(op)) for op in layers}
            gone = choose(scores, step / steps)
            keep = {op: np.logical_not(g) for op, g in gone.items()}
            for op, k in keep.items():
                zero_weights(graph, op, k)
            if self.reconstruct:
                reconstruct(graph, wanted, inputs, keep)
        graph.sweep()

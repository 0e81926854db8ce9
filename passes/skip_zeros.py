"""
skip-zeros: 1x1 convolutions and dense layers that leave out inputs which are zero at run time.

    %c = conv2d %x, %w, %b {act=relu}    ->    %c = conv2d %x, %w, %b {act=relu}
    %y = conv2d %c, %v                         %y = conv2d %c, %v {skip=47}

Behind a ReLU many elements are the zero point. A layer that is marked, here with the percentage of
zeros on calibration data, is computed by kernels that list the inputs which aren't zero and add up
only their products: the same bits, in a time that depends on the data. The dense and the skipping
network are built and run on calibration samples on the emulated core, and a layer is marked where
the skipping one took fewer cycles by at least `min_gain`: what is gained on average is paid for by
the worst case, which takes more than the dense layer. That is what reports say as cycles, beside the
mean, and what limits of latency are judged by. On int8 graphs.

Source: Han et al., "EIE: Efficient Inference Engine on Compressed Deep Neural Network", 2016, which
skips zero activations in hardware.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycc_nn.cost import Costs
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.ir.types import I8, Array
from tinycc_nn.ops import ints, number
from tinycc_nn.pipeline import Context, Pass, option
from tinycc_nn.pruning.layers import is_layer, named
from tinycc_nn.pruning.reconstruct import walk
from tinycc_nn.pruning.samples import calibration, evenly

SAMPLES = 8
"""Calibration samples, evenly spaced, on which cycles are measured."""


@dataclass(frozen=True)
class SkipZeros(Pass):
    needs_calibration: ClassVar[bool] = True

    layers: tuple[str, ...] = option(
        (), "names of layers; none for all that can skip", by_layer=True
    )
    min_zeros: float = option(0.25, "of a layer's inputs, 0..1, for it to be tried")
    min_gain: float = option(0.05, "of a layer's cycles, 0..1, that it must save on average")
    always: bool = option(
        False, "mark layers with min_zeros whether they gain or not; nothing is measured"
    )

    def __post_init__(self) -> None:
        for name in ("min_zeros", "min_gain"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1")

    def apply(self, graph: Graph, context: Context) -> None:
        graph.sweep()
        layers = self._layers(graph)
        for op in layers:
            op.attrs.pop("skip", None)
        inputs = calibration(graph, context.calibration, self.name(), "leave the pass out")
        rates = zero_rates(graph, layers, inputs)
        tried = [op for op in layers if rates[op] >= self.min_zeros]
        both: dict[Op, tuple[float, float]] = {}
        if self.always:
            _mark(tried, rates)
        else:
            costs = context.costs_for(self.name())
            both = _mark_measured(graph, tried, rates, evenly(inputs, SAMPLES), costs)
        for op, cycles in both.items():
            if not self._gains(*cycles):
                del op.attrs["skip"]
        context.watcher.note(_table(rates, both))

    def _gains(self, dense: float, skipping: float) -> bool:
        return skipping < dense and skipping <= (1 - self.min_gain) * dense

    def _layers(self, graph: Graph) -> list[Op]:
        if self.layers:
            found = named(graph, self.layers, f"{self.name()}: layers")
            for op in found:
                if why := why_not(op):
                    hint = "name 1x1 convolutions and dense layers of an int8 network"
                    raise TinyccError(f"{self.name()}: {op.result} can't skip: {why}", op.loc, hint)
            return [op for op in graph.ops if op in found]
        every = [op for op in graph.ops if why_not(op) is None]
        if not every:
            message = f"{self.name()}: no int8 1x1 convolution or dense layer"
            raise TinyccError(message, graph.name, "put the pass behind quantize or fuse-qdq")
        return every


def why_not(op: Op) -> str | None:
    """Why a layer's kernels can't skip zeros; None if they can."""
    if not is_layer(op):
        return f"{op.name} has no constant weights that aren't codes"
    quant = op.operands[1].type.quant
    if op.type.dtype != I8 or op.operands[0].type.dtype != I8 or quant is None:
        return "it is not int8"
    if quant.zero != 0:
        return "its weights have a zero point"
    if op.name == "dense":
        return None
    h, w = op.operands[1].type.shape[1:3]
    if (h, w) != (1, 1):
        return f"its window is {h}x{w}"
    if ints(op, "stride") != (1, 1) or any(ints(op, "pad")):
        return "it has a stride or pads"
    return None if number(op, "groups") == 1 else "it has groups"


def zero_rates(graph: Graph, layers: Sequence[Op], inputs: Mapping[str, Array]) -> dict[Op, float]:
    """The share (0..1) of each layer's inputs that stand for real zero, over all samples."""
    rates: dict[Op, float] = {}

    def see(op: Op, x: Array) -> None:
        if op in layers:
            quant = op.operands[0].type.quant
            assert quant is not None
            rates[op] = float(np.mean(x == quant.zero))

    walk(graph, inputs, see)
    return rates


def _mark(layers: Sequence[Op], rates: Mapping[Op, float]) -> None:
    for op in layers:
        op.attrs["skip"] = max(1, round(100 * rates[op]))


def _mark_measured(
    graph: Graph,
    layers: Sequence[Op],
    rates: Mapping[Op, float],
    inputs: Mapping[str, Array],
    costs: Costs,
) -> dict[Op, tuple[float, float]]:
    """Mark the layers; their cycles before and after."""
    if not layers:
        return {}
    dense = costs.on_samples(graph, inputs)
    _mark(layers, rates)
    skipping = costs.on_samples(graph, inputs)
    return {op: (dense[op.result.name], skipping[op.result.name]) for op in layers}


def _table(rates: Mapping[Op, float], cycles: Mapping[Op, tuple[float, float]]) -> str:
    """Each layer's zeros, cycles of both ways where they were measured; `*` marks what skips."""
    marked = sum("skip" in op.attrs for op in rates)
    lines = [f"skip-zeros: {marked} of {len(rates)} layers skip zeros (*)"]
    lines += [f"{'layer':24}{'zeros':>8}{'dense':>12}{'skipping':>12}"]
    for op, rate in rates.items():
        both = "".join(f"{c:12,.0f}" for c in cycles.get(op, ()))
        mark = "*" if "skip" in op.attrs else ""
        lines.append(f"{mark + op.result.name[:22]:24}{rate:8.0%}{both}")
    if cycles:
        lines.append("cycles are measured, the mean of calibration samples")
    return "\n".join(lines)

"""
low-rank: a dense layer or 1x1 convolution as two thin ones.

    %y = dense %x, %w, %b {act=relu}   ->   %l = dense %x, %u
                                            %y = dense %l, %v, %b' {act=relu}

v @ u is the matrix of the rank asked for that changes the layer's output least on calibration
data: the principal components of the output, not of the weights. Then all layers are fitted to
what they computed before. A layer for which two would take more MACs than one stays as it is. On
float graphs; quantize comes after. Say how much with one of rank, energy, ratio and macs.

Source: Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and
Detection", 2015, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.ir.types import Array
from tinycc_nn.ops import number
from tinycc_nn.passes._ranks import Amount
from tinycc_nn.passes._split import Splitting, layers_to_split
from tinycc_nn.pipeline import Context, Pass, option
from tinycc_nn.pruning.factors import Spectrum, low_rank, most_rank, spectrum
from tinycc_nn.pruning.layers import bias_of, weights_of


@dataclass(frozen=True)
class LowRank(Pass):
    keeps_values: ClassVar[bool] = False

    rank: int = option(0, "of every layer", choices=(8, 16, 32))
    energy: float = option(
        0.0, "of each layer's output that is kept, 0..1", choices=(0.9, 0.95, 0.99)
    )
    ratio: float = option(0.0, "of the full rank, min(inputs, outputs), 0..1", choices=(0.25, 0.5))
    macs: float = option(
        0.0, "of the network's MACs to keep at most, 0..1", choices=(0.9, 0.8, 0.7)
    )
    layers: tuple[str, ...] = option(
        (), "names of layers; none for all that can be split", by_layer=True
    )
    calibrate: bool = option(
        True, "weigh errors by calibration data and fit all layers; false: the weights alone"
    )

    def __post_init__(self) -> None:
        self._amount().check()

    def apply(self, graph: Graph, context: Context) -> None:
        graph.sweep()
        layers = layers_to_split(graph, self.name(), self.layers, _why_not)
        split = Splitting.start(graph, context, self.name(), measured=self.calibrate)
        found: dict[Op, Spectrum] = {}

        def see(op: Op, x: Array | None) -> None:
            found[op] = spectrum(weights_of(op)[0], x)

        split.each(layers, see)
        for op, rank in self._amount().ranks(graph, found, _sides).items():
            _factor(split, op, found[op], rank)
        split.fit()

    def _amount(self) -> Amount:
        return Amount(self.name(), "rank", self.rank, self.energy, self.ratio, self.macs)


def _why_not(op: Op) -> str:
    w = op.operands[1].type.shape
    if op.name == "conv2d" and (w[1:3] != (1, 1) or number(op, "groups") != 1):
        return f"it is a convolution of {w[1]}x{w[2]} with {int(number(op, 'groups'))} groups"
    k, out = _sides(op)
    return "" if most_rank(k, out) else f"it is {k} -> {out}: two layers take more MACs"


def _sides(op: Op) -> tuple[int, int]:
    """Inputs and outputs."""
    w = op.operands[1].type.shape
    return w[-1], w[0]


def _factor(split: Splitting, op: Op, s: Spectrum, rank: int) -> None:
    """Replace one layer by two."""
    w = weights_of(op)[0]
    first, second = low_rank(w, s, rank)
    bias = bias_of(op) + (w - second @ first) @ s.mean
    image = (1, 1) if op.name == "conv2d" else ()
    window = {k: v for k, v in op.attrs.items() if not k.startswith("act")}
    act = {k: v for k, v in op.attrs.items() if k.startswith("act")}
    x, name, result = op.operands[0], op.operands[1].name, op.result.name
    u = (f"{name}.in", first.reshape(rank, *image, -1))
    v = (f"{name}.out", second.reshape(len(w), *image, rank))
    low = split.emit(op, op.name, x, u, window, f"{result}.low")
    split.replace(op, split.emit(op, op.name, low, v, act, result), bias)

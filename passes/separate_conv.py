"""
separate-conv: a convolution as a depthwise and a 1x1 convolution.

    %y = conv2d %x, %w, %b {pad=[1,1,1,1]}   ->   %d = conv2d %x, %u {groups=16, pad=[1,1,1,1]}
                                                  %y = conv2d %d, %v, %b'

u has one filter for each of the 16 input channels. With more terms there are as many depthwise
layers, whose results are concatenated, so that v sums the terms. The filters are those that change
the output least on calibration data, channel by channel; then all layers are fitted to what they
computed before. A layer that would take more MACs than before stays as it is. Say how much with one
of terms, energy, ratio and macs. On float graphs; quantize comes after.

Sources: Guo et al., "Network Decoupling: From Regular to Depthwise Separable Convolutions", 2018;
Jaderberg et al., "Speeding up Convolutional Neural Networks with Low Rank Expansions", 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.ir.types import Array
from tinycc_nn.ops import emit, number
from tinycc_nn.passes._ranks import Amount
from tinycc_nn.passes._split import Splitting, layers_to_split
from tinycc_nn.pipeline import Context, Pass, option
from tinycc_nn.pruning.factors import Terms, most_rank, separable
from tinycc_nn.pruning.layers import bias_of


@dataclass(frozen=True)
class SeparateConv(Pass):
    keeps_values: ClassVar[bool] = False

    terms: int = option(
        1, "depthwise filters of each input channel, if nothing else is given", choices=(1, 2, 3)
    )
    energy: float = option(
        0.0, "of what each layer's channels add to its output, 0..1", choices=(0.9, 0.95, 0.99)
    )
    ratio: float = option(0.0, "of all terms, min(taps, outputs), 0..1", choices=(0.25, 0.5))
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
        if self.terms < 1:
            raise ValueError("terms must be at least 1")
        self._amount().check()

    def apply(self, graph: Graph, context: Context) -> None:
        graph.sweep()
        layers = layers_to_split(graph, self.name(), self.layers, _why_not)
        split = Splitting.start(graph, context, self.name(), measured=self.calibrate)
        found: dict[Op, Terms] = {}

        def see(op: Op, x: Array | None) -> None:
            w = op.operands[1].constant
            assert w is not None
            out, kh, kw, c = w.shape
            patches = None if x is None else x.reshape(-1, kh * kw, c)
            found[op] = separable(w.astype("float64").reshape(out, kh * kw, c), patches)

        split.each(layers, see)
        for op, terms in self._amount().ranks(graph, found, _sides).items():
            _separate(split, op, found[op].depth[:, :terms], found[op].point[:, :, :terms])
        split.fit()

    def _amount(self) -> Amount:
        # One term is the default, which any other wish replaces.
        other = any((self.energy, self.ratio, self.macs))
        terms = 0 if other and self.terms == 1 else self.terms
        return Amount(self.name(), "terms", terms, self.energy, self.ratio, self.macs)


def _why_not(op: Op) -> str:
    w = op.operands[1].type.shape
    if op.name != "conv2d" or w[1] * w[2] == 1:
        return "it has no window"
    if number(op, "groups") != 1:
        return f"it has {int(number(op, 'groups'))} groups"
    return (
        ""
        if most_rank(*_sides(op))
        else f"{w[0]} filters of {w[1]}x{w[2]}: two layers take more MACs"
    )


def _sides(op: Op) -> tuple[int, int]:
    """Taps of the window and outputs."""
    out, kh, kw, _ = op.operands[1].type.shape
    return kh * kw, out


def _separate(split: Splitting, op: Op, depth: Array, point: Array) -> None:
    """Replace one layer by depthwise ones, their concatenation and a 1x1 convolution."""
    out, kh, kw, c = op.operands[1].type.shape
    window = {k: v for k, v in op.attrs.items() if not k.startswith("act")} | {"groups": c}
    act = {k: v for k, v in op.attrs.items() if k.startswith("act")}
    x, name, result = op.operands[0], op.operands[1].name, op.result.name
    # All filters of a single channel are one layer.
    filters = depth if c == 1 else depth.transpose(1, 0, 2)
    parts = [
        split.emit(
            op, "conv2d", x, (f"{name}.depth", w.reshape(-1, kh, kw, 1)), window, f"{result}.depth"
        )
        for w in filters
    ]
    deep = parts[0]
    if len(parts) > 1:
        deep = emit(
            split.graph,
            "concat",
            parts,
            {"axis": 3},
            result=f"{result}.terms",
            before=op,
            loc=op.loc,
        )
    v = (f"{name}.point", point.transpose(0, 2, 1).reshape(out, 1, 1, -1))
    split.replace(op, split.emit(op, "conv2d", deep, v, act, result), bias_of(op))

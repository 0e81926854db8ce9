"""
student: a smaller network of the same family, trained to answer as the network that was read.

    %y = conv2d %x, %w, %b {pad=[1,1,1,1]}   ->   %d = conv2d %x, %u {groups=16, pad=[1,1,1,1]}
                                                  %y = conv2d %d, %v, %b'

separable: convolutions with a window, or those named by `layers`, become depthwise and 1x1 ones, as
separate-conv makes them with so many `terms`. width: the share of the channels that each layer keeps;
macs: the share of the multiply-accumulates that pruning leaves, where it costs least. drop: residual
sums whose longer branch is left out, the shorter one stays. early: convolutions of stride 1 that take
over the stride 2 of those behind them, so that all between works on a quarter of the pixels. What is left starts from the weights that
were there, or from random ones (start=random: normal, each layer scaled to a deviation of 1 on
calibration data). Then it is trained as by distill, or by finetune on labels. On float graphs;
quantize comes after.

Sources: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015; Howard et al.,
"MobileNets", 2017; Mishkin and Matas, "All you need is a good init", 2016 (the random start).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import numpy as np

from tinycc_nn.blas import one_blas_thread
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.ops import emit, opdef
from tinycc_nn.ops.activation import bounds
from tinycc_nn.passes._clip import EVERYTHING, carries_activation, clipped
from tinycc_nn.passes._early_stride import take_stride
from tinycc_nn.passes._training import TrainingPass, check_labels, has_int8_layers, trainer
from tinycc_nn.passes.prune_channels import PruneChannels
from tinycc_nn.passes.separate_conv import SeparateConv
from tinycc_nn.pipeline import Context, option
from tinycc_nn.pruning.layers import is_layer, named, set_layer, weights_of
from tinycc_nn.pruning.reconstruct import products, walk
from tinycc_nn.pruning.samples import calibration, pick, rows_of, sample_count


@dataclass(frozen=True)
class Student(TrainingPass):
    needs_calibration: ClassVar[bool] = True
    reads_training: ClassVar[bool] = True

    separable: bool = option(True, "convolutions become depthwise and 1x1 ones")
    layers: tuple[str, ...] = option(
        (), "names of those that do; none for all that can", by_layer=True
    )
    terms: int = option(1, "depthwise filters of each of their input channels", choices=(1, 2))
    width: float = option(1.0, "of the channels of each layer, 0..1", choices=(1.0, 0.75, 0.5))
    macs: float = option(
        0.0, "of the MACs to keep when channels are pruned instead, 0..1", choices=(0.5, 0.3)
    )
    drop: tuple[str, ...] = option((), "names of sums that lose their longer branch")
    early: tuple[str, ...] = option(
        (), "names of convolutions that take over the stride of those behind"
    )
    start: Literal["teacher", "random"] = option("teacher", "weights to begin with")
    learn: Literal["teacher", "labels"] = option(
        "teacher", "from the network as it was read, or from labels"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.width <= 1:
            raise ValueError("width must be above 0 and at most 1")
        if not 0 <= self.macs < 1:
            raise ValueError("macs must be in 0..1, below 1")
        if self.macs and self.width < 1:
            raise ValueError("give width or macs, not both")
        if not self.separable and (self.layers or self.terms != 1):
            raise ValueError("layers and terms are those of separable=true")
        SeparateConv(self.terms, layers=self.layers)

    def apply(self, graph: Graph, context: Context) -> None:
        check_labels(context, self, self.learn, self.name())
        if has_int8_layers(graph):
            raise TinyccError("student: the network is quantized", hint="put it before quantize")
        for op in named(graph, self.drop, "student: drop"):
            drop_branch(graph, op)
        graph.sweep()
        for op in named(graph, self.early, "student: early"):
            take_stride(graph, op)
        if self.width < 1:
            graph.assign(PruneChannels(ratio=1 - self.width, scope="layer")(graph, context))
        if self.macs:
            graph.assign(PruneChannels(macs=self.macs)(graph, context))
        if self.separable:
            graph.assign(SeparateConv(self.terms, layers=self.layers)(graph, context))
        if self.start == "random":
            start_anew(graph, calibration(graph, context.calibration, "student", ""), self.seed)
        graph.assign(trainer(self, graph, self.learn)(graph, context))


def drop_branch(graph: Graph, op: Op) -> None:
    """Replace a sum of two branches by the one with fewer multiply-accumulates."""
    if op.name != "add" or any(v.type != op.type for v in op.operands):
        hint = "it must be a sum of two tensors of its own shape"
        raise TinyccError(f"student: drop: {op.result} is no residual sum", op.loc, hint)
    kept = min(op.operands, key=work_of)
    layer = kept.owner
    known = bounds(layer) if layer is not None and carries_activation(layer) else EVERYTHING
    low, high = wanted = bounds(op)
    if clipped(known, wanted) != known:
        attrs = {"min": low, "max": high}
        kept = emit(graph, "clip", [kept], attrs, result=op.result.name, before=op)
    graph.replace_value(op.result, kept)


def work_of(v: Value) -> int:
    """Multiply-accumulates of all that a value depends on."""

    @cache
    def needed(v: Value) -> frozenset[Op]:
        if v.owner is None:
            return frozenset()
        return frozenset({v.owner}).union(*(needed(w) for w in v.owner.operands))

    return sum(opdef(op.name).macs(op) for op in needed(v))


@one_blas_thread()
def start_anew(graph: Graph, inputs: dict[str, Array], seed: int) -> None:
    """Random weights, in place: each layer's results have a deviation of 1 on the inputs."""
    random = np.random.default_rng(seed)
    samples = sample_count(inputs)

    def see(op: Op, x: Array) -> None:
        if not is_layer(op):
            return
        w = random.standard_normal(weights_of(op).shape)
        y = products(rows_of(op, x, pick(op, samples)), w)
        set_layer(graph, op, w / (y.std() + 1e-12), np.zeros(op.type.shape[-1]))

    walk(graph, inputs, see)

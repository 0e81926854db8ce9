"""
equalize: even out the ranges of channels between layers, for weights with one scale.

    %a = conv2d %x, %w1, %b1 {act=relu}
    %y = conv2d %a, %w2, %b2
 ->
    w1[i] / s[i], b1[i] / s[i], w2[.., i] * s[i]      s[i] = sqrt(r1[i] / r2[i])

where r1[i] and r2[i] are the greatest magnitudes of the weights that make and that read channel
i. Valid as relu(s * x) = s * relu(x) for s > 0, so not through relu6 or clip. Data-free.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
2019, section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import F32, Array
from tinycc_nn.ops import number, opdef, word
from tinycc_nn.pipeline import Context, Pass, option

LAYERS = ("conv2d", "dense")
HOMOGENEOUS = ("relu", "leaky_relu", "max_pool2d", "avg_pool2d", "reduce_mean", "reduce_max")
"""f(s * x) = s * f(x) for s > 0, channel by channel (the last axis)."""


@dataclass(frozen=True)
class Equalize(Pass):
    in_search: ClassVar[bool | None] = True

    rounds: int = option(10, "times that all pairs of layers are visited")

    def apply(self, graph: Graph, context: Context) -> None:
        pairs = [p for op in graph.ops if (p := pair(graph, op)) is not None]
        for _ in range(self.rounds):
            changes = [equalize(graph, first, second) for first, second in pairs]
            if not any(changes):
                break
        graph.sweep()


def pair(graph: Graph, first: Op) -> tuple[Op, Op] | None:
    """A layer and the layer that alone reads its result, with only homogeneous ops between."""
    if not is_layer(first) or word(first, "act") not in ("none", "relu"):
        return None
    v, channels = first.result, first.type.shape[-1]
    while (op := only_user(graph, v)) is not None and v is op.operands[0]:
        if is_layer(op):
            return (first, op)
        flattens = op.name == "reshape" and op.type.shape[-1] % channels == 0
        if not flattens and not keeps_channels(op, channels):
            return None
        v = op.result
    return None


def keeps_channels(op: Op, channels: int) -> bool:
    """Whether an op works on each channel, the last axis, for itself and scales with it."""
    return op.name in HOMOGENEOUS and op.type.rank > 0 and op.type.shape[-1] == channels


def is_layer(op: Op) -> bool:
    constants = [v.constant for v in op.operands[1:]]
    return op.name in LAYERS and op.type.dtype == F32 and all(c is not None for c in constants)


def only_user(graph: Graph, v: Value) -> Op | None:
    if len(v.users) != 1 or v in graph.outputs:
        return None
    return v.users[0]


def weights(op: Op) -> Array:
    w = op.operands[1].constant
    assert w is not None
    return w


def by_channel(op: Op, channels: int) -> Array:
    """The weights of the reading layer as [groups, out, positions, channels of a group].

    A dense layer that reads a flattened image has the channel as its fastest index.
    """
    w = weights(op)
    groups = int(number(op, "groups")) if opdef(op.name).attribute("groups") else 1
    return w.reshape(groups, w.shape[0] // groups, -1, channels // groups)


def equalize(graph: Graph, first: Op, second: Op) -> bool:
    """Rescale one pair; False if it was even already."""
    w1 = weights(first)
    w2 = by_channel(second, len(w1))
    made = np.abs(w1.reshape(len(w1), -1).astype(np.float64)).max(axis=1)
    read = np.abs(w2.astype(np.float64)).max(axis=(1, 2)).reshape(-1)
    alive = (made > 0) & (read > 0)
    s = np.sqrt(np.where(alive, made, 1) / np.where(alive, read, 1))
    if np.abs(s - 1).max() < 1e-4:
        return False
    set_constant(graph, first, 1, w1 / s.reshape(-1, *[1] * (w1.ndim - 1)))
    if len(first.operands) == 3:
        bias = first.operands[2].constant
        assert bias is not None
        set_constant(graph, first, 2, bias / s)
    scaled = w2 * s.reshape(w2.shape[0], 1, 1, -1)
    set_constant(graph, second, 1, scaled.reshape(weights(second).shape))
    return True


def set_constant(graph: Graph, op: Op, index: int, array: Array) -> None:
    name = op.operands[index].name
    graph.set_operand(op, index, graph.constant(name, array.astype(np.float32), before=op))

"""
fuse-activation: let the layer in front clip, in the loop that stores its result.

    %c = conv2d %x, %w, %b
    %y = relu %c                        ->   %y = conv2d %x, %w, %b {act=relu}

The layer may be further up, behind operators that only pick elements, like max_pool2d. On int8
the activation must keep the quantization of the layer. A clip to 0..6 becomes act=relu6.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018, section 2.4.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.ops.activation import bounds
from tinycc_nn.passes._clip import carries_activation, clip_range, clipped, set_activation
from tinycc_nn.pipeline import Context, Pass

PICKS = ("max_pool2d", "reduce_max", "reshape", "transpose", "slice", "take", "resize_nearest")
"""Operators whose results are among their operand's elements, chosen by order or by place."""


@dataclass(frozen=True)
class FuseActivation(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        for op in graph:
            wanted = clip_range(op)
            layer = _layer(graph, op) if wanted is not None else None
            if layer is None or wanted is None:
                continue
            both = clipped(bounds(layer), wanted)
            if both is None:
                continue
            set_activation(layer, both)
            graph.replace_value(op.result, op.operands[0])
            graph.erase(op)


def _layer(graph: Graph, op: Op) -> Op | None:
    """The layer whose result only `op` reads, perhaps through operators that pick elements."""
    v = op.operands[0]
    while v.owner is not None and len(v.uses) == 1 and v not in graph.outputs:
        if carries_activation(v.owner):
            return v.owner
        if v.owner.name not in PICKS:
            return None
        v = v.owner.operands[0]
    return None

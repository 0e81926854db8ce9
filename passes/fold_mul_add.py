"""
fold-mul-add: put a constant factor or summand per channel into the layer before or after it.

    %c = conv2d %x, %w
    %m = mul %c, %s                     ->   %y = conv2d %x, %w', %t
    %y = add %m, %t                          w' = w * s, per output channel

Also for sub and div, for conv2d_transpose and dense, and in front of dense layers and of
convolutions, where summands need a convolution without padding.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.passes._affine import Affine, arithmetic, into_layer_after, into_layer_before
from tinycc_nn.pipeline import Context, Pass


@dataclass(frozen=True)
class FoldMulAdd(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        # From the end as well: what stands in front of a layer may be a chain.
        for op in (*graph, *reversed(graph.ops)):
            if graph.is_used(op.result) and (a := arithmetic(op)) is not None:
                _fold(graph, op, a)
                graph.sweep()


def _fold(graph: Graph, op: Op, a: Affine) -> None:
    if (new := into_layer_before(graph, op, a)) is not None:
        graph.replace_value(op.result, new)
        return
    for layer in op.result.users:
        if (new := into_layer_after(graph, layer, op, a)) is not None:
            graph.replace_value(layer.result, new)
            return

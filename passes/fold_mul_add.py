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

from tinycc_nn.ir.graph import Graph
from tinycc_nn.passes._affine import arithmetic, into_neighbour
from tinycc_nn.pipeline import Context, Pass


@dataclass(frozen=True)
class FoldMulAdd(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        # From the end as well: what stands in front of a layer may be a chain.
        for op in (*graph, *reversed(graph.ops)):
            if graph.is_used(op.result) and (a := arithmetic(op)) is not None:
                into_neighbour(graph, op, a)
                graph.sweep()

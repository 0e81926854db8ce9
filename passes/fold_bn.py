"""
fold-bn: put batch normalizations into the layers around them.

    %c = conv2d %x, %w, %b
    %y = batch_norm %c, %gamma, %beta, %mean, %var
 ->
    %y = conv2d %x, %w', %b'      w' = w * s,  b' = b * s + beta - mean * s,
                                  s = gamma / sqrt(var + epsilon), per output channel

The same for conv2d_transpose and dense; for a batch_norm in front of a dense layer or of a
convolution without padding, per input channel. Any other one becomes a depthwise convolution of
1x1, or mul and add where the tensor is no image.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.ops import emit
from tinycc_nn.passes._affine import Affine, batch_norm, into_neighbour
from tinycc_nn.pipeline import Context, Pass


@dataclass(frozen=True)
class FoldBn(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        for op in graph:
            if (a := batch_norm(op)) is not None and not into_neighbour(graph, op, a):
                graph.replace_value(op.result, _alone(graph, op, a))
        graph.sweep()


def _alone(graph: Graph, op: Op, a: Affine) -> Value:
    name, channels = op.result.name, a.scale.size

    def constant(part: str, array: Array, *shape: int) -> Value:
        data = array.astype(np.float32).reshape(shape)
        return graph.constant(f"{name}.{part}", data, before=op)

    if a.x.type.rank == 4:
        w = constant("scale", a.scale, channels, 1, 1, 1)
        b = constant("offset", a.offset, channels)
        attrs = {"groups": channels}
        return emit(graph, "conv2d", [a.x, w, b], attrs, result=name, before=op, loc=op.loc)
    shape = (*[1] * (a.x.type.rank - 1), channels)
    s, o = constant("scale", a.scale, *shape), constant("offset", a.offset, *shape)
    y = emit(graph, "mul", [a.x, s], result=f"{name}.scaled", before=op, loc=op.loc)
    return emit(graph, "add", [y, o], result=name, before=op, loc=op.loc)

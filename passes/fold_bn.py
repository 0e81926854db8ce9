"""
fold-bn: put a batch normalization into the convolution or dense layer before it.

    %c = conv2d %x, %w, %b
    %y = batch_norm %c, %gamma, %beta, %mean, %var
 ->
    %y = conv2d %x, %w', %b'      w' = w * s,  b' = (b - mean) * s + beta,
                                  s = gamma / sqrt(var + epsilon), per output channel

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ops import number
from tinycc_nn.pipeline import Context, Pass
from tinycc_nn.rewrite import Match, rewrite, rule


def fold(m: Match) -> Value | None:
    layer, norm = m.op("%c"), m.op("%y")
    w = m["%w"].constant
    b = layer.operands[2].constant if len(layer.operands) == 3 else np.float32(0)
    gamma, beta, mean, var = (v.constant for v in norm.operands[1:])
    if w is None or b is None or gamma is None or beta is None or mean is None or var is None:
        return None
    if "act" in layer.attrs:
        return None
    s = gamma.astype(np.float64) / np.sqrt(var.astype(np.float64) + number(norm, "epsilon"))
    weight = (w * s.reshape(-1, *[1] * (w.ndim - 1))).astype(np.float32)
    bias = ((b - mean) * s + beta).astype(np.float32)
    operands = (m["%x"], m.constant(weight, m["%w"]), m.constant(bias, m["%c"]))
    return m.emit(layer.name, *operands, attrs=layer.attrs)


PARAMETERS = "%y = batch_norm %c, %gamma, %beta, %mean, %var"
RULES = tuple(
    rule(f"%c = {layer}\n{PARAMETERS}")(fold)
    for layer in ("conv2d %x, %w, %b", "conv2d %x, %w", "dense %x, %w, %b", "dense %x, %w")
)


@dataclass(frozen=True)
class FoldBn(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        rewrite(graph, *RULES)

"""
fuse-qdq: networks that are quantized by QuantizeLinear and DequantizeLinear, on integers.

Int8 weights and int32 biases stay as they are stored; a bias whose scale is not that of the
products is expressed at that scale. Operators without an integer meaning stay float.

Source: ONNX operators QuantizeLinear and DequantizeLinear, opset 13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tinycc_nn.ir.graph import Graph
from tinycc_nn.pipeline import Context, Pass
from tinycc_nn.quantization.qdq import fuse


@dataclass(frozen=True)
class FuseQdq(Pass):
    keeps_values: ClassVar[bool] = False
    in_search: ClassVar[bool | None] = False

    def apply(self, graph: Graph, context: Context) -> None:
        fuse(graph)

"""
quantize-interface: int8 inputs and outputs instead of float ones that are quantized first thing.

    graph (%x: f32[..]) { %q = quantize %x; ...; %y = dequantize %r; return %y }
 -> graph (%x: i8[..] q(..)) { ...; return %r }

An input or output that is used otherwise as well stays float.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import I8
from tinycc_nn.pipeline import Context, Pass, option


@dataclass(frozen=True)
class QuantizeInterface(Pass):
    keeps_values: ClassVar[bool] = False
    in_search: ClassVar[bool | None] = False
    inputs: bool = option(True, "make inputs int8")
    outputs: bool = option(True, "make outputs int8")

    def apply(self, graph: Graph, context: Context) -> None:
        if self.inputs:
            for v in graph.inputs:
                quantize_input(graph, v)
        if self.outputs:
            graph.outputs[:] = [stored(v) for v in graph.outputs]
        graph.sweep()


def quantize_input(graph: Graph, v: Value) -> None:
    """Let `v` have the type of its quantization, if each user makes the same one of it."""
    users = v.users
    types = {op.type for op in users}
    if v in graph.outputs or len(types) != 1 or any(op.name != "quantize" for op in users):
        return
    v.type = types.pop()
    for op in users:
        graph.replace_value(op.result, v)
        graph.erase(op)


def stored(v: Value) -> Value:
    """What an output is the dequantization of, or itself."""
    if v.owner is None or v.owner.name != "dequantize":
        return v
    source = v.owner.operands[0]
    return source if source.type.dtype == I8 else v

"""
dead-code: remove ops whose results nothing uses.

    %a = relu %x
    %b = sigmoid %x
    return %b
 ->
    %b = sigmoid %x
    return %b

Source: Aho, Lam, Sethi, Ullman, "Compilers", section 9.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinycc_nn.ir.graph import Graph
from tinycc_nn.pipeline import Context, Pass


@dataclass(frozen=True)
class DeadCode(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        graph.sweep()

"""Scales of int8 activations: one for all values that must share it, fixed or learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import I8, Quant
from tinycc_nn.ops import is_storage, opdef
from tinycc_nn.training.tensors import Tensor


@dataclass(eq=False)
class Scale:
    """scale = start * exp(log), float64[] each; `log` is None where the scale stays."""

    start: Tensor
    log: Tensor | None

    def now(self) -> Tensor:
        """float64[], positive; a number of float32 if it is learned."""
        if self.log is None:
            return self.start
        return (self.start * torch.exp(self.log)).float().double()


class Scales:
    """The scales of all int8 values of a graph."""

    def __init__(self, graph: Graph, *, learn: bool, device: str) -> None:
        self._graph = graph
        self._of: dict[Value, Scale] = {}
        self._now: dict[Scale, Tensor] = {}
        fixed = _fixed(graph)
        for group in _groups(graph):
            first = group[0].type.quant
            assert first is not None and isinstance(first.scale, float)
            start = torch.tensor(first.scale, dtype=torch.float64, device=device)
            free = learn and not any(v in fixed for v in group)
            log = None
            if free:
                log = torch.zeros((), dtype=torch.float64, device=device, requires_grad=True)
            scale = Scale(start, log)
            self._of.update(dict.fromkeys(group, scale))

    def parameters(self) -> Iterator[Tensor]:
        """What is learned."""
        for scale in dict.fromkeys(self._of.values()):
            if scale.log is not None:
                yield scale.log

    def refresh(self) -> None:
        """Compute the scales anew, before a forward pass."""
        self._now = {scale: scale.now() for scale in dict.fromkeys(self._of.values())}

    def of(self, v: Value) -> Tensor:
        """float64[]: the scale of an int8 value in this forward pass."""
        return self._now[self._of[v]]

    def write(self) -> None:
        """Give the values of the graph the scales that were learned."""
        for v, scale in self._of.items():
            if scale.log is not None and v.type.quant is not None:
                new = float(np.float32(scale.now().item()))
                v.type = replace(v.type, quant=Quant(new, v.type.quant.zero))


def _fixed(graph: Graph) -> set[Value]:
    """Values whose scale is not to change: the interface, constants, and what an operator says."""
    found = {*graph.inputs, *graph.outputs}
    for op in graph.ops:
        if op.name == "const" or opdef(op.name).output is not None:
            found.add(op.result)
    return found


def _groups(graph: Graph) -> list[list[Value]]:
    """int8 activations with one scale, together where operators only move them."""
    values = [*graph.inputs, *(op.result for op in graph.ops)]
    groups = {v: [v] for v in values if v.type.dtype == I8 and _is_activation(v)}
    for op in graph.ops:
        if op.result not in groups or not is_storage(op):
            continue
        for v in op.operands:
            ours, theirs = groups[op.result], groups.get(v)
            if theirs is None or theirs is ours:
                continue
            ours += theirs
            groups.update(dict.fromkeys(theirs, ours))
    return list({id(g): g for g in groups.values()}.values())


def _is_activation(v: Value) -> bool:
    if v.type.quant is None or not isinstance(v.type.quant.scale, float):
        return False
    if v.constant is None:
        return True
    return any(opdef(op.name).role(i) == "x" for op, i in v.uses)

"""Run a graph in numpy: the meaning that every pass, kernel and backend is held to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.ops import opdef

BATCH = 128
"""Samples that `visit` computes at once: statistics are sums over such batches."""

RUN_BATCH = 32
"""Samples that `run` computes at once: enough to fill BLAS, few enough for caches."""


def evaluate(graph: Graph, inputs: Mapping[str, Array]) -> Iterator[tuple[Op, Array]]:
    """Every op with its result, in order, for inputs [samples, *shape] as stored.

    A result has the shape [samples, *type.shape], with one sample where it is constant. Arrays
    are dropped after their last use, so memory stays bounded by what is live.
    """
    env: dict[Value, Array] = {v: inputs[v.name] for v in graph.inputs}
    last = {v: i for i, op in enumerate(graph.ops) for v in op.operands}
    for i, op in enumerate(graph.ops):
        with np.errstate(all="ignore"):  # infinities are results like others
            result = opdef(op.name).run(op, *(env[v] for v in op.operands))
        env[op.result] = result
        for v in dict.fromkeys(op.operands):
            if last[v] == i and v not in graph.outputs:
                del env[v]
        yield op, result


def run(graph: Graph, inputs: Mapping[str, Array]) -> list[Array]:
    """The outputs [samples, *shape], as stored, for inputs [samples, *shape], as stored."""
    samples = check_inputs(graph, inputs)
    parts = [
        _outputs(graph, {k: v[i : i + RUN_BATCH] for k, v in inputs.items()})
        for i in range(0, samples, RUN_BATCH)
    ]
    return [np.concatenate(p) for p in zip(*parts, strict=True)]


def _outputs(graph: Graph, inputs: Mapping[str, Array]) -> list[Array]:
    found: dict[Value, Array] = {v: inputs[v.name] for v in graph.inputs}
    samples = len(next(iter(inputs.values())))
    for op, result in evaluate(graph, inputs):
        if op.result in graph.outputs:
            found[op.result] = result
    return [np.broadcast_to(found[v], (samples, *v.type.shape)) for v in graph.outputs]


def visit(graph: Graph, inputs: Mapping[str, Array], see: Callable[[Value, Array], None]) -> None:
    """Call `see` for every input and every result, batch by batch."""
    samples = check_inputs(graph, inputs)
    for i in range(0, samples, BATCH):
        part = {k: v[i : i + BATCH] for k, v in inputs.items()}
        for v in graph.inputs:
            see(v, part[v.name])
        for op, result in evaluate(graph, part):
            see(op.result, result)


def check_inputs(graph: Graph, inputs: Mapping[str, Array]) -> int:
    """The number of samples; TinyccError for a missing input, a wrong shape or dtype."""
    counts = set()
    for v in graph.inputs:
        if v.name not in inputs:
            raise TinyccError(f"no data for the input {v}", hint=f"given: {', '.join(inputs)}")
        a = inputs[v.name]
        if a.shape[1:] != v.type.shape or a.dtype != v.type.dtype.numpy:
            raise TinyccError(
                f"the data for {v} is {a.dtype}{list(a.shape)}",
                hint=f"it must be {v.type.dtype.numpy}[samples, {', '.join(map(str, v.type.shape))}]",
            )
        counts.add(len(a))
    if len(counts) != 1 or 0 in counts:
        raise TinyccError("the inputs must have the same number of samples, at least one")
    return counts.pop()

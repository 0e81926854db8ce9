"""What weights were before they were rounded: the place to start from, and the zeros that stay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import F32, Array
from tinycc_nn.pruning.layers import real
from tinycc_nn.quantization.recode import PRUNED


def before_rounding(v: Value, stages: Sequence[Graph]) -> tuple[Array, Array]:
    """Real weights, float32, and bool where they are exactly zero for good.

    v: a constant of int8 or codes. Its predecessor is the constant of that name and shape that was
    there until it got its present contents, if it is finer; otherwise v itself. In a predecessor
    that is float every zero counts; among integers zeros come by rounding too, so there they count
    where at least a tenth of the weights are zero, and not in codes of less than 8 bits.
    """
    now = v.constant
    assert now is not None
    source = v
    for graph in reversed(stages):
        then = _constant(graph, v.name)
        if then is None or then.constant is None:
            break
        if then.type == v.type and np.array_equal(then.constant, now):
            continue
        if then.type.shape == v.type.shape and _resolution(then) > _resolution(v):
            source = then
        break
    stored = source.constant
    assert stored is not None
    w = real(source, stored).astype(np.float32)
    zeros = w == 0
    if source.type.dtype != F32 and (_resolution(source) < 8 or zeros.mean() < PRUNED):
        zeros = np.zeros_like(zeros)
    return w, zeros


def _resolution(v: Value) -> int:
    """Bits: 32 for a float."""
    return v.type.dtype.bits


def _constant(graph: Graph, name: str) -> Value | None:
    found = (op.result for op in graph.ops if op.name == "const" and op.result.name == name)
    return next(found, None)

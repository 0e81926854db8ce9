"""ONNX readers of arithmetic with broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from tinycc_nn.ir.graph import Value
from tinycc_nn.reader import Node, Reader


def with_rank(n: Node, v: Value, rank: int) -> Value:
    """The value with axes of size 1 in front, so that it has `rank` axes."""
    if v.type.rank >= rank:
        return v
    shape = (*[1] * (rank - v.type.rank), *v.type.shape)
    if v.constant is not None and v.type.quant is None:
        return n.add_constant(v.constant.reshape(shape))
    return n.emit("reshape", [v], {"shape": shape})


def combine(n: Node, op: str, a: Value, b: Value) -> Value:
    """`op` of two values whose ranks may differ."""
    rank = max(a.type.rank, b.type.rank)
    return n.emit(op, [with_rank(n, a, rank), with_rank(n, b, rank)])


def _fold(op: str) -> Callable[[Node], Value]:
    """A reader that combines all inputs, from the left."""

    def read(n: Node) -> Value:
        return reduce(lambda a, b: combine(n, op, a, b), [n.value(i) for i in range(n.arity)])

    return read


def _mean(n: Node) -> Value:
    total = _fold("add")(n)
    factor = n.add_constant(np.array(1 / n.arity, np.float32))
    return combine(n, "mul", total, factor)


def _div(n: Node) -> Value:
    a, b = n.value(0), n.value(1)
    divisor = b.constant
    if divisor is None or b.type.quant is not None or not np.all(np.abs(divisor) > 1e-30):
        return combine(n, "div", a, b)
    return combine(n, "mul", a, n.add_constant(np.float32(1) / divisor))


def _prelu(n: Node) -> Value:
    return combine(n, "prelu", n.value(0), n.value(1))


READERS = (
    Reader(("Add",), _fold("add")),
    Reader(("Sub",), _fold("sub")),
    Reader(("Mul",), _fold("mul")),
    Reader(("Div",), _div),
    Reader(("Min",), _fold("minimum")),
    Reader(("Max",), _fold("maximum")),
    Reader(("Sum",), _fold("add")),
    Reader(("Mean",), _mean),
    Reader(("PRelu",), _prelu),
)

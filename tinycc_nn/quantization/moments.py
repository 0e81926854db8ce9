"""What the inputs of a layer are like: means and covariances over samples and positions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.ops import number
from tinycc_nn.ops.conv import windows
from tinycc_nn.reference import visit


@dataclass(frozen=True)
class Moments:
    """
    Of the receptive fields of an int8 layer, in real units: K elements in the order of a row of the
    weights, of each group of channels.

    mean:       float64[groups, K].
    covariance: float64[groups, K, K].
    """

    mean: Array
    covariance: Array

    def noise(self, error: Array) -> Array:
        """float64[out]: variance of what float64[out, K] weights make of the input."""
        rows = error.reshape(len(self.covariance), -1, error.shape[-1])
        return np.asarray(np.einsum("grk,grk->gr", rows @ self.covariance, rows).ravel())

    def response(self, error: Array) -> Array:
        """float64[out]: the mean of the same."""
        rows = error.reshape(len(self.mean), -1, error.shape[-1])
        return np.asarray(np.einsum("grk,gk->gr", rows, self.mean).ravel())


def input_moments(
    graph: Graph, inputs: Mapping[str, Array], ops: Collection[Op]
) -> dict[Op, Moments]:
    """The moments of int8 conv2d and dense layers on stored inputs [samples, *shape] by name."""
    readers: dict[Value, list[Op]] = {}
    for op in ops:
        readers.setdefault(op.operands[0], []).append(op)
    sums: dict[Op, tuple[int, Array, Array]] = {}

    def see(v: Value, a: Array) -> None:
        for op in readers.get(v, ()):
            fields = _fields(op, a)
            first = fields.sum(axis=1, dtype=np.float64)
            second = (fields.transpose(0, 2, 1) @ fields).astype(np.float64)
            n, s1, s2 = sums.get(op, (0, np.zeros_like(first), np.zeros_like(second)))
            sums[op] = n + fields.shape[1], s1 + first, s2 + second

    visit(graph, inputs, see)
    return {op: _moments(op, *found) for op, found in sums.items()}


def _moments(op: Op, n: int, first: Array, second: Array) -> Moments:
    scale = float(op.operands[0].type.steps()[0])
    mean = first / n
    covariance = second / n - mean[:, :, None] * mean[:, None, :]
    return Moments(scale * mean, scale**2 * covariance)


def _fields(op: Op, x: Array) -> Array:
    """float32[groups, rows, K]: stored inputs less the zero point, by output position."""
    quant, w = op.operands[0].type.quant, op.operands[1].type
    assert quant is not None
    x = x.astype(np.float32) - np.float32(quant.zero)
    if op.name == "dense":
        return x.reshape(1, -1, x.shape[-1])
    groups = int(number(op, "groups"))
    view = windows(op, x.reshape(-1, *x.shape[2:]), (w.shape[1], w.shape[2]), 0)
    rows, taps = int(np.prod(view.shape[:3])), w.shape[1] * w.shape[2]
    split = view.reshape(rows, taps, groups, -1).transpose(2, 0, 1, 3)
    return np.ascontiguousarray(split).reshape(groups, rows, -1)

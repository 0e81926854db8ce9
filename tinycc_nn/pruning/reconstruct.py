"""
Let the layers that are left do what the layers of the original network did, without training.

Layer after layer, in order, the weights are fitted from what the layer reads in the changed
network to what it computed in the original one, so that errors of earlier layers are corrected
as well. A layer whose sums did not change is left as it is, to the bit.

Source: He, Zhang, Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.ops.activation import bounds
from tinycc_nn.pruning.layers import bias_of, set_bias, set_layer, weights_of
from tinycc_nn.pruning.least_squares import fit_centred, unexplained
from tinycc_nn.pruning.samples import (
    ROWS,
    SPARSE_ROWS,
    centred,
    compute,
    contiguous,
    enough_rows,
    pick,
    rows_of,
    sample_count,
)

EXACT = 1e-9
"""Sums that differ by less than this, relative to the largest one, are equal."""

_FEW = 64
"""Positions by which most layers whose sums have changed are told."""


@dataclass(frozen=True)
class Target:
    """What a layer computed at some positions, before its activation.

    which: int[m], as of `samples.pick`. y: float64[m, out]. energy: float64[groups, k], the mean
    square of each input of its weights; curvature: the mean square that is left of it if the
    other inputs make up for what they can.
    """

    which: Array
    y: Array
    energy: Array
    curvature: Array

    def of(self, channels: Array | None) -> Target:
        """The target of a layer that has only some of the output channels."""
        return self if channels is None else replace(self, y=self.y[:, channels])


def targets(
    graph: Graph,
    layers: Iterable[Op],
    inputs: Mapping[str, Array],
    *,
    curvature: bool = False,
    sparse: Collection[Op] = (),
) -> dict[Op, Target]:
    """What `layers` compute on inputs as stored, [samples, *shape] by name.

    curvature: whether the targets hold it; it takes time cubic in the inputs of a weight matrix.
    sparse: the layers whose outputs are to keep inputs of their own: it takes more positions.
    """
    wanted, several, found = set(layers), set(sparse), dict[Op, Target]()
    samples = sample_count(inputs)

    def see(op: Op, x: Array) -> None:
        if op not in wanted:
            return
        rest = ROWS if several else enough_rows(op)  # others make up for what sparse ones lose
        which = pick(op, samples, SPARSE_ROWS if op in several else rest)
        rows = rows_of(op, x, which)
        y = products(rows, weights_of(op)) + bias_of(op)
        left = np.zeros((0, 0))
        if curvature:
            left = np.stack([unexplained(r) for r in contiguous(rows)])
        found[op] = Target(which, y, np.square(rows).mean(axis=1), left)

    walk(graph, inputs, see)
    return found


def walk(graph: Graph, inputs: Mapping[str, Array], see: Callable[[Op, Array], None]) -> None:
    """Run a graph op by op on all samples; `see` gets each layer with its first operand, before
    it is computed, and may change its weights."""
    samples = sample_count(inputs)
    env: dict[Value, Array] = {v: inputs[v.name] for v in graph.inputs}
    ops = [op for op in graph.ops if op.name != "const"]
    last = {v: op for op in ops for v in op.operands}
    for op in ops:
        x = env.get(op.operands[0]) if op.operands else None
        if x is not None and len(x) == samples:
            see(op, x)
        env[op.result] = compute(op, env, samples)
        for v in dict.fromkeys(op.operands):
            if last.get(v) is op:
                env.pop(v, None)


def products(rows: Array, w: Array) -> Array:
    """float64[m, out]: the sums of a layer without its bias, for `rows_of` and `weights_of`."""
    if len(w) == 1 or w.shape[1] > 1:
        return np.concatenate([r @ g.T for r, g in zip(rows, w, strict=True)], axis=-1)
    by_input = rows.transpose(2, 1, 0)  # depthwise: as it lies in memory
    total = by_input[0] * w[:, 0, 0]
    for x, each in zip(by_input[1:], w[:, 0].T[1:], strict=True):
        total += x * each
    return np.asarray(total)


def reconstruct(
    graph: Graph,
    wanted: Mapping[Op, Target],
    inputs: Mapping[str, Array],
    keep: Mapping[Op, Array] | None = None,
) -> None:
    """Fit the layers of `wanted` to their targets, in place.

    inputs: as those of the targets. keep: bool[groups, out / groups, k] for layers some of whose
    weights stay 0.
    """

    def see(op: Op, x: Array) -> None:
        if op in wanted:
            mask = keep.get(op) if keep is not None else None
            refit(graph, op, rows_of(op, x, wanted[op].which), wanted[op].y, mask)

    walk(graph, inputs, see)


def refit(graph: Graph, op: Op, rows: Array, y: Array, keep: Array | None) -> None:
    """Fit one layer, unless a bias makes its sums equal to the target [m, out]."""
    w, bias = weights_of(op), bias_of(op)
    allowed = EXACT * np.abs(y).max()
    few = y[:_FEW] - products(rows[:, :_FEW], w)
    if np.ptp(few, axis=0).max() <= 4 * allowed:  # else it shows without all the others
        missing = y - products(rows, w) - bias
        constant = missing.mean(axis=0)
        if np.abs(missing - constant).max() <= allowed:
            if np.abs(constant).max() > allowed:
                set_bias(graph, op, bias + constant)
            return
    new, each = np.empty_like(w), w.shape[1]
    for g, (x, mean) in enumerate(zip(*centred(rows), strict=True)):
        mine = slice(g * each, (g + 1) * each)
        mask = None if keep is None else keep[g]
        new[g], bias[mine] = fit_centred(x, mean, y[:, mine], w[g], mask, bounds(op))
    set_layer(graph, op, new, bias)

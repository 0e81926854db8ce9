"""
Which weights go, singly, in blocks or n of m, by how much the layer's output would change.

Sources: Han et al., "Learning both Weights and Connections for Efficient Neural Networks", 2015
(magnitude); Sun et al., "A Simple and Effective Pruning Approach for Large Language Models", 2024
(weight times input norm); Hassibi, Stork, "Second Order Derivatives for Network Pruning: Optimal
Brain Surgeon", 1993 (with the best update of all other weights); Mishra et al., "Accelerating
Sparse Deep Neural Networks", 2021 (n of m).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import Array
from tinycc_nn.pruning.layers import group_count, weights_of
from tinycc_nn.pruning.reconstruct import Target
from tinycc_nn.pruning.selection import layer_adaptive

Criterion = Literal["magnitude", "activation", "obs"]
Scope = Literal["layer", "global"]


def saliency(op: Op, criterion: Criterion, target: Target | None) -> Array:
    """float64[groups, out / groups, k]: the squared error that the loss of each weight makes.

    target: of the layer, for the criteria that look at its inputs.
    """
    square = np.square(weights_of(op))
    if criterion == "magnitude":
        return square
    assert target is not None
    factor = target.energy if criterion == "activation" else target.curvature
    return np.asarray(square * factor[:, None])


def least(scores: Mapping[Op, Array], ratio: float, scope: Scope) -> dict[Op, Array]:
    """bool[...] for each layer, true where a score is among the least `ratio` (0..1).

    Of each layer, or of all; then a score counts as its share in what the layer would still have.
    """
    if scope == "layer" or not scores:
        return {op: _lowest(s.reshape(-1), ratio).reshape(s.shape) for op, s in scores.items()}
    flat = [layer_adaptive(s.reshape(-1)) for s in scores.values()]
    chosen = np.split(_lowest(np.concatenate(flat), ratio), np.cumsum([len(f) for f in flat])[:-1])
    return {op: c.reshape(scores[op].shape) for op, c in zip(scores, chosen, strict=True)}


def _lowest(scores: Array, ratio: float) -> Array:
    chosen = np.zeros(len(scores), np.bool_)
    chosen[np.argsort(scores, kind="stable")[: int(ratio * len(scores) + 1e-9)]] = True
    return chosen


def by_input(op: Op, a: Array) -> Array:
    """[groups, out / groups, k] as [out, positions, inputs of a group], positions of the kernel."""
    groups, out, k = a.shape
    inputs = op.operands[1].type.shape[-1]
    assert groups == group_count(op)
    return a.reshape(groups * out, k // inputs, inputs)


def block_means(a: Array, block: tuple[int, int]) -> Array:
    """The mean of each block of `block` = [inputs, outputs] of [out, positions, inputs].

    Blocks at the ends are smaller where the sizes aren't multiples.
    """
    inputs, outputs = block
    ones = np.ones_like(a)
    sums = [
        np.add.reduceat(
            np.add.reduceat(x, range(0, a.shape[0], outputs), axis=0),
            range(0, a.shape[2], inputs), axis=2,
        ) for x in (a, ones)
    ]  # fmt: skip
    return np.asarray(sums[0] / sums[1])


def spread(blocks: Array, block: tuple[int, int], shape: tuple[int, ...]) -> Array:
    """What holds for blocks, for each weight of [out, positions, inputs]."""
    inputs, outputs = block
    full = np.repeat(np.repeat(blocks, outputs, axis=0), inputs, axis=2)
    return full[: shape[0], :, : shape[2]]


def n_of_m(scores: Array, n: int, m: int) -> Array:
    """bool[out, positions, inputs], true for all but the greatest n of m inputs in a row."""
    out, positions, inputs = scores.shape
    rows = scores.reshape(out, positions, inputs // m, m)
    rank = np.argsort(np.argsort(rows, axis=-1, kind="stable"), axis=-1, kind="stable")
    return np.asarray((rank < m - n).reshape(scores.shape))

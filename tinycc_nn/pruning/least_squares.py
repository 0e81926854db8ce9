"""
Weights that reproduce given outputs from given inputs, some weights being 0: ridge regression.

The ridge pulls towards the weights that are there, not towards zero. Where an activation clips
the output, only what it lets through counts: outside its range a target is any value that clips
to the same bound, and the regression is repeated with the value that came out.

Sources: Hassibi, Stork, "Second Order Derivatives for Network Pruning: Optimal Brain Surgeon",
1993 (the best update of all other weights is a least-squares problem); He, Zhang, Sun, "Channel
Pruning for Accelerating Very Deep Neural Networks", 2017, section 3; Zhang et al., "Accelerating
Very Deep Convolutional Networks for Classification and Detection", 2015, section 3.2 (ReLU).
"""

from __future__ import annotations

from math import inf

import numpy as np

from tinycc_nn.ir.types import Array

RIDGE = 1e-3
"""Weight of the pull, relative to the mean variance of the inputs."""
ROUNDS = 8
"""Regressions where an activation clips."""


def fit(
    x: Array, y: Array, w: Array, keep: Array | None = None, clip: tuple[float, float] = (-inf, inf)
) -> tuple[Array, Array]:
    """float64 weights [out, k] and bias [out] with clip(x @ weights.T + bias) near clip(y).

    x: float64[m, k]. y: float64[m, out]. w: the weights that are there, float64[out, k]. keep:
    bool[out, k], false for weights that are 0; None for none.
    """
    mean = x.mean(axis=0)
    centred = x - mean
    gram, ridge = moments(centred)
    supports = _supports(w, keep)
    target, found, offset = y, w, y.mean(axis=0)
    for _ in range(1 if clip == (-inf, inf) else ROUNDS):
        offset = target.mean(axis=0)
        cross = centred.T @ (target - offset) + ridge * w.T
        found = np.zeros_like(w)
        for rows, some in supports:
            solved = np.linalg.solve(gram[np.ix_(some, some)], cross[np.ix_(some, rows)])
            found[np.ix_(rows, some)] = solved.T
        target = _aim(y, centred @ found.T + offset, clip)
    return found, offset - found @ mean


def moments(centred: Array) -> tuple[Array, float]:
    """float64[k, k] second moments, with the ridge on the diagonal, and the ridge."""
    gram = centred.T @ centred
    ridge = RIDGE * float(np.trace(gram)) / len(gram) or 1.0
    gram[np.diag_indices_from(gram)] += ridge
    return gram, ridge


def unexplained(x: Array) -> Array:
    """float64[k]: the mean square of each column of float64[m, k] that no combination of the other
    columns and a constant explains."""
    gram, _ = moments(x - x.mean(axis=0))
    return np.asarray(1 / np.diag(np.linalg.inv(gram)) / len(x))


def _supports(w: Array, keep: Array | None) -> list[tuple[Array, Array]]:
    """Rows that keep the same columns, with these columns."""
    if keep is None:
        return [(np.arange(len(w)), np.arange(w.shape[1]))]
    masks, inverse = np.unique(keep, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    return [(np.flatnonzero(inverse == i), np.flatnonzero(m)) for i, m in enumerate(masks)]


def _aim(y: Array, now: Array, clip: tuple[float, float]) -> Array:
    """Where `y` is clipped, the nearest value to `now` that is clipped to the same."""
    low, high = clip
    aim = np.where(y <= low, np.minimum(now, low), y)
    return np.asarray(np.where(y >= high, np.maximum(now, high), aim))

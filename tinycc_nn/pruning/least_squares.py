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

from collections.abc import Callable
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
    return fit_centred((x - mean).astype(np.float32), mean, y, w, keep, clip)


def fit_centred(
    centred: Array,
    mean: Array,
    y: Array,
    w: Array,
    keep: Array | None,
    clip: tuple[float, float],
) -> tuple[Array, Array]:
    """As `fit`, for inputs without their mean float64[k], as float32[m, k]: sums over positions are
    far more exact in it than a sample of positions is."""
    gram, ridge = moments(centred)
    solve = _solver(gram, w, keep)
    y = y.astype(np.float32, order="C")
    low, high = _aims(y, clip)
    target, found, offset, now = y, w, y.mean(axis=0), np.empty((len(y), len(w)), np.float32)
    for i in range(1 if clip == (-inf, inf) else ROUNDS):
        if i:
            target = np.matmul(centred, found.T.astype(np.float32), out=now)
            target += offset
            np.minimum(np.maximum(target, low, out=target), high, out=target)
        offset = target.mean(axis=0)
        missing = np.subtract(target, offset, out=now)
        found = solve((centred.T @ missing).astype(np.float64) + ridge * w.T)
    return found, offset - found @ mean


def moments(centred: Array) -> tuple[Array, float]:
    """float64[k, k] second moments of float[m, k], with the ridge on the diagonal, and the ridge."""
    gram = (centred.T @ centred).astype(np.float64)
    ridge = RIDGE * float(np.trace(gram)) / len(gram) or 1.0
    gram[np.diag_indices_from(gram)] += ridge
    return gram, ridge


def unexplained(x: Array) -> Array:
    """float64[k]: the mean square of each column of float64[m, k] that no combination of the other
    columns and a constant explains."""
    gram, _ = moments(x - x.mean(axis=0))
    return np.asarray(1 / np.diag(np.linalg.inv(gram)) / len(x))


def _solver(gram: Array, w: Array, keep: Array | None) -> Callable[[Array], Array]:
    """From float64[k, out], the inputs times the targets, to weights [out, k] that are 0 where
    `keep` is false."""
    if keep is None:
        whole = np.linalg.inv(gram)
        return lambda cross: np.ascontiguousarray((whole @ cross).T)
    masks, inverse = np.unique(keep, axis=0, return_inverse=True)
    parts = []
    for i, mask in enumerate(masks):  # the outputs that keep the same inputs
        rows, some = np.flatnonzero(inverse.reshape(-1) == i), np.flatnonzero(mask)
        mine = np.linalg.inv(gram[np.ix_(some, some)])
        parts.append((mine, np.ix_(some, rows), np.ix_(rows, some)))

    def solve(cross: Array) -> Array:
        found = np.zeros_like(w)
        for mine, read, written in parts:
            found[written] = (mine @ cross[read]).T
        return found

    return solve


def _aims(y: Array, clip: tuple[float, float]) -> tuple[Array, Array]:
    """The smallest and the largest values that are clipped to what `y` is clipped to."""
    low, high = clip
    smallest, largest = np.minimum(y, high), np.maximum(y, low)
    smallest[y <= low] = -inf
    largest[y >= high] = inf
    return smallest, largest

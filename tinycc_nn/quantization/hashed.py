"""
Weights that share values by a hash of their position: the values of the buckets by least squares.

A weight of channel o is scale[o] * value[bucket]. Its error counts by the importance of the weight,
or by what it adds to the variance of the layer's output (e' C e, by conjugate gradients).

Sources: Chen et al., "Compressing Neural Networks with the Hashing Trick", 2015; Hestenes and
Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", 1952.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinycc_nn.ir.types import Array
from tinycc_nn.numeric.codes import buckets

LARGEST_ENTRY = 2047
"""As fine as the entries of a shared code book, with room for sums of 4096 products."""

ITERATIONS = 60
DAMPING = 0.01
"""Of the mean variance, added to every variance."""


@dataclass(frozen=True)
class Buckets:
    """
    codes:   uint8 or uint16 [out, K], the hash of the positions.
    entries: int16[count].
    scale:   float64[out] or [1]: real = scale * entry.
    """

    codes: Array
    entries: Array
    scale: Array


def fit_buckets(
    w: Array,
    count: int,
    weight: Array,
    covariance: Array | None,
    per_channel: bool,
    least: Array,
) -> Buckets:
    """Values of `count` (a power of two) buckets for float64[out, K] weights.

    weight: float64[1, K] or [out, K], importance of squared errors; covariance: float64[groups, K, K]
    of the layer's input, which counts instead where it is given; least: float64[out], the smallest
    scale of each channel.
    """
    codes = buckets(w.size, (count - 1).bit_length()).reshape(w.shape)
    size = np.abs(w).max(axis=1)
    size = np.where(size > 0, size, size.max() or 1.0)
    if not per_channel:
        size[:] = size.max()

    def gather(values: Array) -> Array:
        return np.asarray(size[:, None] * values[codes])

    def scatter(error: Array) -> Array:
        flat = (size[:, None] * error).ravel()
        return np.bincount(codes.ravel(), weights=flat, minlength=count)

    def weighted(x: Array) -> Array:
        return np.asarray(weight * x)

    def correlated(x: Array) -> Array:
        assert covariance is not None
        rows = x.reshape(len(covariance), -1, x.shape[1])
        damping = DAMPING * np.diagonal(covariance, axis1=1, axis2=2).mean(axis=1) + 1e-30
        return np.asarray(rows @ covariance + damping[:, None, None] * rows).reshape(x.shape)

    energy = scatter(weighted(gather(np.ones(count))))
    values = scatter(weighted(w)) / np.where(energy > 0, energy, 1.0)
    if covariance is not None:
        values = _solve(lambda v: scatter(correlated(gather(v))), scatter(correlated(w)), values)
    step = max(float(np.abs(values).max()) / LARGEST_ENTRY, float((least / size).max()), 1e-30)
    entries = np.clip(np.rint(values / step), -LARGEST_ENTRY, LARGEST_ENTRY).astype(np.int16)
    scale = step * size
    return Buckets(codes, entries, scale if per_channel else scale[:1])


def _solve(operator: Callable[[Array], Array], right: Array, start: Array) -> Array:
    """x of operator(x) = right, the operator symmetric and not negative, from `start` on."""
    x = start.copy()
    rest = right - operator(x)
    direction, energy = rest.copy(), float(rest @ rest)
    enough = 1e-12 * float(right @ right)
    for _ in range(ITERATIONS):
        if energy <= enough:
            break
        image = operator(direction)
        curvature = float(direction @ image)
        if curvature <= 0:
            break
        x += energy / curvature * direction
        rest -= energy / curvature * image
        energy, before = float(rest @ rest), energy
        direction = rest + energy / before * direction
    return x

"""Shared weights: the entries of a code book by k-means in one dimension, without randomness."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ITERATIONS = 40


def kmeans(x: Array, count: int, weight: Array, *, zero: bool) -> Array:
    """float64[count], ascending: entries that minimize sum(weight * (x - nearest entry)^2).

    x, weight: float64[n], n > 0, weights not negative. `zero`: one entry is exactly 0. Starts at
    quantiles and moves entries to the means of what is nearest to them until nothing changes
    (Lloyd, "Least squares quantization in PCM", 1982).
    """
    order = np.argsort(x, kind="stable")
    x, weight = x[order], weight[order] + 1e-12 * (weight.max() or 1.0) + 1e-300
    mass = np.concatenate([[0.0], np.cumsum(weight)])
    moment = np.concatenate([[0.0], np.cumsum(weight * x)])
    entries = np.quantile(x, (np.arange(count) + 0.5) / count)
    for _ in range(ITERATIONS):
        if zero:
            entries[np.argmin(np.abs(entries))] = 0.0
        ends = np.searchsorted(x, (entries[1:] + entries[:-1]) / 2)
        ends = np.concatenate([[0], ends, [len(x)]])
        total = mass[ends[1:]] - mass[ends[:-1]]
        mean = (moment[ends[1:]] - moment[ends[:-1]]) / np.where(total > 0, total, 1)
        moved = np.sort(np.where(total > 0, mean, entries))
        if np.array_equal(moved, entries):
            break
        entries = moved
    if zero:
        entries[np.argmin(np.abs(entries))] = 0.0
    return np.asarray(np.sort(entries))

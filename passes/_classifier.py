"""
A softmax layer fitted to given probabilities: multinomial logistic regression on soft targets.

The log-likelihood is raised by steps of a fixed quadratic bound of it, which needs one matrix
inverse in all; how much the weights are held back is chosen by cross-validation.

Sources: Boehning, "Multinomial logistic regression algorithm", 1992 (the bound); Nesterov, "A
method for solving the convex programming problem with convergence rate O(1/k^2)", 1983 (the
momentum); Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015 (targets).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinycc_nn.ir.types import Array

FOLDS = 5
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Weight of the squared weights, relative to a sample, for inputs of unit variance."""
STEPS = 300


@dataclass(frozen=True)
class Fitted:
    """softmax(x @ weights.T + bias): weights float64[classes, k], bias float64[classes].

    held_out: float64[samples, classes], what fits without a sample's fold say of the sample.
    """

    weights: Array
    bias: Array
    held_out: Array


def fit(x: Array, targets: Array) -> Fitted:
    """The classifier of x, float64[samples, k], nearest to targets, float64[samples, classes],
    probabilities. At least 2 samples."""
    mean, spread = x.mean(axis=0), x.std(axis=0)
    rows = (x - mean) / np.where(spread > 0, spread, 1)
    rows = np.concatenate([rows, np.ones((len(x), 1))], axis=1)
    fold = np.arange(len(x)) % min(FOLDS, len(x))
    used = np.stack([fold != f for f in np.unique(fold)])
    fitted = _maximize(rows, targets, used[None], np.array(RIDGES)[:, None])
    tried = [_held_out(rows, w, fold) for w in fitted]
    losses = [-(targets * np.log(np.maximum(p, 1e-12))).sum() for p in tried]
    best = int(np.argmin(losses))
    w = _maximize(rows, targets, np.ones(len(x), np.bool_), np.array(RIDGES[best]))
    weights = w[:, :-1] / np.where(spread > 0, spread, np.inf)
    return Fitted(weights, w[:, -1] - weights @ mean, tried[best])


def _held_out(x: Array, w: Array, fold: Array) -> Array:
    """float64[samples, classes]: of each sample by the weights that were fitted without its fold."""
    return softmax((x[:, None] @ w[fold].transpose(0, 2, 1))[:, 0])


def _maximize(x: Array, targets: Array, used: Array, ridge: Array) -> Array:
    """float64[..., classes, k] for the samples that are used, bool[..., samples], and a ridge each,
    [...]; the last column of x is constant and not held back.

    All at once, since one is small; in float32, which is exact enough for a class.
    """
    count, k = used.sum(axis=-1), x.shape[1]
    held = (ridge * count)[..., None] * np.append(np.ones(k - 1), 0)
    some = x * used[..., None]
    curvature = some.swapaxes(-1, -2) @ some / 2
    curvature = curvature + np.eye(k) * (held + 1e-9 * count[..., None])[..., None, :]
    step, held = np.linalg.inv(curvature).astype(np.float32), held[..., None, :].astype(np.float32)
    some = np.broadcast_to(some, (*step.shape[:-2], *x.shape)).astype(np.float32)
    wanted = targets.astype(np.float32)
    w = ahead = np.zeros((*step.shape[:-2], targets.shape[1], k), np.float32)
    for n in range(STEPS):
        # A sample that is not used is zeros in `some`: it adds nothing.
        missing = wanted - softmax(some @ ahead.swapaxes(-1, -2))
        slope = missing.swapaxes(-1, -2) @ some - ahead * held
        new = ahead + slope @ step
        ahead = new + np.float32(n / (n + 3)) * (new - w)
        w = new
    return w.astype(np.float64)


def softmax(z: Array) -> Array:
    """Along the last axis."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))

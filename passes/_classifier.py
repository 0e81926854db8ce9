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
    tried = [_held_out(rows, targets, fold, ridge) for ridge in RIDGES]
    losses = [-(targets * np.log(np.maximum(p, 1e-12))).sum() for p in tried]
    best = int(np.argmin(losses))
    w = _maximize(rows, targets, RIDGES[best])
    weights = w[:, :-1] / np.where(spread > 0, spread, np.inf)
    return Fitted(weights, w[:, -1] - weights @ mean, tried[best])


def _held_out(x: Array, targets: Array, fold: Array, ridge: float) -> Array:
    out = np.empty_like(targets)
    for f in np.unique(fold):
        out[fold == f] = softmax(
            x[fold == f] @ _maximize(x[fold != f], targets[fold != f], ridge).T
        )
    return out


def _maximize(x: Array, targets: Array, ridge: float) -> Array:
    """float64[classes, k]; the last column of x is constant and not held back."""
    held = ridge * len(x) * np.append(np.ones(x.shape[1] - 1), 0)
    curvature = x.T @ x / 2 + np.diag(held + 1e-9 * len(x))
    step = np.linalg.inv(curvature)
    w = ahead = np.zeros((targets.shape[1], x.shape[1]))
    for n in range(STEPS):
        slope = (targets - softmax(x @ ahead.T)).T @ x - ahead * held
        new = ahead + slope @ step
        ahead = new + n / (n + 3) * (new - w)
        w = new
    return w


def softmax(z: Array) -> Array:
    """Along the last axis."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))

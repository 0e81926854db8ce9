"""The step size over a training."""

from __future__ import annotations

from math import cos, pi

from tinycc_nn.training.settings import Settings


def step_size(settings: Settings, done: float) -> float:
    """The learning rate after the fraction `done` (0..1) of a training.

    It grows from 0 over `warmup`, then falls to 0 along a cosine (Loshchilov and Hutter, "SGDR",
    2017) or a line, or stays.
    """
    if done < settings.warmup:
        return settings.lr * max(done, 1e-3 * settings.warmup) / settings.warmup
    rest = min(1.0, (done - settings.warmup) / (1 - settings.warmup))
    match settings.schedule:
        case "cosine":
            return settings.lr * (1 + cos(pi * rest)) / 2
        case "linear":
            return settings.lr * (1 - rest)
        case "constant":
            return settings.lr

"""One choice for each layer with the least sum of errors in bounds: a small integer program.

Source of the solver: HiGHS (Huangfu, Hall, "Parallelizing the dual revised simplex method", 2018),
as `scipy.optimize.milp`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Item:
    """A way to compute a layer: what it loses, and what it takes of each bounded resource."""

    error: float
    takes: tuple[float, ...]


def least_error(layers: Sequence[Sequence[Item]], bounds: Sequence[float]) -> list[int] | None:
    """The index of an item for each layer; None if no choice keeps to the bounds."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    every = [item for items in layers for item in items]
    error = np.array([item.error for item in every])
    takes = np.array([item.takes for item in every]).T
    owner = np.repeat(np.arange(len(layers)), [len(items) for items in layers])
    one = (owner == np.arange(len(layers))[:, None]).astype(np.float64)
    constraints = [LinearConstraint(one, 1, 1)]
    for row, bound in zip(takes, bounds, strict=True):
        unit = np.abs(row).max() or 1.0
        constraints.append(LinearConstraint(row / unit, -np.inf, bound / unit))
    unit = error.max() or 1.0
    found = milp(error / unit, integrality=np.ones(len(every)), bounds=Bounds(0, 1), constraints=constraints)  # fmt: skip
    if found.x is None:
        return None
    return [int(np.argmax(found.x[owner == i])) for i in range(len(layers))]

"""How a search got better: the volume that its measured networks dominate, pipeline by pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from tinycc_nn.search.fitness import Judge, nondominated
from tinycc_nn.search.hypervolume import hypervolume
from tinycc_nn.search.results import Evaluation

_BEYOND = 0.05
"""How far the reference lies beyond the worst point, as a fraction of the range."""


def convergence(evaluations: Sequence[Evaluation], judge: Judge) -> list[tuple[int, float]]:
    """(n, volume) after the first n pipelines that were asked for, at each n where it changes.

    The volume is a fraction of the box between the best value of each objective and a little beyond
    the worst of a measured network within the limits; only these count.
    """
    fitness = judge.fitness(evaluations)
    kept = [i for i, f in enumerate(fitness) if f.measured and not f.violation]
    if not kept:
        return []
    rows = [fitness[i].values for i in kept]
    low, high = [min(c) for c in zip(*rows, strict=True)], [max(c) for c in zip(*rows, strict=True)]
    size = [(b - a) * (1 + _BEYOND) or 1.0 for a, b in zip(low, high, strict=True)]
    points = [tuple((v - a) / s for v, a, s in zip(row, low, size, strict=True)) for row in rows]
    reference = (1.0,) * len(low)
    found: list[tuple[int, float]] = []
    for n, i in enumerate(kept, 1):
        front = nondominated([fitness[k] for k in kept[:n]])
        if n - 1 in front:
            found.append((i + 1, hypervolume([points[k] for k in front], reference)))
    return found

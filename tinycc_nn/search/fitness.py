"""From evaluations to what selection compares: objectives to make small, limits to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from tinycc_nn.search.results import Evaluation, Metrics
from tinycc_nn.search.settings import SearchSettings
from tinycc_nn.target import Target

FAILED = 1e6
"""The violation of what has no result; beyond that of anything that has one."""

_WORST = 1e15


@dataclass(frozen=True, slots=True)
class Fitness:
    """
    values:    to make small, in the order of the objectives (or one weighted sum).
    violation: the sum of `excess`: by how much limits are exceeded, as fractions of the limit.
    measured:  whether costs are those of the C on the emulated core, not predictions.
    """

    values: tuple[float, ...]
    violation: float = 0.0
    excess: tuple[tuple[str, float], ...] = ()
    measured: bool = False

    def dominates(self, other: Fitness) -> bool:
        """Constrained domination (Deb et al., "A fast and elitist multiobjective genetic
        algorithm: NSGA-II", 2002)."""
        if self.violation or other.violation:
            return self.violation < other.violation
        pairs = list(zip(self.values, other.values, strict=True))
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@dataclass(frozen=True, slots=True)
class Correction:
    """What predictions are off by where both are known: a factor of cycles, bytes of flash and of
    RAM (start-up code, the stack). It lets measured and predicted costs be compared."""

    cycles: float = 1.0
    flash: float = 0.0
    ram: float = 0.0

    @staticmethod
    def of(
        metrics: Sequence[Metrics], pick: Callable[[Sequence[float]], float] = median
    ) -> Correction:
        """The medians, or what else is picked, over what is measured."""
        factors, flash, ram = [], [], []
        for m in metrics:
            if m.cycles is not None and m.predicted_cycles:
                factors.append(m.cycles / m.predicted_cycles)
            if m.flash_bytes is not None and m.predicted_flash is not None:
                flash.append(m.flash_bytes - m.predicted_flash)
            if m.ram_bytes is not None and m.predicted_ram is not None:
                ram.append(m.ram_bytes - m.predicted_ram)
        return Correction(
            pick(factors) if factors else 1.0,
            pick(flash) if flash else 0.0,
            pick(ram) if ram else 0.0,
        )


@dataclass(frozen=True, slots=True)
class Costs:
    """Cycles, and bytes of flash and RAM."""

    cycles: float
    flash: float
    ram: float

    @staticmethod
    def of(m: Metrics, correction: Correction) -> Costs:
        """As measured; what isn't, as predicted and corrected."""
        return Costs(
            m.cycles if m.cycles is not None else (m.predicted_cycles or 0) * correction.cycles,
            m.flash_bytes
            if m.flash_bytes is not None
            else (m.predicted_flash or 0) + correction.flash,
            m.ram_bytes if m.ram_bytes is not None else (m.predicted_ram or 0) + correction.ram,
        )


class Judge:
    """Gives every evaluation of a search its fitness."""

    def __init__(self, settings: SearchSettings, target: Target) -> None:
        self.settings, self.target = settings, target

    def fitness(self, evaluations: Sequence[Evaluation]) -> list[Fitness]:
        """Of all evaluations of a search so far, as it sees them. What may keep the limits, if its
        predictions are as wrong as the best of those that are measured, counts as if it does:
        then it is measured in the end."""
        metrics = [e.metrics for e in evaluations if not e.error]
        likely, least = Correction.of(metrics), Correction.of(metrics, min)
        rows = [self._fitness(e, likely, least) for e in evaluations]
        return self._weighted(rows) if self.settings.weights else rows

    def _fitness(self, e: Evaluation, likely: Correction, least: Correction) -> Fitness:
        if e.error:
            return Fitness((_WORST,) * len(self.settings.objectives), FAILED)
        costs, loss = Costs.of(e.metrics, likely), self.loss(e.metrics)
        by_name = {
            "accuracy": loss,
            "cycles": costs.cycles,
            "flash": costs.flash,
            "ram": costs.ram,
            "energy": self.target.energy_uj(costs.cycles) or 0.0,
        }
        excess = tuple(self._excess(Costs.of(e.metrics, least), loss))
        return Fitness(
            tuple(by_name[name] for name in self.settings.objectives),
            sum(x for _, x in excess),
            excess,
            e.metrics.cycles is not None,
        )

    def loss(self, m: Metrics) -> float:
        """The fraction that is wrong, or the mean squared error."""
        known = m.accuracy if m.accuracy is not None else m.accuracy_part
        assert known is not None
        return 1.0 - known if self.settings.metric == "top1" else known

    def allowed_loss(self) -> float | None:
        """The largest loss within the limit of accuracy; None without one."""
        drop, baseline = self.settings.bounds.accuracy_drop, self.settings.baseline
        if drop is None or baseline is None:
            return None
        return 1.0 - baseline + drop if self.settings.metric == "top1" else baseline * (1 + drop)

    def _excess(self, costs: Costs, loss: float) -> list[tuple[str, float]]:
        b, t = self.settings.bounds, self.target
        found: list[tuple[str, float, float | None]] = [
            ("accuracy", loss, self.allowed_loss()),
            ("flash", costs.flash, _smaller(b.flash, None if t.generic else t.flash)),
            ("ram", costs.ram, _smaller(b.ram, None if t.generic else t.ram)),
            ("latency", t.latency_ms(costs.cycles) or 0.0, b.latency_ms),
            ("energy", t.energy_uj(costs.cycles) or 0.0, b.energy_uj),
        ]
        return [
            (name, value / max(limit, 1e-9) - 1)
            for name, value, limit in found
            if limit is not None and value > limit
        ]

    def _weighted(self, rows: list[Fitness]) -> list[Fitness]:
        """One sum for each, of objectives in units of what the first network without an error has."""
        base = next((r.values for r in rows if r.violation < FAILED), None)
        if base is None:
            return [Fitness((_WORST,), r.violation, r.excess, r.measured) for r in rows]
        weights = dict(self.settings.weights)
        scale = [weights.get(n, 0.0) / (b or 1.0) for n, b in zip(self.settings.objectives, base, strict=True)]  # fmt: skip
        return [
            Fitness(
                (sum(s * v for s, v in zip(scale, r.values, strict=True)),),
                r.violation,
                r.excess,
                r.measured,
            )
            for r in rows
        ]


def nondominated(rows: Sequence[Fitness]) -> list[int]:
    """The indices of those that no other one dominates."""
    if not rows:
        return []
    least = min(r.violation for r in rows)
    kept = np.array([i for i, r in enumerate(rows) if r.violation == least])
    values = np.array([rows[i].values for i in kept])
    if least > 0:
        return [int(i) for i in kept]
    better = (values[:, None] <= values[None]).all(axis=2) & (values[:, None] < values[None]).any(2)
    return [int(i) for i in kept[~better.any(axis=0)]]


def _smaller(a: float | None, b: float | None) -> float | None:
    known = [x for x in (a, b) if x is not None]
    return min(known) if known else None

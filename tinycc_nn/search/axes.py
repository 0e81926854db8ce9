"""Axes of a plot: where values lie in pixels, and which of them are named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

_MAX_TICKS = 6
_LOG_FROM = 8.0
"""From this ratio of the largest to the smallest value on, an axis is logarithmic."""


@dataclass(frozen=True)
class Axis:
    """
    low, high: the values at its ends.
    start, end: pixels of the ends; y axes go from the larger pixel to the smaller one.
    log:        logarithmic; the values are above zero.
    whole:      only whole numbers are named.
    """

    label: str
    low: float
    high: float
    start: float
    end: float
    log: bool = False
    whole: bool = False

    @staticmethod
    def over(
        label: str, values: Sequence[float], start: float, end: float, *, zero: bool = False
    ) -> Axis:
        """An axis for values, with room around them; `zero`: it begins at 0."""
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if zero:
            return Axis(label, 0.0, high * 1.05 or 1.0, start, end)
        if low > 0 and high / low >= _LOG_FROM:
            return Axis(label, low / 1.15, high * 1.15, start, end, log=True)
        room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
        return Axis(label, low - room, high + room, start, end)

    def at(self, value: float) -> float:
        """The pixel of a value; that of the nearest end if it lies outside."""
        inside = min(max(value, self.low), self.high)
        part = (
            log10(inside / self.low) / log10(self.high / self.low)
            if self.log
            else (inside - self.low) / (self.high - self.low)
        )
        return round(self.start + part * (self.end - self.start), 1)

    def holds(self, value: float) -> bool:
        """Whether a value lies on the axis."""
        return self.low <= value <= self.high

    def ticks(self) -> list[tuple[float, str]]:
        """Pixel and text of the values that are named."""
        values = self._log_ticks() if self.log else self._even_ticks()
        return [(self.at(v), short(v)) for v in values]

    def _even_ticks(self) -> list[float]:
        rough = (self.high - self.low) / (_MAX_TICKS - 1)
        power = 10.0 ** floor(log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
        step = max(step, 1.0) if self.whole else step
        first = ceil(self.low / step - 1e-9)
        count = floor((self.high - first * step) / step + 1e-9) + 1
        return [round((first + i) * step, 12) for i in range(count)]

    def _log_ticks(self) -> list[float]:
        for steps in ((1, 2, 5), (1, 3), (1,)):
            found = [
                m * 10.0**p
                for p in range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
                for m in steps
                if self.holds(m * 10.0**p)
            ]
            if len(found) <= _MAX_TICKS:
                break
        return found[:: ceil(len(found) / _MAX_TICKS)] if found else []


def short(value: float) -> str:
    """A number in few characters: 12.5 k, 3 M."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= unit:
            return f"{value / unit:.4g}{name}"
    return f"{value:.4g}"

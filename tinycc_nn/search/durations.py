"""How long evaluations take: long ones go first, so that no worker waits for the last one."""

from __future__ import annotations

import re
from collections import defaultdict
from statistics import fmean

_NAME = re.compile(r"(?:^|, )([a-z][a-z0-9-]*)(?=\{|,|$)")


class Durations:
    """
    Learns from evaluations that are done. Only the order in which tasks are handed out depends on
    it, never what a search asks for.
    """

    def __init__(self) -> None:
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, pipeline: str, seconds: float) -> None:
        """The evaluation of a pipeline, by its text, took so long."""
        for name in _names(pipeline):
            self._seconds[name].append(seconds)

    def expected(self, pipeline: str) -> float:
        """Seconds: the mean of evaluations with that of its passes whose evaluations take longest;
        0 where nothing is known."""
        known = (self._seconds[name] for name in _names(pipeline) if name in self._seconds)
        return max(map(fmean, known), default=0.0)


def _names(pipeline: str) -> set[str]:
    return set(_NAME.findall(pipeline))

"""NSGA-II selection by DEAP, with limits: what keeps them better comes before what doesn't."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from deap import base, tools

from tinycc_nn.search.fitness import Fitness
from tinycc_nn.search.space import Genome
from tinycc_nn.search.variation import seeded


class ConstrainedFitness(base.Fitness):  # type: ignore[misc]
    """DEAP's fitness of values to make small, with constrained domination."""

    def __init__(self, fitness: Fitness) -> None:
        self.weights = (-1.0,) * len(fitness.values)
        self.given = fitness
        super().__init__(fitness.values)

    def dominates(self, other: ConstrainedFitness, obj: slice = slice(None)) -> bool:
        del obj
        return self.given.dominates(other.given)

    def __hash__(self) -> int:
        return hash((self.wvalues, self.given.violation))

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, ConstrainedFitness) and self.wvalues == other.wvalues
        return same and self.given.violation == other.given.violation  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Scored:
    """A genome with the fitness that it has now."""

    genome: Genome
    fitness: Fitness


class _Individual:
    def __init__(self, scored: Scored) -> None:
        self.scored, self.fitness = scored, ConstrainedFitness(scored.fitness)


def survivors(scored: Sequence[Scored], count: int) -> list[Scored]:
    """The best, by fronts and within the last one by crowding."""
    return [i.scored for i in _select(scored, count)]


def parents(rng: random.Random, scored: Sequence[Scored], count: int) -> list[Scored]:
    """`count` winners of tournaments between two."""
    fours = len(scored) // 4 * 4
    if not fours:
        return [rng.choice(scored) for _ in range(count)]
    ranked, found = _select(scored, fours), list[Scored]()
    with seeded(rng):
        while len(found) < count:
            found += [i.scored for i in tools.selTournamentDCD(ranked, fours)]
    return found[:count]


def crowded(scored: Sequence[Scored]) -> list[int]:
    """Indices of members of one front, those with most room around them first."""
    individuals = [_Individual(s) for s in scored]
    tools.emo.assignCrowdingDist(individuals)
    distance = [i.fitness.crowding_dist for i in individuals]
    return sorted(range(len(scored)), key=lambda i: (-distance[i], i))


def _select(scored: Sequence[Scored], count: int) -> list[_Individual]:
    individuals = [_Individual(s) for s in scored]
    chosen: list[_Individual] = tools.selNSGA2(individuals, min(count, len(individuals)))
    return chosen

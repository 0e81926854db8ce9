"""Ways to propose the next pipelines: genetic, random; Optuna has a module of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol

from tinycc_nn.diagnostics import UsageError
from tinycc_nn.pipeline import print_pipeline
from tinycc_nn.search.fitness import nondominated
from tinycc_nn.search.nsga import Scored, parents, survivors
from tinycc_nn.search.settings import SearchSettings
from tinycc_nn.search.space import Genome, Space
from tinycc_nn.search.variation import offspring

Draw = Callable[[], Genome]
_TRIES = 200


class Method(Protocol):
    """Proposes genomes. All methods begin with the same recipes, and are deterministic in the seed
    and in what they are told."""

    def ask(self) -> list[Genome]:
        """The next generation: as many as the population, none of which was asked before. The
        first one has all that a search starts from, even if that is more."""

    def tell(self, scored: Sequence[Scored]) -> None:
        """All that was evaluated so far, in the order in which it was asked."""


def make_method(settings: SearchSettings, space: Space, recipes: Sequence[Genome]) -> Method:
    """The method of the settings; UsageError if it isn't installed."""
    if not space.kinds:
        hint = "give samples with --calib"
        raise UsageError("there is no pass that a search could try", hint=hint)
    if settings.method == "random":
        return RandomSearch(settings, space, recipes)
    if settings.method == "optuna":
        from tinycc_nn.search.bayes import OptunaSearch

        return OptunaSearch(settings, space, recipes)
    return GeneticSearch(settings, space, recipes)


class RandomSearch:
    """Genomes as the genetic search draws its first ones."""

    def __init__(self, settings: SearchSettings, space: Space, recipes: Sequence[Genome]) -> None:
        self.space, self.count = space, settings.population
        self.rng = random.Random(settings.seed)
        self._recipes = list(recipes)
        self._asked: set[str] = set()

    def ask(self) -> list[Genome]:
        found, self._recipes = self._recipes, []
        self._asked.update(print_pipeline(g) for g in found)
        while len(found) < self.count:
            found.append(self.new(lambda: self.space.random_genome(self.rng)))
        return found

    def tell(self, scored: Sequence[Scored]) -> None:
        """Chance learns nothing."""

    def new(self, draw: Draw) -> Genome:
        """A genome that was not asked for before."""
        for attempt in range(_TRIES):
            genome = draw() if attempt < _TRIES // 2 else self.space.random_genome(self.rng)
            if (text := print_pipeline(genome)) not in self._asked:
                break
        self._asked.add(text)
        return genome


class GeneticSearch(RandomSearch):
    """
    NSGA-II: the best of population, offspring and archive survive, tournaments choose parents.
    The first population holds the recipes, and is filled up with their variations and with chance.
    """

    def __init__(self, settings: SearchSettings, space: Space, recipes: Sequence[Genome]) -> None:
        super().__init__(settings, space, recipes)
        self._population: list[Scored] = []
        self._seeds = list(recipes)
        self._last = 0

    def ask(self) -> list[Genome]:
        if not self._population:
            found = list(self._recipes)
            self._asked.update(print_pipeline(g) for g in found)
            while len(found) < self.count:
                found.append(self.new(self._first))
            self._last = len(found)
            return found
        self._last = self.count
        mothers = [s.genome for s in parents(self.rng, self._population, self.count)]
        return [
            self.new(lambda: offspring(self.rng, self.space, mothers)) for _ in range(self.count)
        ]

    def tell(self, scored: Sequence[Scored]) -> None:
        """Choose the next population out of the last one, its offspring and the archive: the front
        of all that was evaluated."""
        before = {print_pipeline(s.genome) for s in self._population}
        front = set(nondominated([s.fitness for s in scored]))
        last = len(scored) - self._last
        pool = [
            s
            for i, s in enumerate(scored)
            if i >= last or i in front or print_pipeline(s.genome) in before
        ]
        self._population = survivors(pool, self.count)

    def _first(self) -> Genome:
        if self._seeds and self.rng.random() < 0.5:
            return offspring(self.rng, self.space, self._seeds)
        return self.space.random_genome(self.rng)

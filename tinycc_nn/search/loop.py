"""The search itself: ask for a generation, evaluate it, let what is best go a stage further."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinycc_nn.pipeline import print_pipeline
from tinycc_nn.search.durations import Durations
from tinycc_nn.search.evaluate import Task
from tinycc_nn.search.executor import Executor
from tinycc_nn.search.fitness import Fitness, Judge, nondominated
from tinycc_nn.search.methods import Method
from tinycc_nn.search.nsga import Scored, crowded
from tinycc_nn.search.recipes import Frame
from tinycc_nn.search.results import STAGES, Evaluation, Stage
from tinycc_nn.search.settings import Budget
from tinycc_nn.search.space import Genome
from tinycc_nn.search.store import Search, Store

_SEARCHING = 0.85
"""Of a budget of time; the rest is for measuring what was found."""

_PROMOTED = 4
"""One of so many of a population goes a stage further in each generation."""

_ROUNDS = 12
"""Of measuring the front at the end: measured costs may let others come into it."""


@dataclass(frozen=True)
class Progress:
    """`done` evaluations in `seconds`; the evaluations on the front, with their fitness."""

    done: int
    seconds: float
    generation: int
    doing: str
    front: Sequence[tuple[Evaluation, Fitness]]


Observe = Callable[[Progress], None]


class OutOfTimeError(Exception):
    """The budget of time is used up."""


class Loop:
    """
    One search, from its start or from where it was: each evaluation that is in the store is taken
    from there, so that going on is the same way once more, only fast.

    What a search knows of a pipeline is what it has asked for itself, in its own order. So neither
    the number of workers nor other searches in the store change its way.
    """

    def __init__(
        self,
        store: Store,
        search: Search,
        method: Method,
        frame: Frame,
        executor: Executor,
        judge: Judge,
        cache: Path,
        observe: Observe,
    ) -> None:
        self.store, self.search, self.method, self.frame = store, search, method, frame
        self.executor, self.judge, self.cache, self.observe = executor, judge, cache, observe
        self.population = search.settings.population
        self._known: list[Evaluation | None] = []
        self._asked: list[Stage] = []
        self._genomes: list[Genome] = []
        self._generation = 0
        self._took = Durations()
        self._started = time.monotonic() - search.seconds

    def run(self, budget: Budget) -> None:
        """Until the budget is used up. May be interrupted at any moment."""
        whole = budget.seconds
        with contextlib.suppress(OutOfTimeError):
            self._search(budget, None if whole is None else self._started + _SEARCHING * whole)
        with contextlib.suppress(OutOfTimeError):
            until = None if whole is None else self._started + whole
            for _ in range(_ROUNDS):
                if not self._promote(None, until):
                    break
        self.store.progress(self.search, self.seconds, ended=True)

    @property
    def seconds(self) -> float:
        """That the search has run, with those before it was interrupted."""
        return time.monotonic() - self._started

    def results(self) -> list[Evaluation]:
        """What was evaluated, in the order in which it was asked for."""
        return [e for e, k in zip(self._seen(), self._known, strict=True) if k is not None]

    def _search(self, budget: Budget, until: float | None) -> None:
        while budget.evaluations is None or len(self._genomes) < budget.evaluations:
            genomes = self.method.ask()
            if budget.evaluations is not None:
                genomes = genomes[: budget.evaluations - len(self._genomes)]
            first = len(self._genomes)
            self._genomes += genomes
            self._known += [None] * len(genomes)
            self._asked += ["predicted"] * len(genomes)
            self._evaluate(range(first, len(self._genomes)), "predicted", until)
            if len(genomes) < self.population:
                return
            self._promote(max(1, self.population // _PROMOTED), until)
            fitness = self.judge.fitness(self._seen())
            self.method.tell([Scored(g, f) for g, f in zip(self._genomes, fitness, strict=True)])
            self._generation += 1

    def _promote(self, most: int | None, until: float | None) -> bool:
        """Let `most` of the front, those with most room around them, be judged on all data, then
        be measured. False if there was none left."""
        done = False
        for stage in STAGES[1 : STAGES.index(self.search.settings.deepest) + 1]:
            waiting = self._waiting(stage)
            if waiting and most is not None:
                seen = self._seen()
                fitness = self.judge.fitness(seen)
                scored = [Scored((), fitness[i]) for i in waiting]
                waiting = sorted(waiting[i] for i in crowded(scored)[:most])
            if waiting:
                self._evaluate(waiting, stage, until)
                done = True
        return done

    def _waiting(self, stage: Stage) -> list[int]:
        """The members of the front that have not come to this stage; of a network only one."""
        seen = self._seen()
        front = nondominated(self.judge.fitness(seen))
        networks = {seen[i].network for i in range(len(seen)) if seen[i].stage == "measured"}
        found = []
        for i in front:
            e = seen[i]
            if e.reached(stage) or (stage == "measured" and e.network in networks):
                continue
            if stage == "measured":
                networks.add(e.network)
            found.append(i)
        return found

    def _seen(self) -> list[Evaluation]:
        """What is known of each position, as this search has asked for it."""
        return [
            e.seen_at(stage) if e is not None else Evaluation("", "predicted", error="not done")
            for e, stage in zip(self._known, self._asked, strict=True)
        ]

    def _evaluate(self, positions: Sequence[int], stage: Stage, until: float | None) -> None:
        """Bring these positions to a stage. OutOfTimeError if the time does not suffice."""
        problem = self.search.problem
        left: list[tuple[int, Task]] = []
        for i in positions:
            self._asked[i] = stage
            text = print_pipeline(self.frame.around(self._genomes[i]))
            known = self.store.find(problem, text)
            if known is not None and known.reached(stage):
                self._keep(i, known)
            else:
                left.append((i, Task(problem, text, stage, self.cache, known)))
        waiting = len(left)
        if left and until is not None and time.monotonic() >= until:
            raise OutOfTimeError
        left.sort(key=lambda task: -self._took.expected(task[1].pipeline))
        for k, e in self.executor.run([t for _, t in left], until):
            i, task = left[k]
            before = task.known.seconds if task.known else 0.0
            self._took.add(task.pipeline, e.seconds - before)
            self._keep(i, self.store.record(problem, e))
            waiting -= 1
            self.store.progress(self.search, self.seconds)
            self._report(f"{stage}: {task.pipeline}")
        if waiting:
            raise OutOfTimeError

    def _keep(self, position: int, e: Evaluation) -> None:
        if self._known[position] is None:
            self.store.add_trial(self.search, position, self._generation, e)
        self._known[position] = e

    def _report(self, doing: str) -> None:
        seen = self._seen()
        fitness = self.judge.fitness(seen)
        front = [(seen[i], fitness[i]) for i in nondominated(fitness)]
        done = sum(e is not None for e in self._known)
        self.observe(Progress(done, self.seconds, self._generation, doing, front))

"""What the parts of benchmarks/search.py share: searches in slices, and tables of what was found."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinycc_nn.cli._table import Table, markdown
from tinycc_nn.pipeline import print_pipeline
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.search.evaluate import Task
from tinycc_nn.search.executor import Processes
from tinycc_nn.search.loop import Progress
from tinycc_nn.search.outcome import Outcome
from tinycc_nn.search.recipes import frame, recipes
from tinycc_nn.search.results import Evaluation, Stage
from tinycc_nn.search.run import run_search
from tinycc_nn.search.settings import Problem, SearchSettings
from tinycc_nn.search.space import Genome
from tinycc_nn.search.store import Store

ORDERED = {
    "prune-blocks": "prune",
    "prune-channels": "prune",
    "prune-iteratively": "prune",
    "prune-weights": "prune",
    "quantize": "quantize",
    "distill": "distil",
}
"""The passes whose order is asked for, by what they do."""

FRAME = frame("float32")


@dataclass
class Sliced:
    """Workers until a slice ends: KeyboardInterrupt then, whatever runs."""

    workers: Processes
    until: float

    def run(
        self, tasks: Sequence[Task], until: float | None = None
    ) -> Iterator[tuple[int, Evaluation]]:
        end = self.until if until is None else min(until, self.until)
        yield from self.workers.run(tasks, end)
        if time.monotonic() >= self.until:
            raise KeyboardInterrupt

    def close(self) -> None:
        self.workers.close()


@dataclass
class Bench:
    """A problem with the store and the workers of this run; `until` ends the slice."""

    problem: Problem
    store: Store
    cache: Path
    workers: Processes
    until: float

    def search(self, settings: SearchSettings) -> Outcome:
        """As far as the slice goes; KeyboardInterrupt where it ends."""
        executor = Sliced(self.workers, self.until)
        return run_search(
            self.problem,
            settings,
            self.store,
            executor,
            self.cache,
            observe=self._watch,
            resume=None,
        )

    def evaluate(self, genomes: Sequence[str], stage: Stage) -> dict[str, Evaluation]:
        """By the text of the genome, from the store where it is there."""
        texts = {g: self.whole(g) for g in genomes}
        known = {g: self.store.find(self.problem, t) for g, t in texts.items()}
        left = [g for g, e in known.items() if e is None or not e.reached(stage)]
        tasks = [Task(self.problem, texts[g], stage, self.cache, known[g]) for g in left]
        for i, e in Sliced(self.workers, self.until).run(tasks):
            known[left[i]] = self.store.record(self.problem, e)
        return {g: e for g, e in known.items() if e is not None}

    def whole(self, genome: str) -> str:
        """The text of the whole pipeline of a genome."""
        return print_pipeline(FRAME.around(parse_pipeline(genome) if genome else ()))

    def starts(self) -> list[str]:
        """The recipes that a search of the problem starts from, as text."""
        return [print_pipeline(g) for g in recipes("float32", self.problem).values()]

    def _watch(self, progress: Progress) -> None:
        if time.monotonic() >= self.until:
            raise KeyboardInterrupt


COLUMNS = ("passes", "accuracy", "held out", "cycles", "flash", "RAM")


def row(genome: str, e: Evaluation) -> tuple[str, ...]:
    """Of a measured evaluation, under `COLUMNS`."""
    m = e.metrics
    return (
        f"`{genome or 'none'}`",
        f"{accuracy(e):.2%}",
        f"{m.held_out or 0:.2%}",
        f"{m.cycles:,}",
        f"{m.flash_bytes:,}",
        f"{m.ram_bytes:,}",
    )


def accuracy(e: Evaluation) -> float:
    """On all samples that the search may see; on a part of them where that is all there is."""
    known = e.metrics.accuracy if e.metrics.accuracy is not None else e.metrics.accuracy_part
    return known or 0.0


def orders(bench: Bench, found: Outcome, most: int) -> str:
    """How often each order of the passes is on the front, and the front's pipelines permuted; of
    no more than the `most` accurate ones, and of none with more than three of these passes."""
    genomes = [parse_pipeline(g) if (g := found.genome(e)) != "(none)" else () for e in found.front]
    counted = Counter(" -> ".join(_ordered(g)) or "none of them" for g in genomes)
    counts = Table(("order", "networks on the front"))
    for order, n in counted.most_common():
        counts.add(order, str(n))
    heading = f"## Order of {', '.join(dict.fromkeys(ORDERED.values()))}\n\n{markdown(counts)}\n"
    if not most:
        return heading
    mixed = [g for g in genomes if len(set(_ordered(g))) > 1 and len(_ordered(g)) <= 3][:most]
    groups = {print_pipeline(g): [print_pipeline(p) for p in _permuted(g)] for g in mixed}
    every = list(dict.fromkeys(itertools.chain.from_iterable(groups.values())))
    made = bench.evaluate(every, "measured")
    table = Table(("order", "passes", "accuracy", "held out", "output error", "cycles", "flash"))
    for as_found, group in groups.items():
        for text in group:
            e, m = made[text], made[text].metrics
            order = " -> ".join(_ordered(parse_pipeline(text)))
            order += " (as found)" if text == as_found else ""
            if e.error:
                table.add(order, f"`{text}`", "not possible", "", "", "", "")
                continue
            table.add(
                order,
                f"`{text}`",
                f"{accuracy(e):.2%}",
                f"{m.held_out or 0:.2%}",
                f"{m.output_error:.4f}",
                f"{m.cycles:,}",
                f"{m.flash_bytes:,}",
            )
    return (
        f"{heading}The same pipelines with these passes in every order (of the {most} most "
        f"accurate that have two or three of them), measured:\n\n{markdown(table)}\n"
    )


def _ordered(genome: Genome) -> list[str]:
    return [ORDERED[p.name()] for p in genome if p.name() in ORDERED]


def _permuted(genome: Genome) -> list[Genome]:
    """The genome with the passes of `ORDERED` in every order, itself first; other passes stay."""
    places = [i for i, p in enumerate(genome) if p.name() in ORDERED]
    found = []
    for mixed in dict.fromkeys(itertools.permutations([genome[i] for i in places])):
        other = list(genome)
        for i, p in zip(places, mixed, strict=True):
            other[i] = p
        found.append(tuple(other))
    return found

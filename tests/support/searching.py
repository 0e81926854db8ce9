"""A search whose evaluations are made up, so that its way can be followed in a moment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tinycc_nn.ir.graph import Graph
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.search.evaluate import Task
from tinycc_nn.search.fitness import Judge
from tinycc_nn.search.loop import Loop, Progress
from tinycc_nn.search.methods import make_method
from tinycc_nn.search.recipes import Frame
from tinycc_nn.search.results import Evaluation, Metrics
from tinycc_nn.search.settings import Budget, Problem, SearchSettings
from tinycc_nn.search.space import Space
from tinycc_nn.search.store import Store
from tinycc_nn.target import Target

PROBLEM = Problem("digits.onnx", "nrf52840", calib="c.npz", evaluation="e.npz")
SPACE = Space.of(Graph("empty"), PROBLEM)
RECIPES = tuple(map(parse_pipeline, ("quantize", "prune-channels{macs=0.8}, quantize")))


def made_up(task: Task) -> Evaluation:
    """Metrics out of a digest of the pipeline; one in five is not possible."""
    digest = hashlib.sha256(task.pipeline.encode()).digest()
    if digest[0] < 50:
        return Evaluation(task.pipeline, task.stage, error="not possible")
    accuracy, cycles, flash, ram = (d / 255 for d in digest[1:5])
    found = Metrics(
        accuracy_part=accuracy,
        predicted_cycles=1e6 * cycles,
        predicted_flash=1e5 * flash,
        predicted_ram=1e4 * ram,
        accuracy=accuracy * 0.9,
        held_out=accuracy * 0.8,
        cycles=round(1.1e6 * cycles),
        flash_bytes=round(1e5 * flash) + 1000,
        ram_bytes=round(1e4 * ram) + 500,
    )
    network = digest[:3].hex()
    return Evaluation(task.pipeline, task.stage, network, found.seen_at(task.stage))


class Shuffled:
    """Answers in an order of its own; after `most` answers it is interrupted."""

    def __init__(self, step: int = 1, most: int | None = None) -> None:
        self.step, self.most, self.answered = step, most, 0

    def run(
        self, tasks: Sequence[Task], until: float | None = None
    ) -> Iterator[tuple[int, Evaluation]]:
        del until
        for i in sorted(range(len(tasks)), key=lambda i: (i % self.step, i)):
            if self.answered == self.most:
                raise KeyboardInterrupt
            self.answered += 1
            yield i, made_up(tasks[i])

    def close(self) -> None:
        """Nothing is open."""


def search(
    store: Store, settings: SearchSettings, budget: int, executor: Shuffled | None = None
) -> list[Evaluation]:
    """What a search of `budget` evaluations has seen, without numbers and times."""
    method = make_method(settings, SPACE, RECIPES)
    started = store.start(PROBLEM, settings)
    judge = Judge(settings, Target.load(PROBLEM.target))
    loop = Loop(
        store, started, method, Frame((), ()), executor or Shuffled(), judge, Path(), _quiet
    )
    loop.run(Budget(evaluations=budget))
    return [Evaluation(e.pipeline, e.stage, e.network, e.metrics, e.error) for e in loop.results()]


def _quiet(progress: Progress) -> None:
    assert progress.front

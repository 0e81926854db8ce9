"""Where evaluations run: in this process, or in processes on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import tinycc_nn
from tinycc_nn.search.evaluate import Task, evaluate
from tinycc_nn.search.results import Evaluation
from tinycc_nn.workers import Failed, Workers

RETRIES = 1
"""Times that a task is given to another worker after its own has died or hung."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""For workers: as many as there are share the cores, and sums come out the same for any number."""


class Executor(Protocol):
    """Runs tasks. A worker that dies or hangs is replaced; its task is tried once more, then it
    has failed, and only it."""

    def run(
        self, tasks: Sequence[Task], until: float | None = None
    ) -> Iterator[tuple[int, Evaluation]]:
        """Index and evaluation of each task, as they come. At `until` (of time.monotonic) the
        iterator ends without those that are not done."""

    def close(self) -> None:
        """End the workers."""


class Processes:
    """Worker processes on this machine. `task_seconds`: what takes longer hangs."""

    def __init__(
        self,
        count: int,
        *,
        task_seconds: float = 600.0,
        work: Callable[[Task], Evaluation] = evaluate,
    ) -> None:
        self._workers: Workers[Task, Evaluation] = Workers(work, count, ONE_THREAD)
        self._task_seconds = task_seconds

    def run(
        self, tasks: Sequence[Task], until: float | None = None
    ) -> Iterator[tuple[int, Evaluation]]:
        answers = self._workers.run(
            tasks, until=until, task_seconds=self._task_seconds, retries=RETRIES
        )
        for i, answer in answers:
            yield i, failed(tasks[i], answer.reason) if isinstance(answer, Failed) else answer

    def close(self) -> None:
        self._workers.close()


def failed(task: Task, reason: str) -> Evaluation:
    """The evaluation of a task that its workers did not survive."""
    known = task.known or Evaluation(task.pipeline, task.stage, version=tinycc_nn.__version__)
    return dataclasses.replace(known, stage=task.stage, error=reason)

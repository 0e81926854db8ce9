"""Worker processes that may die: a task that kills its worker fails alone."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

Task = TypeVar("Task")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Failed:
    """Why there is no answer: the exception, or how the worker ended."""

    reason: str


@dataclass
class _Worker(Generic[Task, Answer]):
    process: BaseProcess
    connection: Connection[Task, Answer | Failed]
    task: int
    since: float


def run_tasks(
    work: Callable[[Task], Answer],
    tasks: Sequence[Task],
    workers: int,
    *,
    until: float | None = None,
    task_seconds: float = 300.0,
) -> Iterator[tuple[int, Answer | Failed]]:
    """Index and answer of each task as they come.

    `work` (a function of a module) runs in `workers` spawned processes. Tasks start in order; at
    `until` (of time.monotonic) those that run are given up and the rest is not started. A task that
    takes longer than `task_seconds` fails. No worker outlives the iterator.
    """
    context = multiprocessing.get_context("spawn")
    left = iter(range(len(tasks)))
    running: list[_Worker[Task, Answer]] = []

    def start() -> None:
        """Let a new process work on the next task, if there is one."""
        if (i := next(left, None)) is None:
            return
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(work, theirs), daemon=True)
        process.start()
        theirs.close()
        _send(ours, tasks[i])
        running.append(_Worker(process, ours, i, time.monotonic()))

    try:
        for _ in range(max(1, workers)):
            start()
        while running:
            now = time.monotonic()
            if until is not None and now >= until:
                return
            limits = [w.since + task_seconds for w in running]
            limits += [] if until is None else [until]
            ready = wait([w.connection for w in running], max(0.0, min(limits) - now))
            for w in tuple(running):
                if w.connection in ready:
                    answer = _answer(w)
                elif time.monotonic() >= w.since + task_seconds:
                    answer = Failed(f"it took more than {task_seconds:g} s")
                    w.process.kill()
                else:
                    continue
                index = w.task
                if w.process.is_alive() and (following := next(left, None)) is not None:
                    _send(w.connection, tasks[following])
                    w.task, w.since = following, time.monotonic()
                else:
                    running.remove(w)
                    _end(w)
                    start()
                yield index, answer
    finally:
        for w in running:
            _end(w)


def _send(connection: Connection[Task, Answer | Failed], task: Task) -> None:
    """Give a worker a task; that it is dead is seen when its answer is read."""
    with contextlib.suppress(OSError):
        connection.send(task)


def _answer(w: _Worker[Task, Answer]) -> Answer | Failed:
    try:
        return w.connection.recv()
    except (EOFError, OSError):
        w.process.join(5)
        return Failed(f"the worker ended with {w.process.exitcode}")


def _end(w: _Worker[Task, Answer]) -> None:
    w.process.kill()
    w.process.join()
    w.connection.close()


def _serve(work: Callable[[Task], Answer], connection: Connection[Answer | Failed, Task]) -> None:
    """Answer tasks until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    with contextlib.suppress(EOFError, OSError):
        while True:
            task = connection.recv()
            answer: Answer | Failed
            try:
                answer = work(task)
            except Exception as e:
                answer = Failed(f"{type(e).__name__}: {e}")
            connection.send(answer)

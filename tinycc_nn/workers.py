"""Worker processes that may die: a task that kills its worker fails alone."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Generic, Self, TypeVar

_STARTING = 60.0
"""Seconds that a new process may take until it says that it has started."""

Task = TypeVar("Task")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Failed:
    """Why there is no answer: the exception, or how the worker ended (`died`)."""

    reason: str
    died: bool = False


@dataclass
class _Worker(Generic[Task, Answer]):
    process: BaseProcess
    connection: Connection[Task, Answer | Failed | None]
    task: int = -1
    since: float = 0.0


class Workers(Generic[Task, Answer]):
    """
    Spawned processes that answer tasks with `work`, a function of a module. They start when there
    is something to do, and stay for the next `run` until `close`.

    environment: variables that the processes see in addition.
    """

    def __init__(
        self,
        work: Callable[[Task], Answer],
        count: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._work, self._count = work, max(1, count)
        self._environment = environment or {}
        self._idle: list[_Worker[Task, Answer]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        while self._idle:
            _end(self._idle.pop())

    def run(
        self,
        tasks: Sequence[Task],
        *,
        until: float | None = None,
        task_seconds: float = 300.0,
        retries: int = 0,
    ) -> Iterator[tuple[int, Answer | Failed]]:
        """Index and answer of each task as they come.

        Tasks start in order; at `until` (of time.monotonic) those that run are given up and the
        rest is not started. A task that takes longer than `task_seconds`, or ends its worker, is
        given to another one `retries` times and then fails.
        """
        left = deque(range(len(tasks)))
        tries = dict.fromkeys(left, 0)
        running: list[_Worker[Task, Answer]] = []
        try:
            while True:
                while left and len(running) < self._count:
                    running.append(self._give(left.popleft(), tasks))
                now = time.monotonic()
                if not running or (until is not None and now >= until):
                    return
                limits = [w.since + task_seconds for w in running]
                limits += [] if until is None else [until]
                ready = wait([w.connection for w in running], max(0.0, min(limits) - now))
                for w in tuple(running):
                    if w.connection in ready:
                        answer = _answer(w)
                        if answer is None:
                            w.since = time.monotonic()
                            continue
                    elif time.monotonic() >= w.since + task_seconds:
                        answer = Failed(f"it took more than {task_seconds:g} s", died=True)
                    else:
                        continue
                    running.remove(w)
                    if not (isinstance(answer, Failed) and answer.died):
                        self._idle.append(w)
                    else:
                        _end(w)
                        if tries[w.task] < retries:
                            tries[w.task] += 1
                            left.appendleft(w.task)
                            continue
                    yield w.task, answer
        finally:
            for w in running:
                _end(w)

    def _give(self, index: int, tasks: Sequence[Task]) -> _Worker[Task, Answer]:
        """Let a process work on a task; that it is dead is seen when its answer is read."""
        new = not self._idle
        w = self._start() if new else self._idle.pop()
        w.task, w.since = index, time.monotonic() + (_STARTING if new else 0.0)
        with contextlib.suppress(OSError):
            w.connection.send(tasks[index])
        return w

    def _start(self) -> _Worker[Task, Answer]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(self._work, theirs), daemon=True)
        with _environment(self._environment):
            process.start()
        theirs.close()
        return _Worker(process, ours)


def run_tasks(
    work: Callable[[Task], Answer],
    tasks: Sequence[Task],
    workers: int,
    *,
    until: float | None = None,
    task_seconds: float = 300.0,
) -> Iterator[tuple[int, Answer | Failed]]:
    """As `Workers.run`, with processes that don't outlive the iterator."""
    with Workers(work, workers) as pool:
        yield from pool.run(tasks, until=until, task_seconds=task_seconds)


@contextlib.contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    """Variables of this process while another one is started, which inherits them."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _answer(w: _Worker[Task, Answer]) -> Answer | Failed | None:
    """What the worker says; None when it has started."""
    try:
        return w.connection.recv()
    except (EOFError, OSError):
        w.process.join(5)
        return Failed(f"the worker ended with {w.process.exitcode}", died=True)


def _end(w: _Worker[Task, Answer]) -> None:
    w.process.kill()
    w.process.join()
    w.connection.close()


def _end_with_parent() -> None:
    """A parent that was killed ends nothing, and a task may take hours more."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _serve(
    work: Callable[[Task], Answer], connection: Connection[Answer | Failed | None, Task]
) -> None:
    """Say that all is imported, then answer tasks until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        connection.send(None)
        while True:
            task = connection.recv()
            answer: Answer | Failed
            try:
                answer = work(task)
            except Exception as e:
                answer = Failed(f"{type(e).__name__}: {e}")
            connection.send(answer)

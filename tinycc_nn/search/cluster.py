"""Evaluations on other machines, or on this one, by Dask. Needs the extra `distributed`."""

from __future__ import annotations

import faulthandler
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tinycc_nn.diagnostics import TinyccError, UsageError
from tinycc_nn.search.evaluate import Task, evaluate
from tinycc_nn.search.executor import ONE_THREAD, RETRIES, failed
from tinycc_nn.search.results import Evaluation

if TYPE_CHECKING:
    from distributed import Client

_CONNECT_SECONDS = 30


class Cluster:
    """
    The workers of a Dask scheduler, `address` as in tcp://host:8786, or of a LocalCluster of
    `count` processes. Model and data must lie at the same paths on all machines.

    A worker that a task keeps busy for more than `task_seconds` ends itself; its nanny starts
    another one.
    """

    def __init__(
        self,
        address: str | None = None,
        count: int = 1,
        *,
        task_seconds: float = 600.0,
        work: Callable[[Task], Evaluation] = evaluate,
    ) -> None:
        try:
            import dask
            import distributed
        except ImportError:
            hint = "pip install 'tinycc-nn[distributed]'"
            raise UsageError("Dask is not installed", hint=hint) from None
        self._work, self._task_seconds = work, task_seconds
        self._cluster = None
        try:
            if address is None:
                settings = {
                    "distributed.scheduler.allowed-failures": 0,
                    "distributed.nanny.pre-spawn-environ": {
                        **dask.config.get("distributed.nanny.pre-spawn-environ"),
                        **ONE_THREAD,
                    },
                }
                with dask.config.set(settings):
                    self._cluster = distributed.LocalCluster(
                        n_workers=count,
                        threads_per_worker=1,
                        dashboard_address=None,
                        memory_limit=0,
                    )
            self._client: Client = distributed.Client(
                address or self._cluster, timeout=_CONNECT_SECONDS
            )
        except (OSError, ValueError) as e:
            where = address or "LocalCluster"
            raise TinyccError(f"can't reach the scheduler: {e}", where) from None

    def run(
        self, tasks: Sequence[Task], until: float | None = None
    ) -> Iterator[tuple[int, Evaluation]]:
        from distributed import as_completed

        left = deque(range(len(tasks)))
        tries = dict.fromkeys(left, 0)
        running: dict[Any, int] = {}
        done = as_completed(timeout=None if until is None else max(0.0, until - time.monotonic()))

        def fill() -> None:
            """No more than there are workers: what waits on one that dies counts as its cause."""
            while left and len(running) < self._slots():
                i = left.popleft()
                future = self._client.submit(
                    watched, self._work, tasks[i], self._task_seconds, pure=False
                )
                running[future] = i
                done.add(future)

        fill()
        try:
            for future in done:
                i = running.pop(future)
                answer, error = _outcome(future)
                if error is not None and tries[i] < RETRIES:
                    tries[i] += 1
                    left.appendleft(i)
                fill()
                if answer is not None:
                    yield i, answer
                elif i not in (*left, *running.values()):
                    yield i, failed(tasks[i], f"{type(error).__name__}: {error}".split("\n")[0])
        except TimeoutError:
            return
        finally:
            self._client.cancel(list(running))

    def _slots(self) -> int:
        threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    def close(self) -> None:
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


def _outcome(future: Any) -> tuple[Evaluation | None, Exception | None]:
    """What a future has found, fetched at once: the worker that holds it may die at any moment."""
    try:
        answer: Evaluation = future.result()
    except Exception as e:
        return None, e
    return answer, None


def watched(work: Callable[[Task], Evaluation], task: Task, seconds: float) -> Evaluation:
    """The work, in a process that ends when it takes longer."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        return work(task)
    finally:
        faulthandler.cancel_dump_traceback_later()
